"""GRAIL against `numpy.linalg.lstsq`, and on networks whose removed channels others can stand in for."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.core.errors import CellError, NotApplicable
from bench.models.masking import apply_masks
from bench.models.tensors import MaskSet
from bench.models.unchanged import left_behind, marks
from bench.models.units import find_units
from bench.models.view import Calibration
from bench.repairs.correction import RepairContext
from bench.repairs.grail import find_consumers, grail

HalfPruned = Callable[..., RepairContext]
ORDERS = ("parallel", "sequential")


def _net(*layers: nn.Module) -> nn.Module:
    net = nn.Sequential(*layers).double().eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(3)
    for parameter in net.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return net


def _draw(*shape: int, batch: int = 8) -> Calibration:
    images = torch.randn(shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return Calibration(images + 0.5, torch.zeros(len(images), dtype=torch.int64), batch)


def _context(net: nn.Module, draw: Calibration, kept: dict[str, list[bool]], exclude: tuple[str, ...] = ()):
    """Remove some channels of some layers; layers that are not named keep theirs."""
    units = find_units(net, "channel", exclude, draw.images[:1])
    masks = {layer.name: torch.tensor(kept.get(layer.name, [True] * layer.size)) for layer in units.layers}
    assert kept.keys() <= masks.keys()
    model, mask_set = copy.deepcopy(net), MaskSet(units, masks)
    apply_masks(model, units, mask_set)
    return RepairContext(model, {}, units, mask_set, draw, net)


def _columns(x: Tensor) -> np.ndarray:
    """Channels of a layer's input, one row per image and position."""
    return x.movedim(1, -1).reshape(-1, x.shape[1]).numpy()


def _combinations(x_d: np.ndarray, x_p: np.ndarray, kept: list[bool], damping: float) -> np.ndarray:
    """B by stacked least squares, shape ``(channels, kept)``: [X_p; sqrt(lambda) I] B^T = [X_d; 0]."""
    x_p = x_p[:, kept]
    root = np.sqrt(damping * np.square(x_p).sum(axis=0).mean())
    stacked = np.vstack([x_p, root * np.eye(x_p.shape[1])])
    target = np.vstack([x_d, np.zeros((x_p.shape[1], x_d.shape[1]))])
    return np.linalg.lstsq(stacked, target, rcond=None)[0].T


CONSUMERS: dict[str, Callable[[], nn.Module]] = {
    "1x1 convolution": lambda: nn.Conv2d(5, 3, 1),
    "convolution": lambda: nn.Conv2d(5, 3, 3, stride=2, padding=1),
    "transposed convolution": lambda: nn.ConvTranspose2d(5, 3, 2),
}


@pytest.mark.parametrize("damping", [0.0, 1e-3, 1.0])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("case", CONSUMERS)
def test_weights_are_those_of_numpys_least_squares(case: str, order: str, damping: float) -> None:
    net, draw = _net(nn.Conv2d(2, 5, 3), nn.ReLU(), CONSUMERS[case]()), _draw(12, 2, 7, 6)
    kept = [True, False, True, True, False]
    context = _context(net, draw, {"0": kept})
    assert grail(context, damping=damping, order=order) == {}
    x = _columns(net[:2](draw.images))  # the kept channels are the same in both networks
    b = _combinations(x, x, kept, damping)
    axis = 0 if case == "transposed convolution" else 1
    dense, found = (m[2].weight.movedim(axis, -1).numpy() for m in (net, context.model))
    np.testing.assert_allclose(found[..., kept], dense @ b, rtol=1e-9, atol=1e-11)
    assert not found[..., [1, 4]].any()


@pytest.mark.parametrize("damping", [0.0, 1e-3])
def test_in_sequence_the_regression_is_on_what_the_repaired_network_gives(damping: float) -> None:
    net = _net(nn.Conv2d(2, 4, 1), nn.ReLU(), nn.Conv2d(4, 6, 1), nn.ReLU(), nn.Conv2d(6, 3, 1))
    draw, kept = _draw(20, 2, 4, 4), {"0": [True, False, True, True], "2": [True, True, False, True, False, True]}
    context = _context(net, draw, kept)
    grail(context, damping=damping, order="sequential")
    for position, producer in ((2, "0"), (4, "2")):
        x_d, x_p = (_columns(m[:position](draw.images)) for m in (net, context.model))
        b = _combinations(x_d, x_p, kept[producer], damping)
        rows = kept.get(str(position), [True] * 3)
        found = context.model[position].weight.flatten(1).numpy()
        expected = net[position].weight.flatten(1).numpy() @ b
        np.testing.assert_allclose(found[rows][:, kept[producer]], expected[rows], rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("order", ORDERS)
def test_a_channel_that_duplicates_a_kept_one_is_replaced_exactly(order: str, net: nn.Module) -> None:
    net.conv1.weight[3] = 2 * net.conv1.weight[0]
    net.conv1.bias[3], net.bn1.running_mean[3], net.bn1.bias[3] = (
        2 * tensor[0] for tensor in (net.conv1.bias, net.bn1.running_mean, net.bn1.bias)
    )
    draw = _draw(20, 2, 6, 6)
    context = _context(net, draw, {"conv1": [True, True, True, False]}, ("head",))
    x = torch.randn(5, 2, 6, 6, dtype=torch.float64)
    assert float((context.model(x) - net(x)).abs().max()) > 1e-3
    grail(context, damping=0.0, order=order)
    torch.testing.assert_close(context.model(x), net(x), rtol=1e-9, atol=1e-12)
    grail(context, damping=1e-9, order=order)
    torch.testing.assert_close(context.model(x), net(x), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("order", ORDERS)
def test_only_the_weights_that_read_removed_channels_change(
    order: str, half_pruned: HalfPruned, net: nn.Module, calibration: Calibration
) -> None:
    """Also those of the head, which is not prunable; BatchNorm and biases stay, and so do the masks."""
    context = half_pruned(net, calibration, "channel")
    masked = copy.deepcopy(context.model)
    assert [consumer.layer.name for consumer in find_consumers(context)] == ["conv2", "head"]
    grail(context, order=order)
    before = masked.state_dict()
    changed = [name for name, tensor in context.model.state_dict().items() if not torch.equal(tensor, before[name])]
    assert changed == ["conv2.weight", "head.weight"]
    again = copy.deepcopy(context.model)
    apply_masks(again, context.units, context.masks)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), context.model.parameters(), strict=True))
    assert not context.model.head.weight[:, ~context.masks["conv2"]].any()


def test_no_other_weights_on_the_kept_channels_do_better(
    half_pruned: HalfPruned, net: nn.Module, calibration: Calibration
) -> None:
    context = half_pruned(net, calibration, "channel", ("head", "conv1"))
    masked = copy.deepcopy(context.model)
    grail(context, damping=0.0)
    target = net(calibration.images)
    kept = context.masks["conv2"]
    best = float((context.model(calibration.images) - target).square().sum())
    assert best < 0.9 * float((masked(calibration.images) - target).square().sum())
    for seed in range(5):
        step = torch.randn(3, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * kept
        other = copy.deepcopy(context.model)
        other.head.weight += 1e-3 * step
        assert float((other(calibration.images) - target).square().sum()) > best


class Block(nn.Module):
    """A stem, a residual block and a last convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.branch, self.last = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        out: Tensor = self.last(x + torch.relu(self.branch(x)))
        return out


def test_a_channel_of_a_stream_is_removed_only_if_every_summand_is() -> None:
    net, draw = _net(Block()), _draw(8, 2, 5, 5)
    context = _context(net, draw, {"0.stem": [True, False, False, True], "0.branch": [False, False, True, True]})
    removed = {consumer.layer.name: consumer.removed.tolist() for consumer in find_consumers(context)}
    assert removed == {"0.branch": [[False, True, True, False]], "0.last": [[False, True, False, False]]}


@pytest.mark.parametrize("order", ORDERS)
def test_groups_regress_on_their_own_channels(order: str) -> None:
    net, draw = _net(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3, groups=2)), _draw(12, 2, 8, 8)
    kept = [True, False, True, True, True, True]
    context = _context(net, draw, {"0": kept})
    grail(context, order=order)
    x = _columns(net[:2](draw.images)[:, :3])
    b = _combinations(x, x, kept[:3], 1e-3)
    dense, found = (m[2].weight.movedim(1, -1).numpy() for m in (net, context.model))
    np.testing.assert_allclose(found[:2][..., kept[:3]], dense[:2] @ b, rtol=1e-9)
    assert np.array_equal(found[2:], dense[2:])


def test_the_layer_after_a_depthwise_convolution_is_refitted_in_its_place() -> None:
    net = _net(nn.Conv2d(2, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4, bias=False), nn.ReLU(), nn.Conv2d(4, 3, 1))
    draw = _draw(8, 2, 6, 6)
    context = _context(net, draw, {"0": [True, True, False, True]})
    grail(context)
    assert torch.equal(context.model[2].weight, net[2].weight)
    [consumer] = find_consumers(context)
    assert consumer.key == ("4", 0)
    assert consumer.removed.tolist() == [[False, False, True, False]]


@pytest.mark.parametrize("activation", [nn.GELU(), nn.Sigmoid()])
def test_hidden_channels_of_an_mlp_are_replaced_whatever_the_activation_of_zero(activation: nn.Module) -> None:
    """A sigmoid makes a constant of a removed channel; the masks have cut the weights that read it."""
    net, draw = _net(nn.Linear(3, 5), activation, nn.Linear(5, 2)), _draw(40, 3)
    kept = [True, True, False, True, False]
    context = _context(net, draw, {"0": kept})
    grail(context)
    x = net[:2](draw.images).numpy()
    expected = net[2].weight.numpy() @ _combinations(x, x, kept, 1e-3)
    np.testing.assert_allclose(context.model[2].weight.numpy()[:, kept], expected, rtol=1e-9)
    assert not context.model[2].weight[:, [2, 4]].any()
    assert torch.equal(context.model[2].bias, net[2].bias)


class Twice(nn.Module):
    """A layer that is used on two inputs, only one of which misses a channel."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.shared = nn.Conv2d(2, 3, 1), nn.Conv2d(2, 3, 1), nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.shared(torch.relu(self.first(x))) + self.shared(torch.relu(self.second(x)))
        return out


@pytest.mark.parametrize("order", ORDERS)
def test_a_layer_that_is_used_twice_is_refitted_where_both_inputs_miss_the_channel(order: str) -> None:
    net, draw = _net(Twice()), _draw(8, 2, 5, 5)
    first, second = [True, False, False], [True, True, False]
    context = _context(net, draw, {"0.first": first, "0.second": second})
    grail(context, order=order)
    x_d, x_p = (
        np.vstack([_columns(torch.relu(layer(draw.images))) for layer in (m[0].first, m[0].second)])
        for m in (net, context.model)
    )
    b = _combinations(x_d, x_d if order == "parallel" else x_p, second, 1e-3)
    expected = net[0].shared.weight.flatten(1).numpy() @ b
    np.testing.assert_allclose(context.model[0].shared.weight.flatten(1).numpy()[:, second], expected, rtol=1e-9)


@pytest.mark.parametrize("kept", [[True] * 3, [False] * 3])
def test_nothing_changes_where_no_channel_or_every_channel_is_removed(kept: list[bool]) -> None:
    net, draw = _net(nn.Conv2d(2, 3, 1), nn.ReLU(), nn.Conv2d(3, 2, 1)), _draw(4, 2, 3, 3)
    context = _context(net, draw, {"0": kept})
    masked = copy.deepcopy(context.model)
    assert find_consumers(context) == []
    assert grail(context) == {}
    assert all(torch.equal(a, b) for a, b in zip(masked.parameters(), context.model.parameters(), strict=True))


def test_a_channel_that_is_zero_in_the_dense_network_already_is_not_removed_by_the_masks() -> None:
    net, draw = _net(nn.Conv2d(2, 3, 1, bias=False), nn.ReLU(), nn.Conv2d(3, 2, 1)), _draw(4, 2, 3, 3)
    net[0].weight[1] = 0
    context = _context(net, draw, {"0": [True, False, True]})
    assert find_consumers(context) == []


@pytest.mark.parametrize("order", ORDERS)
def test_dense_model_and_hooks_are_left_alone(
    order: str, half_pruned: HalfPruned, net: nn.Module, calibration: Calibration
) -> None:
    before, unhooked = copy.deepcopy(net.state_dict()), marks(net)
    context = half_pruned(net, calibration, "channel")
    grail(context, order=order)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    for model in (net, context.model):
        assert left_behind(model, unhooked) is None


@pytest.mark.parametrize("order", ORDERS)
def test_broken_inputs_fail_the_cell(order: str) -> None:
    net, draw = _net(nn.Conv2d(2, 3, 1), nn.ReLU(), nn.Conv2d(3, 2, 1)), _draw(4, 2, 3, 3)
    draw.images[-1] = float("inf")
    context = _context(net, draw, {"0": [True, False, True]})
    with pytest.raises(CellError, match="inputs of 2 are NaN or infinite"):
        grail(context, order=order)


def test_single_weights_are_not_its_units(half_pruned: HalfPruned, net: nn.Module, calibration: Calibration) -> None:
    with pytest.raises(NotApplicable, match="at granularity weight none is removed"):
        grail(half_pruned(net, calibration))
