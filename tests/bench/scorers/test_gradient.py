"""Gradient scores against central finite differences of the loss."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.core.errors import CellError
from bench.core.types import Granularity
from bench.models.units import find_units
from bench.models.view import Calibration, ModelView
from bench.scorers.gradient import gradient, mean_gradient, snip, taylor

STEP = 1e-5
ViewOf = Callable[[Granularity], ModelView]


@torch.no_grad()
def _loss(view: ModelView, images: Tensor, labels: Tensor) -> float:
    return float(F.cross_entropy(view.model(images), labels))


@torch.no_grad()
def _difference(view: ModelView, draw: Calibration, weight: Tensor, direction: Tensor) -> float:
    """Derivative of the mean loss as `weight` moves along `direction`."""
    original = weight.clone()
    losses = []
    for sign in (1, -1):
        weight.copy_(original + sign * STEP * direction)
        losses.append(_loss(view, draw.images, draw.labels))
    weight.copy_(original)
    return (losses[0] - losses[1]) / (2 * STEP)


@torch.no_grad()
def _numeric_gradient(view: ModelView, draw: Calibration, name: str) -> Tensor:
    weight = view.module(name).weight
    unit = torch.eye(weight.numel(), dtype=torch.float64).view(-1, *weight.shape)
    values = [_difference(view, draw, weight, direction) for direction in unit]
    return torch.tensor(values, dtype=torch.float64).view(weight.shape)


@pytest.mark.parametrize("layer", ["conv1", "conv2", "mlp.fc1", "mlp.fc2"])
def test_weight_scores_are_finite_differences(layer: str, view_of: ViewOf, calibration: Calibration) -> None:
    view = view_of("weight")
    numeric = _numeric_gradient(view, calibration, layer)
    options = {"rtol": 1e-6, "atol": 1e-9}
    torch.testing.assert_close(mean_gradient(view, calibration)[layer], numeric, **options)
    torch.testing.assert_close(gradient(view, calibration, None)[layer], numeric.abs(), **options)
    expected = (numeric * view.weight(layer)).abs()
    torch.testing.assert_close(taylor(view, calibration, None)[layer], expected, **options)


#: Where an explicit gate stands: behind the BatchNorm that is removed with the channel, or behind the layer.
GATES = {"conv1": "bn1", "conv2": "bn2", "mlp.fc1": "mlp.fc1"}


def _squared_gate_gradients(view: ModelView, calibration: Calibration, module: str, channels: int) -> Tensor:
    """Mean over batches of 32 images of the squared derivative by a vector of ones that multiplies the output."""
    squares = []
    for part in (slice(0, 32), slice(32, 40)):  # 32 images and the rest, not the draw's batch of 16
        gate = torch.ones(channels, dtype=torch.float64, requires_grad=True)

        def multiply(layer: nn.Module, inputs: object, output: Tensor, gate: Tensor = gate) -> Tensor:
            return output * (gate.view(-1, 1, 1) if output.dim() == 4 else gate)

        handle = view.module(module).register_forward_hook(multiply)
        F.cross_entropy(view.model(calibration.images[part]), calibration.labels[part]).backward()
        handle.remove()
        assert gate.grad is not None
        squares.append(gate.grad.square())
    return torch.stack(squares).mean(dim=0)


@pytest.mark.parametrize(("layer", "module"), GATES.items())
def test_channel_taylor_is_the_squared_gradient_of_an_explicit_gate(
    layer: str, module: str, view_of: ViewOf, calibration: Calibration
) -> None:
    view = view_of("channel")
    for name in ("bn1", "bn2"):
        torch.nn.init.normal_(view.module(name).weight, generator=torch.Generator().manual_seed(1))
        torch.nn.init.normal_(view.module(name).bias, generator=torch.Generator().manual_seed(2))
    scores = taylor(view, calibration, None)[layer]
    torch.testing.assert_close(scores, _squared_gate_gradients(view, calibration, module, len(scores)))


def test_channel_taylor_is_the_squared_change_as_the_channel_fades(view_of: ViewOf, calibration: Calibration) -> None:
    """The gate's derivative is that of the loss as filter and bias shrink together: both are removed."""
    view = view_of("channel")
    fc1 = view.module("mlp.fc1")
    rows = torch.cat([fc1.weight, fc1.bias.unsqueeze(1)], dim=1).detach()
    squares = torch.zeros(len(rows), dtype=torch.float64)
    for part in (slice(0, 32), slice(32, 40)):
        draw = Calibration(calibration.images[part], calibration.labels[part], 99)
        for channel, row in enumerate(rows):
            weight, bias = torch.zeros_like(fc1.weight), torch.zeros_like(fc1.bias)
            weight[channel], bias[channel] = row[:-1], row[-1]
            change = _difference(view, draw, fc1.weight, weight) + _difference(view, draw, fc1.bias, bias)
            squares[channel] += change**2
    torch.testing.assert_close(taylor(view, calibration, None)["mlp.fc1"], squares / 2, rtol=1e-5, atol=1e-12)


def test_a_batchnorm_without_parameters_leaves_the_gate_at_the_filter(calibration: Calibration) -> None:
    """It is not removed, so the change of the loss is that of the filter alone."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        convolution, norm = nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4, affine=False)
        net = nn.Sequential(convolution, norm, nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    net.double().eval()
    view = ModelView(net, find_units(net, "channel", ("head",), calibration.images[:1]))
    assert view.layer("0").batchnorm == "1"
    scores = taylor(view, calibration, None)["0"]
    torch.testing.assert_close(scores, _squared_gate_gradients(view, calibration, "0", 4))


def test_channel_gradient_is_the_mean_over_the_filter(view_of: ViewOf, calibration: Calibration) -> None:
    weights = gradient(view_of("weight"), calibration, None)
    channels = gradient(view_of("channel"), calibration, None)
    torch.testing.assert_close(channels["conv2"], weights["conv2"].mean(dim=(1, 2, 3)))
    torch.testing.assert_close(channels["mlp.fc1"], weights["mlp.fc1"].mean(dim=1))


@pytest.mark.parametrize("batch", [40, 13, 1])  # 13 leaves one image: there torch's BatchNorm needs care
def test_batches_do_not_matter(batch: int, view_of: ViewOf, calibration: Calibration) -> None:
    view = view_of("weight")
    other = taylor(view, Calibration(calibration.images, calibration.labels, batch), None)
    for name, score in taylor(view, calibration, None).items():
        torch.testing.assert_close(score, other[name], rtol=1e-12, atol=1e-15)


def test_works_where_parameters_ask_for_no_gradient(view_of: ViewOf, calibration: Calibration) -> None:
    view = view_of("weight")
    expected = gradient(view, calibration, None)["conv1"]
    view.model.requires_grad_(False)
    assert torch.equal(gradient(view, calibration, None)["conv1"], expected)


@pytest.mark.parametrize("granularity", ["weight", "channel"])
def test_snip_is_the_share_of_the_first_batch_by_finite_differences(
    granularity: Granularity, view_of: ViewOf, calibration: Calibration
) -> None:
    view = view_of(granularity)
    first = Calibration(calibration.images[:16], calibration.labels[:16], 16)
    changes = {
        name: (_numeric_gradient(view, first, name) * view.module(name).weight).abs().detach()
        for name in ("conv1", "conv2", "mlp.fc1", "mlp.fc2")
    }
    names = [name for name in changes if name in view.units.names]  # for channels fc2 has no units of its own
    total = sum(changes[name].sum() for name in names)
    scores = snip(view, calibration, None)
    for name in names:
        torch.testing.assert_close(scores[name], view.reduce(name, changes[name] / total), rtol=1e-6, atol=1e-9)


def test_snip_of_a_constant_loss_has_no_scale(view_of: ViewOf, calibration: Calibration) -> None:
    view = view_of("weight")
    torch.nn.init.zeros_(view.model.head.weight)
    with pytest.raises(CellError, match="snip"):
        snip(view, calibration, None)


@pytest.mark.parametrize("shared", ["module", "parameter"])
def test_a_weight_with_two_names_has_the_gradient_of_both_uses_and_is_left_as_it_was(shared):
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.second = self.first if shared == "module" else nn.Linear(4, 4)
            self.second.weight = self.first.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.second(torch.tanh(self.first(x.flatten(1))))

    model = Twice().eval()
    weight = model.first.weight
    view = ModelView(model, find_units(model, "weight", (), torch.zeros(2, 1, 2, 2)))
    images = torch.rand(6, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    calibration = Calibration(images, torch.arange(6) % 4, batch=6)
    scores = taylor(view, calibration, torch.Generator())["first"]
    F.cross_entropy(model(images), calibration.labels).backward()
    assert weight.grad is not None
    torch.testing.assert_close(scores, (weight * weight.grad).abs().double())
    assert model.first.weight is model.second.weight is weight
