"""RIA against its formula, on activations computed outside; tests/reference/authors compares with the authors' code."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.core.types import Granularity
from bench.models.units import find_units
from bench.models.view import Calibration, ModelView
from bench.scorers.ria import ria


def _draw(*shape: int) -> Calibration:
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Calibration(images, torch.zeros(len(images), dtype=torch.int64), 4)


def _view(layer: nn.Module, draw: Calibration) -> ModelView:
    net = nn.Sequential(layer).double().eval()
    return ModelView(net, find_units(net, "weight", (), draw.images[:1]))


def _expected(w: np.ndarray, x: np.ndarray, exponent: float) -> np.ndarray:
    """The formula for weights ``(out, k)`` and inputs ``(positions, k)``."""
    size = np.abs(w)
    relative = size / size.sum(axis=0) + size / size.sum(axis=1, keepdims=True)
    return relative * np.linalg.norm(x, axis=0) ** exponent


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_linear_layer_on_tokens(exponent: float) -> None:
    draw = _draw(10, 1, 3, 5)
    view = _view(nn.Linear(5, 4), draw)
    expected = _expected(view.weight("0").numpy(), draw.images.reshape(-1, 5).numpy(), exponent)
    np.testing.assert_allclose(ria(view, draw, None, exponent=exponent)["0"].numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_group_has_its_own_inputs(groups: int) -> None:
    draw = _draw(6, 4, 7, 6)
    view = _view(nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=groups), draw)
    patches = F.unfold(draw.images, 3, padding=1, stride=2).transpose(1, 2).reshape(-1, 36).numpy()
    w = view.weight("0").reshape(groups, 8 // groups, -1).numpy()
    k = 36 // groups
    expected = [_expected(w[g], patches[:, g * k : (g + 1) * k], 0.5) for g in range(groups)]
    np.testing.assert_allclose(ria(view, draw, None)["0"].reshape(groups, 8 // groups, k).numpy(), expected, rtol=1e-12)


def test_rows_and_inputs_without_weights_score_zero() -> None:
    draw = _draw(6, 1, 1, 4)
    view = _view(nn.Linear(4, 3, bias=False), draw)
    view.module("0").weight.data[1] = 0
    view.module("0").weight.data[:, 2] = 0
    scores = ria(view, draw, None)["0"]
    assert bool((scores[1] == 0).all())
    assert bool((scores[:, 2] == 0).all())
    assert bool((scores[[0, 2]][:, [0, 1, 3]] > 0).all())


def test_channel_score_is_the_mean_over_the_filter(
    view_of: Callable[[Granularity], ModelView], calibration: Calibration
) -> None:
    weights = ria(view_of("weight"), calibration, None)
    channels = ria(view_of("channel"), calibration, None)
    torch.testing.assert_close(channels["conv2"], weights["conv2"].mean(dim=(1, 2, 3)))
