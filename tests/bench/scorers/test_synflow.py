"""SynFlow against flows worked out by hand, by path products and by finite differences."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.core.errors import CellError, NotApplicable
from bench.core.types import Granularity
from bench.masks.allocation import global_, uniform
from bench.masks.build import build_masks
from bench.masks.order import keep_order
from bench.models.counts import keep_count
from bench.models.masking import apply_masks
from bench.models.tensors import MaskSet, ScoreMap
from bench.models.units import find_units
from bench.models.view import Calibration, ModelView
from bench.scorers.synflow import synflow, synflow_oneshot

ViewOf = Callable[[Granularity], ModelView]


def _draw(*shape: int) -> Calibration:
    return Calibration(torch.full((2, *shape), -5.0), torch.zeros(2, dtype=torch.int64), 2)


def _view(net: nn.Module, draw: Calibration, granularity: Granularity = "weight") -> ModelView:
    return ModelView(net.eval(), find_units(net, granularity, (), draw.images))


def _kept(view: ModelView, scores: ScoreMap, sparsity: float) -> MaskSet:
    order = keep_order(view.units, scores, view.magnitudes())
    return build_masks(view.units, order, global_(view.units, scores, sparsity, view))


@pytest.fixture
def small() -> tuple[ModelView, Calibration]:
    """2 inputs, 2 hidden, 1 output: six weights."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False))
    net[1].weight.data.copy_(torch.tensor([[3.0, -1.0], [1.0, 2.0]]))
    net[2].weight.data.copy_(torch.tensor([[1.0, -4.0]]))
    draw = _draw(1, 1, 2)
    return _view(net, draw), draw


def test_flow_of_a_linear_net_is_abs_w_times_its_path_products(small: tuple[ModelView, Calibration]) -> None:
    view, draw = small
    scores = synflow_oneshot(view, draw, None)
    assert scores["1"].tolist() == [[3 * 1, 1 * 1], [1 * 4, 2 * 4]]
    assert scores["2"].tolist() == [[1 * (3 + 1), 4 * (1 + 2)]]


def test_two_rounds_by_hand(small: tuple[ModelView, Calibration]) -> None:
    """6 weights to 3. Round 1 leaves ceil(6 / sqrt(2)) = 5: the flow of 1 goes. Then two flows of 3 go."""
    view, draw = small
    scores = synflow(view, draw, None, 0.5, rounds=2)
    assert scores["1"].tolist() == [[-0.5, -1.5], [4.0, 8.0]]
    assert scores["2"].tolist() == [[-0.5, 12.0]]


def _simulate(weights: list[list[list[float]]], keep: int, total: int, rounds: int) -> list[bool]:
    """Rounds of removal from two linear layers, with path products and one sort of all weights per round."""
    first, second = ([[abs(w) for w in row] for row in layer] for layer in weights)
    magnitude = [w for layer in (first, second) for row in layer for w in row]
    alive = set(range(total))
    for k in range(1, rounds + 1):
        left = math.ceil(total * (keep / total) ** (k / rounds)) if k < rounds else keep
        hidden, inputs = range(len(first)), range(len(first[0]))
        flows = [first[h][i] * sum(row[h] for row in second) for h in hidden for i in inputs]
        flows += [row[h] * sum(first[h]) for row in second for h in hidden]
        alive = set(sorted(alive, key=lambda unit: (-flows[unit], -magnitude[unit], unit))[:left])
        for h in hidden:
            for i in inputs:
                first[h][i] *= h * len(inputs) + i in alive
            for o, row in enumerate(second):
                row[h] *= len(hidden) * (len(inputs) + o) + h in alive
    return [unit in alive for unit in range(total)]


small_weights = st.lists(st.integers(-3, 3), min_size=24, max_size=24)


@given(small_weights, st.integers(1, 24), st.integers(1, 6))
def test_survivors_are_those_of_plain_loops(weights: list[int], keep: int, rounds: int) -> None:
    """4 inputs, 4 hidden, 2 outputs; small integers, so that many flows are equal or zero."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 4, bias=False), nn.Linear(4, 2, bias=False))
    values = torch.tensor(weights, dtype=torch.float32)
    net[1].weight.data.copy_(values[:16].view(4, 4))
    net[2].weight.data.copy_(values[16:].view(2, 4))
    draw = _draw(1, 1, 4)
    view = _view(net, draw)
    sparsity = 1 - keep / 24
    masks = _kept(view, synflow(view, draw, None, sparsity, rounds=rounds), sparsity)
    layers = [net[1].weight.tolist(), net[2].weight.tolist()]
    assert view.units.flatten(masks).tolist() == _simulate(layers, keep, 24, rounds)


class _Plain(nn.Module):
    """Convolution, ReLU, pooling, two linear layers: homogeneous, no biases."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(16, width, bias=False), nn.ReLU(), nn.Linear(width, 3, bias=False),
        )  # fmt: skip
        generator = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return out


def test_flow_is_conserved_from_layer_to_layer() -> None:
    draw = _draw(1, 4, 4)
    view = _view(_Plain(200), draw)
    totals = torch.stack([score.sum() for score in synflow_oneshot(view, draw, None).values()])
    positive = copy.deepcopy(view.model).double()
    for parameter in positive.parameters():
        parameter.data.abs_()
    output = positive(torch.ones(1, 1, 4, 4, dtype=torch.float64)).sum()
    torch.testing.assert_close(totals, output.detach().expand(3), rtol=1e-12, atol=0)


def test_rounds_keep_a_path_where_one_shot_empties_a_layer() -> None:
    draw = _draw(1, 4, 4)
    view = _view(_Plain(200), draw)
    kept = {
        "one shot": _kept(view, synflow_oneshot(view, draw, None), 0.98),
        "rounds": _kept(view, synflow(view, draw, None, 0.98), 0.98),
    }
    empty = {name: sum(not bool(mask.any()) for mask in masks.values()) for name, masks in kept.items()}
    assert empty == {"one shot": 1, "rounds": 0}
    pruned = copy.deepcopy(view.model)
    apply_masks(pruned, view.units, kept["rounds"])
    for parameter in pruned.parameters():
        parameter.data.abs_()
    assert float(pruned(torch.ones(1, 1, 4, 4)).detach().sum()) > 0  # a whole path, not only a weight in every layer


@pytest.mark.parametrize("granularity", ["weight", "channel"])
def test_flow_of_the_net_by_finite_differences(
    granularity: Granularity, view_of: ViewOf, calibration: Calibration
) -> None:
    """w dR/dw, also through biases, BatchNorm and tanh."""
    view = view_of(granularity)
    positive = copy.deepcopy(view.model)
    for tensor in positive.state_dict().values():
        tensor.abs_()
    scores = synflow_oneshot(view, calibration, None)
    ones = torch.ones(1, 2, 5, 5, dtype=torch.float64)

    @torch.no_grad()
    def fading(weight: Tensor, part: tuple[int, ...]) -> float:
        original, values = weight[part].clone(), []
        for factor in (1 + 1e-5, 1 - 1e-5):
            weight[part] = factor * original
            values.append(float(positive(ones).sum()))
        weight[part] = original
        return abs(values[0] - values[1]) / 2e-5

    for name in ("conv2", "mlp.fc1"):
        weight = positive.get_submodule(name).weight
        flows = torch.tensor([fading(weight, tuple(i)) for i in weight.detach().nonzero().tolist()])
        expected = view.reduce(name, flows.double().view(weight.shape))
        torch.testing.assert_close(scores[name], expected, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("granularity", ["weight", "channel"])
def test_one_round_orders_as_one_shot(granularity: Granularity, view_of: ViewOf, calibration: Calibration) -> None:
    view = view_of(granularity)
    once = synflow(view, calibration, None, 0.7, rounds=1)
    shot = synflow_oneshot(view, calibration, None)
    magnitudes = view.magnitudes()
    assert torch.equal(keep_order(view.units, once, magnitudes), keep_order(view.units, shot, magnitudes))


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.93])
@pytest.mark.parametrize("granularity", ["weight", "channel"])
def test_survivors_are_above_zero_and_all_others_below(
    granularity: Granularity, sparsity: float, view_of: ViewOf, calibration: Calibration
) -> None:
    view = view_of(granularity)
    scores = synflow(view, calibration, None, sparsity, rounds=10)
    flat = view.units.flatten(scores)
    removed = flat[flat < 0]
    assert len(flat) - len(removed) == keep_count(view.units.total, sparsity)
    if sparsity:
        assert -10 <= float(removed.min()) < -9  # the first of ten rounds
        assert -1 <= float(removed.max()) < 0
    magnitudes = view.magnitudes()
    order = keep_order(view.units, scores, magnitudes)
    for allocation in (uniform, global_):
        masks = build_masks(view.units, order, allocation(view.units, scores, sparsity, view))
        for name, mask in masks.items():
            if bool((scores[name] >= 0).logical_and(~mask).any()):
                assert not bool(mask.logical_and(scores[name] < 0).any())


def test_a_removed_channel_takes_its_bias_and_batchnorm_along() -> None:
    """The second convolution's flow after round 1 comes from the kept channel alone."""
    net = nn.Sequential(
        nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 2, 1), nn.Flatten(),
    )  # fmt: skip
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([1.0, 10.0]).view(2, 1, 1, 1))
        net[0].bias.fill_(1.0)
        net[1].bias.fill_(2.0)
        net[1].eps = 0.0
        net[3].weight.copy_(torch.tensor([[5.0, 1.0], [5.0, 100.0]]).view(2, 2, 1, 1))
    draw = _draw(1, 1, 1)
    view = _view(net, draw, "channel")
    # round 1: out of the first layer flow (1 + 1 + 2) and (10 + 1 + 2); filters score as the mean of w dR/dw
    dense = synflow_oneshot(view, draw, None)
    assert dense["0"].tolist() == [1 * (5 + 5), 10 * (1 + 100)]
    assert dense["3"].tolist() == [(5 * 4 + 1 * 13) / 2, (5 * 4 + 100 * 13) / 2]
    scores = synflow(view, draw, None, 0.5, rounds=2)  # 4, ceil(2.83) = 3, 2: first goes 10, then 13 / 2
    assert scores["0"].tolist() == [-1.5, 10 * (1 + 100)]
    assert scores["3"].tolist() == [-0.5, 100 * 13 / 2]


class _Softmax(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).mean(dim=(2, 3)).softmax(dim=1)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: timm.create_model("convnext_atto", num_classes=2), "layer_norm"),
        (lambda: timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1), "scaled_dot_product_attention"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4)), "group_norm"),
        (lambda: nn.Sequential(nn.Flatten(2), nn.Linear(1024, 8), nn.TransformerEncoderLayer(8, 2)), "layer_norm"),
        (_Softmax, "softmax"),
    ],
)
def test_nets_that_normalise_are_skipped_with_the_reason(make: Callable[[], nn.Module], reason: str) -> None:
    draw = _draw(3, 32, 32)
    view = _view(make(), draw)
    with pytest.raises(NotApplicable, match=reason):
        synflow_oneshot(view, draw, None)
    with pytest.raises(NotApplicable, match=reason):
        synflow(view, draw, None, 0.5)


def test_a_sparsity_is_needed(small: tuple[ModelView, Calibration]) -> None:
    with pytest.raises(NotApplicable, match="sparsity"):
        synflow(*small, None, None)


def test_overflow_is_an_error() -> None:
    net = nn.Sequential(nn.Flatten(), *(nn.Linear(2, 2, bias=False) for _ in range(9)))
    for layer in net[1:]:
        nn.init.constant_(layer.weight, 1e38)
    draw = _draw(1, 1, 2)
    with pytest.raises(CellError, match="overflows float64"):
        synflow_oneshot(_view(net, draw), draw, None)
