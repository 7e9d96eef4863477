"""SparseSwaps against all exchanges and all masks of short rows; the authors have published no code."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import Tensor, nn

from bench.models.units import find_units
from bench.models.view import Calibration, ModelView
from bench.scorers.refine import highest
from bench.scorers.sparse_swaps import sparse_swaps, swap


def _problem(seed: int, out: int, k: int) -> tuple[Tensor, Tensor]:
    """Random rows, and G of correlated inputs."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(k, 2 * k, generator=generator, dtype=torch.float64)
    x[1:] += x[:-1].clone()
    return torch.randn(out, k, generator=generator, dtype=torch.float64), x @ x.T


def _errors(kept: Tensor, rows: Tensor, gram: Tensor) -> Tensor:
    left = torch.where(kept, 0, rows)
    return ((left @ gram) * left).sum(dim=1)


def _best_exchange(kept: Tensor, row: Tensor, gram: Tensor) -> tuple[float, Tensor]:
    """Return the least error after one exchange, and its mask, by trying all."""
    tried = []
    for u in kept.nonzero().flatten():
        for p in (~kept).nonzero().flatten():
            other = kept.clone()
            other[u], other[p] = False, True
            tried.append((float(_errors(other[None], row[None], gram)), other))
    return min(tried, key=lambda pair: pair[0])


@pytest.mark.parametrize("seed", range(4))
def test_every_exchange_is_the_best_one(seed: int) -> None:
    """From the smallest weights, so that much is to be exchanged."""
    rows, gram = _problem(seed, 3, 9)
    start = highest(-rows.abs(), 4)
    for i, row in enumerate(rows):
        kept, helped = start[i], 0
        for swaps in range(1, 20):
            error, mask = _best_exchange(kept, row, gram)
            if error < float(_errors(kept[None], row[None], gram)) - 1e-9:
                kept, helped = mask, swaps
            assert torch.equal(swap(start, rows, gram, swaps)[i], kept)
        assert 1 < helped < 19
        assert torch.equal(swap(start, rows, gram)[i], kept)


def test_rows_are_exchanged_as_if_each_were_alone() -> None:
    rows, gram = _problem(7, 40, 60)
    start = highest(rows.abs(), 12)
    together = swap(start, rows, gram)
    assert all(torch.equal(swap(start[i : i + 1], rows[i : i + 1], gram)[0], together[i]) for i in range(40))
    assert (together.sum(dim=1) == 12).all()


def test_the_error_never_increases_and_is_near_the_least_of_all_masks() -> None:
    rows, gram = _problem(5, 6, 10)
    start = highest(rows.abs(), 4)
    errors = torch.stack([_errors(swap(start, rows, gram, swaps), rows, gram) for swaps in range(12)])
    assert (errors[1:] <= errors[:-1] + 1e-9).all()
    assert (errors[-1] < errors[0]).any()
    every = torch.zeros(210, 10, dtype=torch.bool)
    every[torch.arange(210).unsqueeze(1), torch.tensor(list(combinations(range(10), 4)))] = True
    for row, error in zip(rows, errors[-1], strict=True):
        least = _errors(every, row.expand(210, -1), gram).min()
        assert least - 1e-9 <= error <= 1.5 * least


def test_nothing_to_exchange_leaves_the_mask() -> None:
    rows, gram = _problem(0, 2, 5)
    for keep in (0, 5):
        start = highest(rows.abs(), keep)
        assert torch.equal(swap(start, rows, gram), start)


def test_rows_of_different_counts_are_refused() -> None:
    rows, gram = _problem(0, 2, 3)
    with pytest.raises(ValueError, match="different numbers"):
        swap(torch.tensor([[True, False, False], [True, True, False]]), rows, gram)


@pytest.mark.parametrize("groups", [1, 2])
def test_the_error_of_a_layers_output_is_reduced(groups: int) -> None:
    """Measured on outputs of the layer itself."""
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(8, 4, 6, 6, generator=generator, dtype=torch.float64)
    images[:, 1] += images[:, 0]
    draw = Calibration(images, torch.zeros(8, dtype=torch.int64), 4)
    net = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1, groups=groups, bias=False)).double().eval()
    net[0].weight.data = torch.randn(net[0].weight.shape, generator=generator, dtype=torch.float64)
    view = ModelView(net, find_units(net, "weight", (), images[:1]))

    def error(swaps: int | None) -> float:
        kept = sparse_swaps(view, draw, None, 0.5, swaps=swaps)["0"] >= 1
        removed = torch.where(kept, 0, view.weight("0"))
        return float(nn.functional.conv2d(images, removed, padding=1, groups=groups).square().sum())

    assert error(None) <= error(3) <= error(1) < error(0)
