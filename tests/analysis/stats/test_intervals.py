"""Intervals against SciPy, closed forms and simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.stats.degenerate import classify
from analysis.stats.intervals import (
    BCA_COVERAGE,
    bca_bounds,
    bca_coverage,
    t_half_width,
    t_interval,
)

accuracies = st.lists(st.integers(0, 400), min_size=2, max_size=30).map(lambda k: np.array(k) / 400)


@given(accuracies, st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_t_interval_is_scipys(values, level):
    found = t_interval(values, level)
    if found.category == "regular":
        low, high = stats.t.interval(level, len(values) - 1, values.mean(), stats.sem(values))
        assert (found.low, found.high) == pytest.approx((low, high), rel=1e-10)
    else:
        assert found.low == found.high == found.mean


@given(accuracies, st.randoms(use_true_random=False), st.integers(-100, 100))
def test_t_interval_ignores_order_and_moves_with_the_data(values, random, shift):
    mixed = list(values + shift / 100)
    random.shuffle(mixed)
    one, other = t_interval(values), t_interval(mixed)
    assert other.mean == pytest.approx(one.mean + shift / 100, abs=1e-9)
    assert other.high - other.low == pytest.approx(one.high - one.low, abs=1e-9)


@given(accuracies, st.floats(0.001, 0.5))
def test_a_least_standard_deviation_widens_the_interval(values, least_sd):
    found, plain = t_interval(values, least_sd=least_sd), t_interval(values)
    assert found.sd == max(plain.sd, least_sd)
    assert (found.mean, found.n, found.category) == (plain.mean, plain.n, plain.category)
    half = float(t_half_width([found.sd], [len(values)])[0])
    assert (found.low, found.high) == pytest.approx((plain.mean - half, plain.mean + half))


def test_vectorised_half_width_equals_one_by_one():
    samples = [np.array([0.1, 0.2, 0.4]), np.array([0.5, 0.9, 0.2, 0.3])]
    half = t_half_width([s.std(ddof=1) for s in samples], [len(s) for s in samples])
    assert half == pytest.approx([t_interval(s).high - s.mean() for s in samples])


@pytest.mark.parametrize(
    ("values", "category"),
    [
        ([], "no data"),
        ([0.3], "one model"),
        ([0.3, float("nan")], "not finite"),
        ([0.3, float("inf")], "not finite"),
        ([0.0, 0.0, 1e-15], "identical"),
        ([0.25, 0.25 + 1e-14], "constant"),
        ([0.25, 0.2525], "regular"),
    ],
)
def test_degenerate_samples_are_named(values, category):
    assert classify(values) == category
    assert t_interval(values).category == category


def test_bca_is_scipys_for_every_row_whatever_stands_beside_it():
    table = np.random.default_rng(1).normal(size=(5, 10))
    low, high = bca_bounds(table, chunk=2)
    for row, a, b in zip(table, low, high, strict=True):
        own = stats.bootstrap(
            (row,), np.mean, n_resamples=2000, method="BCa", rng=np.random.default_rng(0)
        ).confidence_interval
        assert (a, b) == pytest.approx((own.low, own.high))


def test_bca_never_lets_degenerate_rows_reach_the_library():
    low, high = bca_bounds([[1.0, 1.0, 1.0], [1.0, np.nan, 2.0], [1.0, 2.0, 4.0]])
    assert (low[0], high[0]) == (1.0, 1.0)
    assert np.isnan([low[1], high[1]]).all()
    assert low[2] < 7 / 3 < high[2]
    assert np.isnan(bca_bounds([[1.0, 2.0]])[0]).all()


@pytest.mark.parametrize("n", [3, 5, 10, 20])
def test_coverage_in_the_heading_is_that_of_a_simulation(n):
    rng = np.random.default_rng(20260509 + n)
    trials, hits = 4000, 0
    for seed in range(8):  # the rows of one call share their resamples; eight calls do not
        low, high = bca_bounds(rng.standard_normal((trials // 8, n)), seed=seed, resamples=1000)
        hits += int(((low <= 0) & (high >= 0)).sum())
    stated = dict(BCA_COVERAGE)[n]
    low, high = stats.binom.ppf([0.005, 0.995], trials, stated) / trials
    assert low - 0.006 <= hits / trials <= high + 0.006  # stated to two digits, sharing widens a little


def test_coverage_between_two_simulated_sizes_is_the_smaller_one():
    assert bca_coverage(9) == bca_coverage(8)
    assert bca_coverage(1000) == BCA_COVERAGE[-1][1]
