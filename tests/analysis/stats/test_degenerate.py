"""Samples and tables on which a test would fail or mislead."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from analysis.stats.degenerate import (
    RESOLUTION,
    as_sample,
    as_table,
    classify,
    classify_table,
    sd_floor,
    share_that_may_differ,
)


@pytest.mark.parametrize(
    ("values", "category"),
    [
        ([], "no data"),
        ([0.1], "one model"),
        ([math.nan], "not finite"),
        ([0.1, math.inf], "not finite"),
        ([0.0, 0.0, 0.0], "identical"),
        ([0.1, 0.1], "constant"),
        ([0.1, 0.1 + RESOLUTION / 2], "constant"),
        ([RESOLUTION / 2, -RESOLUTION / 2], "identical"),
        ([0.1, 0.1 + 3 * RESOLUTION], "regular"),
        ([0.1, 0.2], "regular"),
    ],
)
def test_a_sample_is_named_for_what_it_lacks(values, category):
    assert classify(values) == category


@pytest.mark.parametrize(
    ("table", "category"),
    [
        (np.zeros((0, 3)), "no data"),
        (np.zeros((3, 0)), "no data"),
        ([[0.1, 0.2]], "one model"),
        ([[0.0, 0.0]], "one model"),
        ([[0.1, math.nan]], "not finite"),
        (np.zeros((2, 2)), "identical"),
        (np.ones((2, 2)), "constant"),
        ([[0.1, 0.2], [0.1, 0.2]], "regular"),  # rows that agree are for the caller to judge
    ],
)
def test_a_table_is_named_for_what_its_rows_lack(table, category):
    assert classify_table(table) == category


def test_the_least_sd_is_that_of_rounding_to_images():
    images = 250
    accuracies = np.random.default_rng(20261129).uniform(50, 60, 100_000)
    rounded = np.round(accuracies * images / 100) * 100 / images
    assert (rounded - accuracies).std() == pytest.approx(sd_floor(images), rel=0.01)


@pytest.mark.parametrize(("models", "percent"), [(5, 45), (10, 26), (20, 14)])
def test_models_that_agree_leave_room_for_others(models, percent):
    share = share_that_may_differ(models)
    assert round(100 * share) == percent
    assert stats.binom.pmf(0, models, share) == pytest.approx(0.05)
    assert share == pytest.approx(stats.binomtest(0, models, alternative="less").proportion_ci(0.95).high)


def test_nothing_is_computed_without_images_or_models():
    with pytest.raises(ValueError, match="at least one image, got 0"):
        sd_floor(0)
    with pytest.raises(ValueError, match="at least one model is needed, got 0"):
        share_that_may_differ(0)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"one value per model, got an array of shape \(1, 2\)"):
        as_sample([[0.1, 0.2]])
    with pytest.raises(ValueError, match=r"one row per model, got an array of shape \(2,\)"):
        as_table([0.1, 0.2])
