"""Fieller's interval: against its definition, a closed form, and its coverage."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis.stats.ratio import fieller


def test_the_limits_are_the_ratios_that_the_paired_t_test_just_does_not_reject():
    rng = np.random.default_rng(3)
    below = rng.normal(5, 1, 12)
    above = 0.6 * below + rng.normal(0, 1, 12)
    found = fieller(above, below)
    for limit in (found.low, found.high):
        assert stats.ttest_1samp(above - limit * below, 0).pvalue == pytest.approx(0.05, abs=1e-9)
    assert found.low < found.estimate < found.high


def test_a_constant_denominator_gives_the_scaled_t_interval():
    above = np.array([1.0, 2.0, 4.0, 5.0])
    half = stats.t.ppf(0.975, 3) * above.std(ddof=1) / 2
    found = fieller(above, np.full(4, 2.0))
    assert (found.low, found.high) == pytest.approx(((3 - half) / 2, (3 + half) / 2))


def test_a_denominator_that_may_be_zero_leaves_the_ratio_unbounded():
    found = fieller([1.0, 2.0, 3.0], [1.0, -1.0, 0.5])
    assert found.estimate == pytest.approx(12)
    assert (found.low, found.high) == (-math.inf, math.inf)


@pytest.mark.parametrize(("above", "below"), [([1.0], [2.0]), ([1.0, math.nan], [1.0, 2.0]), ([1.0, 2.0], [1.0, -1.0])])
def test_data_without_a_ratio_give_nan(above, below):
    assert all(map(math.isnan, fieller(above, below)))


def test_unpaired_values_are_refused():
    with pytest.raises(ValueError, match="2 numerators and 3 denominators"):
        fieller([1.0, 2.0], [1.0, 2.0, 3.0])


def test_coverage_is_nominal():
    rng = np.random.default_rng(20260509)
    trials, covered = 2000, 0
    for _ in range(trials):
        below = rng.normal(6, 2, 10)
        above = 0.5 * below + rng.normal(0, 1.5, 10)
        found = fieller(above, below)
        covered += found.low <= 0.5 <= found.high
    low, high = stats.binom.ppf([0.005, 0.995], trials, 0.95)
    assert low <= covered <= high
