"""Interquartile means and performance profiles against plain sorting, SciPy's bootstrap and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from analysis.stats.profiles import iqm, iqm_interval, performance_profile

tables = st.tuples(st.integers(2, 6), st.integers(1, 5)).flatmap(
    lambda shape: arrays(np.int64, shape, elements=st.integers(0, 400)).map(lambda k: k / 400)
)


@given(tables)
def test_iqm_is_the_mean_of_the_middle_half(table):
    ordered = np.sort(table.ravel())
    cut = int(0.25 * ordered.size)
    assert iqm(table) == pytest.approx(ordered[cut : ordered.size - cut].mean())


@given(tables, st.randoms(use_true_random=False), st.floats(-1, 1))
def test_iqm_ignores_order_and_moves_with_the_data(table, random, shift):
    rows, columns = list(range(len(table))), list(range(table.shape[1]))
    random.shuffle(rows)
    random.shuffle(columns)
    assert iqm(table[rows][:, columns] * 3 + shift) == pytest.approx(3 * iqm(table) + shift)
    assert iqm(-table) == pytest.approx(-iqm(table))


def test_one_outlier_does_not_move_it():
    table = np.full((4, 4), 0.7)
    table[0, 0] = 0.0
    assert iqm(table) == pytest.approx(0.7)
    assert table.mean() < 0.66


def test_one_stratum_of_one_setting_is_scipys_bootstrap():
    values = np.random.default_rng(1).normal(size=12)
    theirs = stats.bootstrap(
        (values,), lambda x, axis: stats.trim_mean(x, 0.25, axis=axis), n_resamples=20_000, method="percentile",
        rng=np.random.default_rng(2),
    ).confidence_interval  # fmt: skip
    found = iqm_interval(values[:, None], resamples=20_000)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)
    assert found.iqm == pytest.approx(stats.trim_mean(values, 0.25))


def test_strata_are_resampled_each_within_itself():
    # two architectures far apart: whoever mixes them draws now more of one, now more of the other
    table = np.random.default_rng(3).normal(size=(10, 3)) * 0.01 + np.repeat([0.0, 1.0], 5)[:, None]
    strata = np.repeat(["small", "large"], 5)
    apart, mixed = iqm_interval(table, strata), iqm_interval(table)
    assert apart.high - apart.low < 0.02 < 0.3 < mixed.high - mixed.low
    profile = performance_profile(table, [0.5], strata)
    assert profile.loc[0, ["share", "low", "high"]].tolist() == [0.5, 0.5, 0.5]
    assert performance_profile(table, [0.5]).loc[0, "low"] < 0.4


def test_a_model_takes_all_its_settings_along():
    # one value per model, repeated: more settings are no more evidence
    values = np.random.default_rng(4).normal(size=(12, 1))
    once, often = iqm_interval(values), iqm_interval(np.repeat(values, 4, axis=1))
    assert (often.low, often.high) == pytest.approx((once.low, once.high))


@given(tables)
def test_labels_of_strata_do_not_matter_and_orientation_mirrors(table):
    strata = np.arange(len(table)) % 2
    found = iqm_interval(table, strata, resamples=50)
    named = iqm_interval(table, np.where(strata == 0, "a", "b"), resamples=50)
    assert (named.low, named.high) == pytest.approx((found.low, found.high), nan_ok=True)
    turned = iqm_interval(1 - table, strata, resamples=50)
    assert (turned.low, turned.high) == pytest.approx((1 - found.high, 1 - found.low), nan_ok=True)


def test_the_seed_is_used():
    table = np.random.default_rng(5).normal(size=(8, 3))
    one, again, other = (iqm_interval(table, seed=seed) for seed in (0, 0, 1))
    assert one == again
    assert (one.low, one.high) != (other.low, other.high)
    bands = [performance_profile(table, np.linspace(-1, 1, 9), seed=seed, resamples=101) for seed in (0, 0, 1)]
    assert bands[0].equals(bands[1])
    assert not bands[0].equals(bands[2])


def test_a_profile_by_hand():
    found = performance_profile([[0.2, 0.4], [0.4, 0.8]], [0.1, 0.2, 0.4, 0.8])
    assert found["share"].tolist() == [1.0, 0.75, 0.25, 0.0]  # above, not at, the threshold
    assert found["threshold"].tolist() == [0.1, 0.2, 0.4, 0.8]


@given(tables)
def test_a_profile_falls_and_its_mean_height_is_that_of_the_values(table):
    found = performance_profile(table, np.arange(401) / 400, resamples=40)
    assert (np.diff(found["share"]) <= 0).all()
    assert found["share"].iloc[:-1].sum() / 400 == pytest.approx(table.mean())  # the area under it
    assert ((found["low"] <= found["high"]) & found["low"].between(0, 1) & found["high"].between(0, 1)).all()


def test_coverage_is_that_of_a_percentile_interval():
    rng = np.random.default_rng(20260609)
    trials, hits = 600, 0
    for seed, draw in enumerate(rng.standard_normal((trials, 10, 1)) + 0.1 * rng.standard_normal((trials, 10, 4))):
        found = iqm_interval(draw, resamples=400, seed=seed)
        hits += found.low <= 0 <= found.high
    assert 0.85 <= hits / trials <= stats.binom.ppf(0.995, trials, 0.95) / trials


@pytest.mark.parametrize(
    ("table", "strata", "category"),
    [
        (np.empty((0, 2)), None, "no data"),
        ([[0.1, math.nan], [0.2, 0.3]], None, "not finite"),
        ([[0.1, 0.2]], None, "one model"),
        ([[0.1], [0.2], [0.3]], ["a", "a", "b"], "one model"),
        ([[0.1], [0.1]], None, "constant"),
        ([[0.0], [0.0]], None, "identical"),
    ],
)
def test_degenerate_tables_are_named(table, strata, category):
    found = iqm_interval(table, strata)
    assert found.category == category
    assert math.isnan(found.low) == (category in ("no data", "not finite", "one model"))
    profile = performance_profile(table, [0.05], strata)
    assert profile["low"].isna().all() == math.isnan(found.low)
    assert profile["share"].isna().all() == (category in ("no data", "not finite"))


def test_every_model_needs_its_stratum():
    with pytest.raises(ValueError, match="one stratum for each of 2"):
        iqm_interval([[0.1], [0.2]], ["a"])
