from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.signal import savgol_filter
from torch import nn

from bench.core.errors import CellError, NotApplicable
from bench.masks.order import keep_order
from bench.models.tensors import FeatureMap, ScoreMap
from bench.models.unit_space import PrunableLayer, UnitSpace
from bench.models.view import ModelView
from bench.scorers.features import classes, logistic
from bench.scorers.features.grid import feature_map, grid
from bench.scorers.rank import normalised_rank

FOUR = ("peak", "variance", "range", "mean")
SIX = (*FOUR, "lyapunov", "entropy")
CONTENTS = {
    "v1a_peak": (("peak",), True),
    "v1b_var": (("variance",), True),
    "v1d_range": (("range",), True),
    "v1": (FOUR, True),
    "a5": (FOUR, False),
    "a5_log6": (SIX, False),
    "a5_log6_smooth": (SIX, True),
}


@pytest.fixture(scope="module")
def view() -> ModelView:
    """Two layers of 5000 and 300 shuffled weights."""
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Linear(100, 50), nn.Linear(30, 10))
    for layer in net:
        layer.weight.data.copy_(torch.randn(layer.weight.shape, generator=generator))
    layers = (PrunableLayer("0", (50, 100), (50, 100)), PrunableLayer("1", (10, 30), (10, 30)))
    return ModelView(net.eval(), UnitSpace("weight", layers))


def flat(view: ModelView, features: FeatureMap, layer: str) -> tuple[np.ndarray, np.ndarray]:
    """Ranks, ascending, and the features in that order."""
    u = normalised_rank(view.magnitudes()[layer]).flatten().numpy()
    order = u.argsort()
    return u[order], features.features[layer].flatten(1).numpy()[:, order]


@pytest.mark.parametrize("name", CONTENTS)
def test_holds_the_scaled_indicators_at_each_units_rank(name: str, view: ModelView) -> None:
    names, smoothed = CONTENTS[name]
    features = getattr(classes, name)(view, None, None, include_rank=False)
    assert features.names == names
    curves = logistic.indicators(grid(), names)
    if smoothed:
        curves = savgol_filter(curves, 205, 3, axis=1)
    for layer in view.units.names:
        u, found = flat(view, features, layer)
        for row, curve, indicator in zip(found, curves, names, strict=True):
            at_u = np.interp(u, grid(), curve) if smoothed else logistic.indicators(u, (indicator,))[0]
            expected = (at_u - curve.min()) / (curve.max() - curve.min())
            np.testing.assert_allclose(row, expected, rtol=1e-10, atol=1e-12)
            margin = 1e-12 if smoothed else 0.2  # the grid misses the depth of the superstable points
            assert row.min() >= -margin
            assert row.max() <= 1 + margin


@pytest.mark.parametrize("name", CONTENTS)
def test_rank_is_included_by_default_where_there_is_one_indicator(name: str, view: ModelView) -> None:
    scorer, (names, _) = getattr(classes, name), CONTENTS[name]
    assert scorer(view, None, None).names == (("u", *names) if len(names) == 1 else names)
    assert scorer(view, None, None, include_rank=True).names == ("u", *names)


def test_smooth_peak_is_non_decreasing_up_to_the_drawdown_that_counts_as_none(view: ModelView) -> None:
    _, (peak,) = flat(view, classes.v1a_peak(view, None, None, include_rank=False), "0")
    drawdown = (np.maximum.accumulate(peak) - peak).max()
    assert 0 < drawdown <= 0.01  # the filter dips at r = 1; 0.0042 on the grid


@pytest.mark.parametrize("name", ["variance", "range"])
@pytest.mark.parametrize("smoothed", [True, False])
def test_ranks_without_variance_are_ordered_by_magnitude(name: str, smoothed: bool, view: ModelView) -> None:
    """The orbit rests below u = 0.75, but near 0.25 it creeps; the filter spreads both ends by 0.045."""
    function = (logistic.smooth if smoothed else logistic.raw)((name,))
    features = feature_map(view, (name,), function, include_rank=False)
    magnitudes = view.magnitudes()
    u = view.units.flatten({layer: normalised_rank(m) for layer, m in magnitudes.items()})
    order = keep_order(view.units, features.fuse((1.0,)), magnitudes)
    resting = (u > 0.31) & (u < 0.7)
    score = view.units.flatten(features.fuse((1.0,)))
    for part in torch.split(torch.arange(len(u)), [layer.size for layer in view.units.layers]):
        mine = part[resting[part]]
        assert len(score[mine].unique()) == 1
        in_order = order[torch.isin(order, mine)]
        assert (u[in_order].diff() < 0).all()
    unrounded = ScoreMap({layer: stack[0] for layer, stack in features.features.items()})
    noisy = keep_order(view.units, unrounded, magnitudes)
    first = noisy[torch.isin(noisy, torch.arange(5000)[resting[:5000]])]
    assert smoothed or (u[first].diff() > 0).any()  # rounding is what keeps noise from pruning at random


@pytest.mark.parametrize(
    ("sparsity", "expected"),
    [(0.0, "rank"), (0.64, "rank"), (0.65, "v1"), (0.7, "v1"), (0.75, "v1"), (0.76, "a5"), (0.9, "a5")],
)
def test_adaptive_takes_the_class_that_the_sparsity_calls_for(sparsity: float, expected: str, view: ModelView) -> None:
    features = classes.sics_adaptive(view, None, None, sparsity)
    assert features.notes == {"feature_class": expected}
    assert features.fuse([1.0] * len(features.names)).notes == features.notes
    if expected == "rank":
        assert features.names == ("u",)
        u = normalised_rank(view.magnitudes()["0"])
        torch.testing.assert_close(features.features["0"][0], (u - 0.1) / 0.9)
    else:
        same = getattr(classes, expected)(view, None, None)
        assert features.names == same.names
        assert all(torch.equal(features.features[layer], same.features[layer]) for layer in view.units.names)


def test_adaptive_thresholds_are_options(view: ModelView) -> None:
    at = {s: classes.sics_adaptive(view, None, None, s, low=0.2, high=0.3).notes for s in (0.1, 0.2, 0.3, 0.4)}
    assert [notes["feature_class"] for notes in at.values()] == ["rank", "v1", "v1", "a5"]
    equal = [classes.sics_adaptive(view, None, None, s, low=0.5, high=0.5).notes for s in (0.4, 0.5, 0.6)]
    assert [notes["feature_class"] for notes in equal] == ["rank", "v1", "a5"]
    with pytest.raises(CellError, match=r"low = 0\.8 is above high = 0\.7"):
        classes.sics_adaptive(view, None, None, 0.5, low=0.8, high=0.7)


def test_adaptive_needs_a_target(view: ModelView) -> None:
    with pytest.raises(NotApplicable, match="sics_adaptive depends on the target sparsity"):
        classes.sics_adaptive(view, None, None, None)


@pytest.mark.parametrize("scorer", [classes.v1, classes.a5_log6])
def test_two_calls_agree_bit_for_bit(scorer: Callable[..., FeatureMap], view: ModelView) -> None:
    first, second = scorer(view, None, None), scorer(view, None, None)
    assert all(torch.equal(first.features[layer], second.features[layer]) for layer in view.units.names)
