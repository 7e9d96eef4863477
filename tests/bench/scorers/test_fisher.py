"""The Fisher diagonal against per-image Jacobians."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from bench.core.types import Granularity
from bench.models.view import Calibration, ModelView
from bench.scorers.fisher import fisher

ViewOf = Callable[[Granularity], ModelView]


def _per_image_gradients(view: ModelView, draw: Calibration, name: str) -> Tensor:
    """Jacobian of the vector of losses, one per image: shape ``(n, *weight)``."""

    def losses(weight: Tensor) -> Tensor:
        logits = functional_call(view.model, {f"{name}.weight": weight}, (draw.images,))
        return F.cross_entropy(logits, draw.labels, reduction="none")

    jacobian: Tensor = torch.autograd.functional.jacobian(losses, view.weight(name))
    return jacobian


@pytest.mark.parametrize("layer", ["conv1", "conv2", "mlp.fc1", "mlp.fc2"])
def test_is_half_the_squared_weight_times_the_mean_squared_gradient(
    layer: str, view_of: ViewOf, calibration: Calibration
) -> None:
    view = view_of("weight")
    mean_square = _per_image_gradients(view, calibration, layer).square().mean(dim=0)
    expected = 0.5 * view.weight(layer).square() * mean_square
    torch.testing.assert_close(fisher(view, calibration, None)[layer], expected, rtol=1e-9, atol=1e-15)


def test_channel_score_is_the_mean_over_the_filter(view_of: ViewOf, calibration: Calibration) -> None:
    weights = fisher(view_of("weight"), calibration, None)
    channels = fisher(view_of("channel"), calibration, None)
    torch.testing.assert_close(channels["conv2"], weights["conv2"].mean(dim=(1, 2, 3)))
    torch.testing.assert_close(channels["mlp.fc1"], weights["mlp.fc1"].mean(dim=1))


def test_the_square_is_of_each_image_not_of_the_batch(view_of: ViewOf, calibration: Calibration) -> None:
    """Twice the same draw leaves it as it is; two images of opposite gradients do not cancel."""
    view = view_of("weight")
    doubled = Calibration(calibration.images.repeat(2, 1, 1, 1), calibration.labels.repeat(2), 7)
    once, twice = fisher(view, calibration, None), fisher(view, doubled, None)
    for name in once:
        torch.testing.assert_close(once[name], twice[name], rtol=1e-10, atol=1e-18)
