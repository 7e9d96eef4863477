"""Reconstruction against `numpy.linalg.lstsq` on patches that NumPy cuts."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.core.errors import CellError, NotApplicable
from bench.models.masking import apply_masks
from bench.models.observe import PART
from bench.models.tensors import MaskSet
from bench.models.unchanged import left_behind, marks
from bench.models.units import find_units
from bench.models.view import Calibration
from bench.repairs.correction import RepairContext
from bench.repairs.reconstruct import reconstruct

HalfPruned = Callable[..., RepairContext]


def _net(*layers: nn.Module) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        for layer in layers:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.reset_parameters()
    return nn.Sequential(*layers).double().eval().requires_grad_(False)


def _draw(*shape: int, batch: int = 8) -> Calibration:
    images = torch.randn(shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return Calibration(images + 0.5, torch.zeros(len(images), dtype=torch.int64), batch)


def _design(layer: nn.Module, x: np.ndarray) -> np.ndarray:
    """What the weights of a layer without groups read: one row per image and position."""
    if isinstance(layer, nn.Linear):
        return x.reshape(-1, x.shape[-1])
    (ph, pw), (sh, sw), size = layer.padding, layer.stride, layer.kernel_size
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    windows = np.lib.stride_tricks.sliding_window_view(x, size, axis=(2, 3))[:, :, ::sh, ::sw]
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, x.shape[1] * size[0] * size[1])


def _expected(
    dense: nn.Module, mask: Tensor, x_d: np.ndarray, x_p: np.ndarray, damping: float, *, constant: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Weights and constants by stacked least squares, row by row: [X; sqrt(d) I] w = [y; sqrt(d) w_kept].

    The constant is one more column, which is not damped.
    """
    weight = dense.weight.numpy().reshape(len(mask), -1)
    bias = np.zeros(len(mask)) if dense.bias is None else dense.bias.numpy()
    support = mask.numpy().reshape(len(mask), -1)
    squares = (x_p - x_p.mean(axis=0) if constant else x_p) ** 2
    root = np.sqrt(damping * squares.sum(axis=0).mean())
    weights, constants = np.zeros_like(weight), bias.copy()
    for i, columns in enumerate(support):
        k = int(columns.sum())
        top = np.hstack([x_p[:, columns], np.ones((len(x_p), int(constant)))])
        bottom = np.hstack([root * np.eye(k), np.zeros((k, int(constant)))])
        target = np.concatenate([x_d @ weight[i] + bias[i] * constant, root * weight[i, columns]])
        solution = np.linalg.lstsq(np.vstack([top, bottom]), target, rcond=None)[0]
        weights[i, columns] = solution[:k]
        if constant:
            constants[i] = solution[k]
    return weights, constants


LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(6, 5), (40, 6)),
    "linear without bias": (lambda: nn.Linear(6, 5, bias=False), (40, 6)),
    "linear on tokens": (lambda: nn.Linear(6, 5), (12, 4, 6)),
    "convolution": (lambda: nn.Conv2d(2, 4, 3, stride=2, padding=1), (12, 2, 7, 7)),
    "convolution without bias": (lambda: nn.Conv2d(2, 4, 3, bias=False), (12, 2, 6, 5)),
}


@pytest.mark.parametrize("damping", [0.0, 0.01, 1.0])
@pytest.mark.parametrize("order", ["parallel", "sequential"])
@pytest.mark.parametrize("case", LAYERS)
def test_one_layer_is_numpys_least_squares(case: str, order: str, damping: float, half_pruned: HalfPruned) -> None:
    make, shape = LAYERS[case]
    net, draw = _net(make()), _draw(*shape)
    context = half_pruned(net, draw, exclude=())
    assert reconstruct(context, damping=damping, order=order) == {}
    layer = context.model[0]
    x = _design(net[0], draw.images.numpy())
    constant = net[0].bias is not None
    weights, constants = _expected(net[0], context.masks["0"], x, x, damping, constant=constant)
    np.testing.assert_allclose(layer.weight.numpy().reshape(weights.shape), weights, rtol=1e-8, atol=1e-10)
    if constant:
        np.testing.assert_allclose(layer.bias.numpy(), constants, rtol=1e-8, atol=1e-10)


def test_without_bias_the_constant_goes_into_the_following_batchnorm(half_pruned: HalfPruned) -> None:
    net, draw = _net(nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4)), _draw(12, 2, 6, 5)
    net[1].running_mean.copy_(torch.tensor([1.0, -1.0, 0.5, 0.0]))
    context = half_pruned(net, draw, exclude=())
    reconstruct(context)
    x = _design(net[0], draw.images.numpy())
    weights, constants = _expected(net[0], context.masks["0"], x, x, 0.01, constant=True)
    np.testing.assert_allclose(context.model[0].weight.numpy().reshape(4, -1), weights, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(net[1].running_mean.numpy() - context.model[1].running_mean.numpy(), constants)


@pytest.mark.parametrize("damping", [0.0, 0.01])
def test_in_sequence_the_second_layer_reads_what_the_first_one_now_gives(
    damping: float, half_pruned: HalfPruned
) -> None:
    net = _net(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 2), nn.ReLU(), nn.Flatten(2), nn.Linear(9, 3, bias=False))
    draw = _draw(30, 2, 6, 6)
    context = half_pruned(net, draw, exclude=())
    reconstruct(context, damping=damping, order="sequential")
    for position in (0, 2, 5):
        x_d, x_p = (_design(net[position], m[:position](draw.images).numpy()) for m in (net, context.model))
        constant = net[position].bias is not None
        weights, _ = _expected(net[position], context.masks[str(position)], x_d, x_p, damping, constant=constant)
        found = context.model[position].weight.numpy().reshape(weights.shape)
        np.testing.assert_allclose(found, weights, rtol=1e-7, atol=1e-9)


def test_without_damping_the_nearest_of_many_solutions_is_taken(half_pruned: HalfPruned) -> None:
    """More weights than patches: of all that fit, the one nearest to the kept weights; also the limit of small d."""
    net, draw = _net(nn.Linear(12, 3, bias=False)), _draw(4, 12)
    context, nearly = (half_pruned(net, draw, exclude=()) for _ in range(2))
    mask, x = context.masks["0"].numpy(), draw.images.numpy()
    kept = context.model[0].weight.numpy().copy()
    reconstruct(context, damping=0.0)
    for i, columns in enumerate(mask):
        missing = x @ (net[0].weight.numpy()[i] - kept[i])
        change = np.linalg.lstsq(x[:, columns], missing, rcond=None)[0]
        np.testing.assert_allclose(context.model[0].weight.numpy()[i, columns], kept[i, columns] + change, rtol=1e-8)
    reconstruct(nearly, damping=1e-9)
    torch.testing.assert_close(nearly.model[0].weight, context.model[0].weight, rtol=0, atol=1e-6)


def test_groups_are_layers_of_their_own(half_pruned: HalfPruned) -> None:
    """A convolution of two groups against two convolutions of half the channels, depthwise ones too."""
    draw = _draw(12, 4, 5, 5)
    for groups in (2, 4):
        net = _net(nn.Conv2d(4, 8, 3, groups=groups))
        context = half_pruned(net, draw, exclude=())
        reconstruct(context)
        for g in range(groups):
            inputs, outputs = (
                slice(g * 4 // groups, (g + 1) * 4 // groups),
                slice(g * 8 // groups, (g + 1) * 8 // groups),
            )
            part = nn.Conv2d(4 // groups, 8 // groups, 3).double().requires_grad_(False)
            part.weight.copy_(net[0].weight[outputs])
            part.bias.copy_(net[0].bias[outputs])
            x = _design(part, draw.images[:, inputs].numpy())
            weights, constants = _expected(part, context.masks["0"][outputs], x, x, 0.01, constant=True)
            np.testing.assert_allclose(
                context.model[0].weight[outputs].numpy().reshape(weights.shape), weights, rtol=1e-8, atol=1e-10
            )
            np.testing.assert_allclose(context.model[0].bias[outputs].numpy(), constants, rtol=1e-8)


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 0.9), st.sampled_from([0.0, 0.01, 10.0]))
def test_no_perturbation_of_the_kept_weights_does_better(seed: int, share: float, damping: float) -> None:
    """The objective of METHODS section 5, written out; and pruned weights stay zero."""
    generator = torch.Generator().manual_seed(seed)
    net, draw = _net(nn.Linear(5, 4)), _draw(20, 5)
    mask = torch.rand(4, 5, generator=generator) < share
    context = _context(net, draw, {"0": mask})
    kept = context.model[0].weight.clone()
    reconstruct(context, damping=damping)
    x = draw.images.numpy()
    d = damping * ((x - x.mean(axis=0)) ** 2).sum(axis=0).mean()
    weight, bias = context.model[0].weight, context.model[0].bias
    assert bool((weight[~mask] == 0).all())

    def objective(w: Tensor, b: Tensor) -> float:
        error = net[0](draw.images) - draw.images @ w.T - b
        return float(error.square().sum() + d * (w - kept).square().sum())

    best = objective(weight, bias)
    for _ in range(5):
        step = 1e-3 * torch.randn(4, 5, generator=generator, dtype=torch.float64) * mask
        assert objective(weight + step, bias) >= best * (1 - 1e-12) - 1e-15
        assert objective(weight, bias + step[:, 0]) >= best * (1 - 1e-12) - 1e-15
    assert best <= objective(kept, net[0].bias) * (1 + 1e-12)


def _context(net: nn.Module, draw: Calibration, masks: dict[str, Tensor], granularity: str = "weight") -> RepairContext:
    units = find_units(net, granularity, (), draw.images[:1])
    model, mask_set = copy.deepcopy(net), MaskSet(units, masks)
    apply_masks(model, units, mask_set)
    return RepairContext(model, {}, units, mask_set, draw, net)


def test_a_row_without_kept_weights_gets_the_bias_of_its_mean() -> None:
    net, draw = _net(nn.Linear(4, 2)), _draw(20, 4)
    mask = torch.tensor([[False] * 4, [True] * 4])
    context = _context(net, draw, {"0": mask})
    reconstruct(context)
    output, dense = context.model(draw.images), net(draw.images)
    assert not context.model[0].weight[0].any()
    torch.testing.assert_close(output[:, 0], dense[:, 0].mean().expand(20))
    torch.testing.assert_close(output[:, 1], dense[:, 1])


@pytest.mark.parametrize("order", ["parallel", "sequential"])
def test_removed_channels_stay_removed(order: str, half_pruned: HalfPruned) -> None:
    """In one pass whole rows fit themselves already; in sequence they learn to do without the removed ones."""
    net = _net(
        nn.Conv2d(2, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 1)
    )
    draw = _draw(16, 2, 8, 8)
    context = half_pruned(net, draw, "channel", ())
    masked = copy.deepcopy(context.model)
    reconstruct(context, order=order)
    for layer, after in (("0", 2), ("3", 3), ("5", 5)):
        removed = ~context.masks[layer]
        assert removed.any()
        assert not context.model.get_submodule(layer).weight[removed].any()
        assert bool((context.model[: after + 1](draw.images)[:, removed] == 0).all()), layer
    changed = (context.model[3].weight - masked[3].weight).abs().max()
    assert float(changed) < 1e-12 if order == "parallel" else float(changed) > 1e-3


class _Squeeze(nn.Module):
    """An MLP of convolutions, whose second layer is prunable by channels too."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(torch.nn.functional.gelu(self.fc1(x)))
        return out


@pytest.mark.parametrize("order", ["parallel", "sequential"])
def test_weights_that_read_a_removed_hidden_channel_stay_zero(order: str) -> None:
    net, draw = _net(_Squeeze()), _draw(16, 3, 4, 4)
    masks = {"0.fc1": torch.tensor([True, False, True, False]), "0.fc2": torch.tensor([True, True, False])}
    context = _context(net, draw, masks, "channel")
    assert context.units.layers[0].partner == "0.fc2"
    reconstruct(context, order=order)
    weight = context.model[0].fc2.weight.flatten(1)
    assert (weight != 0).tolist() == [[True, False, True, False], [True, False, True, False], [False] * 4]
    assert not torch.equal(weight[0, [0, 2]], net[0].fc2.weight.flatten(1)[0, [0, 2]])


def test_dead_inputs_change_nothing() -> None:
    net = _net(nn.Linear(3, 2, bias=False))
    mask = torch.tensor([[True, True, False], [True, False, True]])
    for damping in (0.0, 0.01):
        context = _context(net, Calibration(torch.zeros(4, 3).double(), torch.zeros(4), 2), {"0": mask})
        reconstruct(context, damping=damping)
        assert torch.equal(context.model[0].weight, net[0].weight * mask)


def test_in_parallel_a_layer_is_fitted_the_same_whichever_layers_are_measured_with_it(
    half_pruned: HalfPruned, net: nn.Module, calibration: Calibration
) -> None:
    both, alone = (half_pruned(net, calibration, exclude=exclude) for exclude in (("head",), ("head", "conv1")))
    for context in (both, alone):
        before = context.model.conv2.weight.clone()
        reconstruct(context)
        assert not torch.equal(context.model.conv2.weight, before)
    assert torch.equal(alone.model.conv2.weight, both.model.conv2.weight)
    assert torch.equal(alone.model.conv2.bias, both.model.conv2.bias)


@pytest.mark.parametrize("order", ["parallel", "sequential"])
def test_patches_that_are_not_held_at_once_change_nothing_but_rounding(
    order: str, half_pruned: HalfPruned, net: nn.Module
) -> None:
    assert PART < 9 * 36 * 58 * 58 * 8  # bytes of the patches of 9 images for conv2
    one_by_one, cut = (half_pruned(net, _draw(9, 2, 60, 60, batch=batch)) for batch in (1, 9))
    for context in (one_by_one, cut):
        reconstruct(context, order=order)
    for one, other in zip(one_by_one.model.parameters(), cut.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_dense_model_and_hooks_are_left_alone(
    half_pruned: HalfPruned, net: nn.Module, calibration: Calibration
) -> None:
    before, unhooked = copy.deepcopy(net.state_dict()), marks(net)
    context = half_pruned(net, calibration)
    for order in ("parallel", "sequential"):
        reconstruct(context, order=order)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    for model in (net, context.model):
        assert left_behind(model, unhooked) is None


class BothWays(nn.Module):
    """A matrix that is multiplied as it is and transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x @ self.weight) @ self.weight.T


@pytest.mark.parametrize("order", ["parallel", "sequential"])
def test_a_weight_whose_uses_do_not_agree_is_not_fitted(order: str) -> None:
    net, draw = BothWays().double().requires_grad_(False), _draw(4, 3)
    units = find_units(net, "weight", (), draw.images)
    masks = MaskSet(units, {"weight": torch.ones(3, 3, dtype=torch.bool)})
    with pytest.raises(NotApplicable, match="weight: its uses do not agree on which of its axes are output channels"):
        reconstruct(RepairContext(copy.deepcopy(net), {}, units, masks, draw, net), order=order)


def test_broken_inputs_fail_the_cell() -> None:
    draw = Calibration(torch.full((4, 3), float("inf")).double(), torch.zeros(4), 2)
    context = _context(_net(nn.Linear(3, 2)), draw, {"0": torch.ones(2, 3, dtype=torch.bool)})
    with pytest.raises(CellError, match="inputs of 0 are NaN or infinite"):
        reconstruct(context)
