"""GraSP against finite differences of the gradient and of its squared norm."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from bench.core.types import Granularity
from bench.models.build import seeded
from bench.models.units import find_units
from bench.models.view import Calibration, ModelView
from bench.scorers.grasp import grasp, hessian_gradient

ViewOf = Callable[[Granularity], ModelView]
STEP = 1e-4


def _flat_gradient(view: ModelView, draw: Calibration, flat: Tensor) -> Tensor:
    """Gradient of the mean loss at other prunable weights, both flat; by the .grad of plain leaves."""
    sizes = [view.weight(name).numel() for name in view.units.names]
    parts = [part.clone().requires_grad_() for part in flat.split(sizes)]
    state = {
        f"{name}.weight": part.view(view.weight(name).shape) for name, part in zip(view.units.names, parts, strict=True)
    }
    F.cross_entropy(functional_call(view.model, state, (draw.images,)), draw.labels).backward()
    return torch.cat([part.grad for part in parts])


def _flat_weights(view: ModelView) -> Tensor:
    return torch.cat([view.weight(name).flatten() for name in view.units.names])


def test_hessian_product_is_the_difference_of_gradients_along_the_gradient(
    view_of: ViewOf, calibration: Calibration
) -> None:
    view = view_of("weight")
    weights = _flat_weights(view)
    g = _flat_gradient(view, calibration, weights)
    ahead = _flat_gradient(view, calibration, weights + STEP * g)
    behind = _flat_gradient(view, calibration, weights - STEP * g)
    product = torch.cat([part.flatten() for part in hessian_gradient(view, calibration).values()])
    torch.testing.assert_close(product, (ahead - behind) / (2 * STEP), rtol=1e-5, atol=1e-9)


def test_score_is_half_of_what_the_squared_norm_loses_as_the_weight_fades(
    view_of: ViewOf, calibration: Calibration
) -> None:
    view = view_of("weight")
    weights = _flat_weights(view)
    scores = torch.cat([score.flatten() for score in grasp(view, calibration, None).values()])

    def squared_norm(unit: int, share: float) -> float:
        changed = weights.clone()
        changed[unit] *= 1 + share
        return float(_flat_gradient(view, calibration, changed).square().sum())

    for unit in range(0, len(weights), 23):
        slope = (squared_norm(unit, STEP) - squared_norm(unit, -STEP)) / (2 * STEP)  # by the share that is left
        assert float(scores[unit]) == pytest.approx(slope / 2, rel=1e-4, abs=1e-10)


def test_temperature_divides_the_logits(view_of: ViewOf, calibration: Calibration) -> None:
    view, cold = view_of("weight"), view_of("weight")
    with torch.no_grad():
        for parameter in cold.model.head.parameters():
            parameter /= 200
    expected = grasp(cold, calibration, None)
    for name, score in grasp(view, calibration, None, temperature=200).items():
        torch.testing.assert_close(score, expected[name], rtol=1e-9, atol=0)


@pytest.mark.parametrize("temperature", [1, 200])
def test_equals_the_authors_code_up_to_a_positive_factor(
    temperature: float, view_of: ViewOf, calibration: Calibration
) -> None:
    """As ``GraSP`` of ganguli-lab/Synaptic-Flow, commit 9dfa57a: the batches' gradients add up, every layer counts."""
    net = view_of("weight").model
    view = ModelView(net, find_units(net, "weight", (), calibration.images[:1]))
    draw = Calibration(calibration.images, calibration.labels, 20)
    weights = [view.parameter(name) for name in view.units.names]

    def gradients(x: Tensor, y: Tensor, *, create_graph: bool) -> Tensor:
        loss = F.cross_entropy(net(x) / temperature, y)
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights, create_graph=create_graph)])

    stopped = torch.stack([gradients(x, y, create_graph=False) for x, y in draw.batches()]).sum(dim=0)
    for x, y in draw.batches():
        (stopped * gradients(x, y, create_graph=True)).sum().backward()
    theirs = torch.cat([(w.grad * w).flatten() for w in weights]).detach()
    theirs /= theirs.sum().abs()
    scores = grasp(view, draw, None, temperature=temperature)
    ours = torch.cat([scores[name].flatten() for name in view.units.names])
    torch.testing.assert_close(ours / ours.sum().abs(), theirs, rtol=1e-9, atol=1e-12)


def test_channel_score_is_the_signed_sum_over_the_filter(view_of: ViewOf, calibration: Calibration) -> None:
    """The prunable weights of both granularities are to be the same: the net has none but its convolutions."""
    net = view_of("weight").model
    example = calibration.images[:1]
    exclude = ("head", "mlp.*")
    weights = grasp(ModelView(net, find_units(net, "weight", exclude, example)), calibration, None)
    channels = grasp(ModelView(net, find_units(net, "channel", exclude, example)), calibration, None)
    assert bool((weights["conv1"] < 0).any())
    for name in ("conv1", "conv2"):
        torch.testing.assert_close(channels[name], weights[name].sum(dim=(1, 2, 3)))


def test_batches_do_not_matter(view_of: ViewOf, calibration: Calibration) -> None:
    view = view_of("weight")
    whole = Calibration(calibration.images, calibration.labels, 40)
    for name, score in grasp(view, calibration, None).items():
        torch.testing.assert_close(score, grasp(view, whole, None)[name], rtol=1e-9, atol=1e-13)


class _Gated(nn.Module):
    """A squeeze-excite gate with a hard sigmoid, as MobileNetV3 has."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate, self.act = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Hardsigmoid(inplace=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.conv(x))
        x = x * self.act(self.gate(x.mean(dim=(2, 3), keepdim=True)))
        out: Tensor = self.head(x.mean(dim=(2, 3)))
        return out


def _vit() -> nn.Module:
    vit = timm.create_model(
        "vit_tiny_patch16_224", num_classes=3, img_size=8, patch_size=4, embed_dim=12, depth=1, num_heads=3
    )  # fmt: skip
    assert vit.blocks[0].attn.fused_attn
    return vit


@pytest.mark.parametrize("make", [_vit, _Gated])
def test_fused_operations_have_a_second_derivative(make: Callable[[], nn.Module]) -> None:
    """Neither fused attention nor the hard sigmoid has one of its own in torch."""
    with seeded(0):
        net = make().double().eval()
        draw = Calibration(torch.randn(4, 3, 8, 8, dtype=torch.float64), torch.tensor([0, 1, 2, 0]), 3)
    view = ModelView(net, find_units(net, "weight", ("head",), draw.images[:1]))
    weights = _flat_weights(view)
    g = _flat_gradient(view, draw, weights)
    difference = _flat_gradient(view, draw, weights + STEP * g) - _flat_gradient(view, draw, weights - STEP * g)
    product = torch.cat([part.flatten() for part in hessian_gradient(view, draw).values()])
    torch.testing.assert_close(product, difference / (2 * STEP), rtol=1e-4, atol=1e-8)
