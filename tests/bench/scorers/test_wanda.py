"""Wanda against its closed form on activations computed outside."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import nn

from bench.core.types import Granularity
from bench.models.units import find_units
from bench.models.view import Calibration, ModelView
from bench.scorers.wanda import wanda


def _draw(*shape: int) -> Calibration:
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Calibration(images, torch.zeros(len(images), dtype=torch.int64), 4)


def _view(layer: nn.Module, draw: Calibration) -> ModelView:
    net = nn.Sequential(layer).double().eval()
    return ModelView(net, find_units(net, "weight", (), draw.images[:1]))


def test_linear_layer_by_the_papers_formula() -> None:
    """S = abs(W) * X.norm(p=2, dim=0), X with one row per image and token."""
    draw = _draw(10, 1, 3, 5)
    view = _view(nn.Linear(5, 4), draw)
    w, x = view.weight("0").numpy(), draw.images.reshape(-1, 5).numpy()
    expected = np.abs(w) * np.linalg.norm(x, axis=0)
    np.testing.assert_allclose(wanda(view, draw, None)["0"].numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "same"),
    [
        ({"kernel_size": 3}, False),
        ({"kernel_size": 3, "padding": 1, "stride": 2}, False),
        ({"kernel_size": 3, "padding": 2, "dilation": 2, "groups": 2}, False),
        ({"kernel_size": 1, "groups": 4}, False),
        ({"kernel_size": 3, "stride": 2}, True),
    ],
)
def test_convolution_by_unfolding(options: dict[str, int], same: bool) -> None:
    draw = _draw(6, 4, 8, 8)
    conv = (Conv2dSame if same else nn.Conv2d)(4, 8, **options)
    view = _view(conv, draw)
    x = F.pad(draw.images, (0, 1, 0, 1)) if same else draw.images  # TensorFlow's SAME for 8, 3, 2
    names = ("kernel_size", "dilation", "stride") if same else ("kernel_size", "dilation", "padding", "stride")
    patches = F.unfold(x, **{name: getattr(conv, name) for name in names})
    groups, (out, _, kh, kw) = conv.groups, conv.weight.shape
    norms = patches.square().sum(dim=(0, 2)).sqrt().view(groups, 1, 4 // groups, kh, kw)
    norms = norms.expand(groups, out // groups, 4 // groups, kh, kw).reshape(conv.weight.shape)
    expected = view.weight("0").abs() * norms
    torch.testing.assert_close(wanda(view, draw, None)["0"], expected, rtol=1e-12, atol=0)


def test_channel_score_is_the_mean_over_the_filter(
    view_of: Callable[[Granularity], ModelView], calibration: Calibration
) -> None:
    weights = wanda(view_of("weight"), calibration, None)
    channels = wanda(view_of("channel"), calibration, None)
    torch.testing.assert_close(channels["conv2"], weights["conv2"].mean(dim=(1, 2, 3)))


def test_score_is_the_norm_of_what_removal_changes() -> None:
    draw = _draw(12, 1, 1, 6)
    view = _view(nn.Linear(6, 1, bias=False), draw)
    dense = view.model(draw.images).detach()
    scores = wanda(view, draw, None)["0"][0]
    for j, score in enumerate(scores):
        without = view.weight("0").clone()
        without[0, j] = 0
        change = (dense - draw.images @ without.T).norm()
        assert float(score) == pytest.approx(float(change), rel=1e-10)
