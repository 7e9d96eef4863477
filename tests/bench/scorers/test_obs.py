"""OBS against NumPy's inverse, and against what removal costs when the rest of the row is fitted anew."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.core.errors import CellError, NotApplicable
from bench.core.types import Granularity
from bench.models.units import find_units
from bench.models.view import Calibration, ModelView
from bench.scorers.obs import obs

ViewOf = Callable[[Granularity], ModelView]


def _draw(*shape: int) -> Calibration:
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Calibration(images, torch.zeros(len(images), dtype=torch.int64), 4)


def _view(layer: nn.Module, draw: Calibration) -> ModelView:
    net = nn.Sequential(layer).double().eval()
    return ModelView(net, find_units(net, "weight", (), draw.images[:1]))


def _expected(w: np.ndarray, x: np.ndarray, images: int, damping: float) -> np.ndarray:
    """The formula for weights ``(out, k)`` and inputs ``(positions, k)``, by the whole inverse."""
    hessian = 2 * x.T @ x / images
    hessian += damping * np.mean(np.diag(hessian)) * np.eye(len(hessian))
    return w**2 / (2 * np.diag(np.linalg.inv(hessian)))


@pytest.mark.parametrize("damping", [0.01, 0.5])
def test_linear_layer_on_tokens(damping: float) -> None:
    draw = _draw(10, 1, 3, 5)
    view = _view(nn.Linear(5, 4), draw)
    expected = _expected(view.weight("0").numpy(), draw.images.reshape(-1, 5).numpy(), 10, damping)
    np.testing.assert_allclose(obs(view, draw, None, damping=damping)["0"].numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_convolution_by_unfolding(groups: int) -> None:
    draw = _draw(6, 4, 7, 6)
    view = _view(nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=groups), draw)
    unfolded = F.unfold(draw.images, 3, padding=1, stride=2).transpose(1, 2).reshape(-1, 36).numpy()
    w = view.weight("0").reshape(groups, 8 // groups, -1).numpy()
    k = 36 // groups
    expected = [_expected(w[g], unfolded[:, g * k : (g + 1) * k], 6, 0.01) for g in range(groups)]
    np.testing.assert_allclose(
        obs(view, draw, None)["0"].reshape(groups, 8 // groups, k).numpy(), np.stack(expected), rtol=1e-9
    )


def test_score_is_the_error_that_remains_when_the_others_make_up_for_the_weight() -> None:
    """With next to no damping: least squares without input j gives the very number."""
    draw = _draw(12, 1, 1, 4)
    view = _view(nn.Linear(4, 1, bias=False), draw)
    x = draw.images.reshape(12, 4).numpy()
    target = x @ view.weight("0").numpy()[0]
    scores = obs(view, draw, None, damping=1e-12)["0"][0]
    for j, score in enumerate(scores):
        residual = np.linalg.lstsq(np.delete(x, j, axis=1), target, rcond=None)[1]
        assert float(score) == pytest.approx(float(residual[0]) / 12, rel=1e-6)


def test_dead_inputs_score_lowest_and_a_dead_layer_zero() -> None:
    draw = _draw(10, 4, 6, 6)
    draw.images[:, 1] = 0
    view = _view(nn.Conv2d(4, 2, 1, bias=False), draw)
    nn.init.ones_(view.module("0").weight)
    assert obs(view, draw, None)["0"][0].flatten().argmin() == 1

    depthwise = _view(nn.Conv2d(4, 4, 3, groups=4), draw)
    scores = obs(depthwise, draw, None)["0"]
    assert bool((scores[1] == 0).all())
    assert bool((scores[[0, 2, 3]] > 0).all())


def test_scores_do_not_grow_with_the_draw() -> None:
    draw = _draw(8, 2, 5, 5)
    twice = Calibration(draw.images.repeat(2, 1, 1, 1), draw.labels.repeat(2), 3)
    view = _view(nn.Conv2d(2, 3, 3), draw)
    torch.testing.assert_close(obs(view, draw, None)["0"], obs(view, twice, None)["0"], rtol=1e-9, atol=0)


def test_a_layer_scores_the_same_whichever_layers_are_measured_with_it(
    view_of: ViewOf, calibration: Calibration
) -> None:
    view = view_of("weight")
    whole = obs(view, calibration, None)
    for name in view.units.names:
        others = tuple(other for other in view.units.names if other != name)
        units = find_units(view.model, "weight", ("head", *others), calibration.images[:1])
        alone = obs(ModelView(view.model, units), calibration, None)
        assert list(alone) == [name]
        assert torch.equal(alone[name], whole[name])


def test_float32_products_are_sharp_enough(calibration: Calibration, view_of: ViewOf) -> None:
    """Single-precision sums of products, of correlated inputs: the damping bounds what the inverse makes of it."""
    draw = _draw(64, 8, 8, 8)
    draw.images[:, 1:] = draw.images[:, :1] + 0.01 * draw.images[:, 1:]
    view = _view(nn.Conv2d(8, 4, 3, padding=1), draw)
    sharp = obs(view, draw, None)["0"]
    view.model.float()
    single = Calibration(draw.images.float(), draw.labels, 32)
    torch.testing.assert_close(obs(view, single, None)["0"], sharp, rtol=1e-3, atol=0)


def test_channels_are_refused(view_of: ViewOf, calibration: Calibration) -> None:
    with pytest.raises(NotApplicable, match="weights"):
        obs(view_of("channel"), calibration, None)


def test_inputs_that_are_not_finite_are_an_error() -> None:
    draw = _draw(4, 1, 3, 5)
    draw.images[0, 0, 0, 0] = torch.nan
    with pytest.raises(CellError, match="obs of 0"):
        obs(_view(nn.Linear(5, 4), draw), draw, None)
