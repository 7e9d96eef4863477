"""Kappa of curves and of scorers: known classes, maps, and random features over draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from kappa_curves import U, made

from analysis.kappa.approximation import scaled
from analysis.kappa.curves import (
    drawdown,
    kappa,
    kappa_map,
    measure,
    over_draws,
    random_features,
)

RNG = np.random.default_rng(20260509)
CURVE = arrays(np.float64, 40, elements=st.floats(-10, 10, width=32)).filter(lambda c: np.ptp(c) > 0.1)


def test_classes_of_known_curves():
    ramp = np.minimum(U, 0.7)
    assert kappa([U, ramp, -ramp, U**2, -U, np.sin(40 * np.pi * U), np.full(2048, 3.0)]).tolist() == [
        0,
        0,
        1,
        0,
        1,
        2,
        0,
    ]


def test_a_small_fall_is_still_class_0_and_a_larger_one_is_not():
    falls = [np.where(U > 0.9, (0.9 - 0.1) / 0.9 - fall, (U - 0.1) / 0.9) for fall in (0.008, 0.02)]
    stretched = [np.r_[curve, 1.0] for curve in falls]  # the last point fixes the scale
    assert drawdown(scaled(stretched)).round(3).tolist() == pytest.approx([0.008, 0.02], abs=1e-3)
    assert kappa(stretched, eps=0.15).tolist() == [0, 1]


def test_what_is_not_finite_or_cannot_be_searched_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        kappa([[0.0, math.nan, 1.0]])
    with pytest.raises(ValueError, match="searched to 64"):
        measure([], smooth_degree=65)
    with pytest.raises(ValueError, match="two of them"):
        over_draws([7])


@settings(max_examples=25, deadline=None)
@given(CURVE)
def test_only_non_decreasing_curves_are_class_0_and_their_mirror_images_are_not(curve):
    rising = np.sort(curve)
    assert kappa([rising]).tolist() == [0]
    assert kappa([rising[::-1]])[0] > 0
    assert kappa([-rising])[0] > 0


def test_the_map_agrees_with_the_classes_and_is_monotone():
    curves = [np.sin(3 * np.pi * U), U, np.abs(U - 0.5)]
    eps, degrees = (0.02, 0.05, 0.2), (2, 6, 16)
    found = kappa_map(curves, eps, degrees)
    assert found.tolist() == [[int(kappa(curves, e, d).max()) for d in degrees] for e in eps]
    assert (np.diff(found, axis=0) <= 0).all()
    assert (np.diff(found, axis=1) <= 0).all()
    assert kappa_map([U], eps, degrees).max() == 0


def test_the_interval_over_draws_is_of_the_median():
    found = over_draws([9] * 30 + [11] * 69 + [None])
    assert (found.median, found.low, found.high, found.least, found.most) == (11, 11, 11, 9, 1025)
    assert over_draws([8, 8]).high == 8


def test_the_bootstrap_interval_of_a_median_is_that_of_a_plain_loop():
    degrees = RNG.integers(5, 30, size=25)
    found = over_draws(degrees.tolist(), resamples=4000, seed=3)
    rng = np.random.default_rng(11)
    medians = np.median(rng.choice(degrees, size=(4000, 25)), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    assert (found.low, found.high) == pytest.approx((low, high), abs=1)


def test_a_scorer_has_the_largest_kappa_of_its_features():
    first, second = measure(
        [made(u=U, wave=np.sin(6 * U)), made("a5", same=np.sin(6 * U), fast=np.sin(40 * np.pi * U))]
    )
    assert [one.kappa for one in first.features] == [0, 1]
    assert (first.kappa, first.by_design, second.kappa, second.by_design) == (1, 1, 2, 2)
    assert (second.features[0].feature, second.features[0].degrees) == ("same", first.features[1].degrees)
    assert first.features[1].degrees["polynomial"] <= first.features[1].interpolation
    (by_cosine,) = measure([made(c=np.cos(20 * np.pi * (U - 0.1) / 0.9))], smooth_degree=20, basis="cosine")
    assert by_cosine.kappa == 1


def test_random_features_are_summarised_over_the_draws_that_were_measured():
    results = measure([made("random_spline", draw, wave=np.sin((5 + draw) * U)) for draw in range(3)] + [made(u=U)])
    found = random_features(results)
    assert list(found) == ["random_spline"]
    assert found["random_spline"].draws == 3
