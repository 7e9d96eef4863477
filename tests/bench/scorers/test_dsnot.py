"""DSnoT on rows worked out by hand; tests/reference/authors compares with the authors' code."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bench.models.units import find_units
from bench.models.view import Calibration, ModelView
from bench.scorers.dsnot import dsnot, exchange


def _exchange(kept: list[int], change: list[float], cost: list[float], cycles: int = 50, threshold: float = 0.1) -> str:
    row = torch.tensor([change], dtype=torch.float64)
    mask = exchange(torch.tensor([kept]).bool(), row, row, torch.tensor([cost]), cycles, threshold)
    return "".join("01"[int(keep)] for keep in mask[0])


def test_the_largest_is_regrown_and_the_cheapest_that_helps_is_pruned() -> None:
    """The error is 4: the removed 3 returns, and of the kept ones -1 and -2 reduce it; -2 is cheaper."""
    change, cost = [3.0, 1.0, -1.0, -2.0, 5.0], [9.0, 9.0, 2.0, 1.0, 0.5]
    assert _exchange([0, 0, 1, 1, 1], change, cost, cycles=1) == "10101"


def test_it_ends_at_the_threshold() -> None:
    """The error goes from 4 to 4 - 3 - 2 = -1, which has no exchange of the other sign left."""
    change, cost = [3.0, 1.0, -1.0, -2.0, 5.0], [9.0, 9.0, 2.0, 1.0, 0.5]
    assert _exchange([0, 0, 1, 1, 1], change, cost, threshold=4.0) == "00111"
    assert _exchange([0, 0, 1, 1, 1], change, cost, threshold=0.1) == "10101"


def test_a_negative_error_mirrors_a_positive_one() -> None:
    change, cost = [3.0, 1.0, -1.0, -2.0, 5.0], [9.0, 9.0, 2.0, 1.0, 0.5]
    mirrored = [-value for value in change]
    assert _exchange([0, 0, 1, 1, 1], mirrored, cost) == _exchange([0, 0, 1, 1, 1], change, cost)


def test_no_weight_is_exchanged_twice() -> None:
    """After the error has changed its sign, the weight that was regrown is not pruned again."""
    change, cost = [4.0, -1.5, -1.0], [1.0, 1.0, 2.0]
    assert _exchange([0, 1, 0], change, cost) == "100"  # 3 -> -2.5: the removed -1 could return, nothing can be pruned


def test_every_row_keeps_as_many() -> None:
    generator = torch.Generator().manual_seed(0)
    change, cost = torch.randn(2, 30, 20, generator=generator, dtype=torch.float64)
    kept = torch.rand(30, 20, generator=generator).argsort(dim=1) < 8
    for cycles in (1, 3, 50):
        refined = exchange(kept, change, change, cost.abs(), cycles, 0.1)
        assert torch.equal(refined.sum(dim=1), kept.sum(dim=1))
        assert not torch.equal(refined, kept)


def _view(weight: Tensor, inputs: Tensor) -> tuple[ModelView, Calibration]:
    net = nn.Sequential(nn.Linear(weight.shape[1], weight.shape[0], bias=False)).double().eval()
    net[0].weight.data = weight
    draw = Calibration(inputs, torch.zeros(len(inputs), dtype=torch.int64), 4)
    return ModelView(net, find_units(net, "weight", (), inputs[:1])), draw


def test_the_expected_output_comes_closer_to_the_dense_one() -> None:
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(8, 60, generator=generator, dtype=torch.float64)
    inputs = torch.randn(32, 60, generator=generator, dtype=torch.float64) + 1
    view, draw = _view(weight, inputs)

    def error(cycles: int) -> Tensor:
        kept = dsnot(view, draw, None, 0.5, cycles=cycles, threshold=1.0)["0"] >= 1
        return (inputs.mean(dim=0) * torch.where(kept, 0, weight)).sum(dim=1).abs()

    assert error(0).max() > 4
    assert error(1).sum() < error(0).sum()


def test_the_variance_decides_which_weight_is_regrown() -> None:
    """Both removed weights take as much from the output; the input of the second varies less."""
    noise = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    inputs = torch.stack([2 + noise, 2 + 0.1 * noise, torch.full((4,), 3.0), torch.full((4,), 3.0)], dim=1)
    view, draw = _view(torch.tensor([[1.0, 1.0, -3.0, 3.0]], dtype=torch.float64), inputs)
    kept = dsnot(view, draw, None, 0.5, cycles=1)["0"] >= 1
    assert kept.tolist() == [[False, True, False, True]]


def test_inputs_that_do_not_vary_are_regrown_first_and_dead_ones_never() -> None:
    inputs = torch.tensor([[0.0, 1.0, 3.0, 3.1], [0.0, 1.0, 3.0, 2.9]], dtype=torch.float64)
    view, draw = _view(torch.tensor([[9.0, 1.0, -3.0, 3.0]], dtype=torch.float64), inputs)
    kept = dsnot(view, draw, None, 0.5, cycles=1)["0"] >= 1
    assert kept.tolist() == [[False, True, False, True]]


@pytest.mark.parametrize("start", ["magnitude", "obs"])
def test_other_starts_give_other_masks(start: str) -> None:
    generator = torch.Generator().manual_seed(2)
    scale = torch.linspace(0.1, 3, 20, dtype=torch.float64)
    view, draw = _view(
        torch.randn(6, 20, generator=generator, dtype=torch.float64),
        scale * torch.randn(40, 20, generator=generator, dtype=torch.float64),
    )
    masks = [dsnot(view, draw, None, 0.5, start=name)["0"] >= 1 for name in ("wanda", start)]
    assert not torch.equal(*masks)


def test_a_row_may_end_before_its_error_changes_sign() -> None:
    change = torch.tensor([[3.0, 1.0, -1.0, -2.0, 5.0]], dtype=torch.float64)
    kept = torch.tensor([[False, False, True, True, True]])
    cost = torch.tensor([[9.0, 9.0, 2.0, 1.0, 0.5]])
    assert torch.equal(exchange(kept, change, change, cost, 50, 0.1, same_sign=True), kept)
    assert not torch.equal(exchange(kept, change, change, cost, 50, 0.1), kept)
