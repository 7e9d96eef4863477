"""The stratified mean against Welch's test, the t interval, a case by hand and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.stats.degenerate import classify
from analysis.stats.intervals import t_interval
from analysis.stats.paired import paired_t
from analysis.stats.stratified import one_sided_p_values, stratified_mean

groups = st.lists(st.integers(-40, 40), min_size=2, max_size=9).map(lambda k: np.array(k) / 400)


@given(groups, st.sampled_from([0.8, 0.95]), st.floats(-0.05, 0.05))
def test_one_stratum_is_exactly_the_t_interval_and_test(values, level, null):
    found, own = stratified_mean(values, ["vit"] * len(values), level), t_interval(values, level)
    assert (found.mean, found.low, found.high) == pytest.approx((own.mean, own.low, own.high), rel=1e-12, abs=1e-15)
    assert (found.n, found.strata, found.category) == (own.n, 1, own.category)
    if own.category == "regular":
        expected = [paired_t(values, null, side).p for side in ("greater", "less")]
        assert one_sided_p_values(found, null) == pytest.approx(expected, rel=1e-9)


@given(groups, groups, st.floats(-0.05, 0.05))
def test_two_strata_are_welchs_test_of_a_and_minus_b(first, second, null):
    found = stratified_mean([*first, *second], ["a"] * len(first) + ["b"] * len(second))
    if "regular" not in (classify(first), classify(second)):
        assert found.se == 0
        assert all(math.isnan(p) for p in one_sided_p_values(found, null))
    elif classify(first) == classify(second):
        welch = stats.ttest_ind(first, 2 * null - second, equal_var=False, alternative="greater")
        assert found.df == pytest.approx(welch.df)
        assert one_sided_p_values(found, null)[0] == pytest.approx(welch.pvalue, rel=1e-6, abs=1e-12)
        assert sum(one_sided_p_values(found, null)) == pytest.approx(1)


def test_three_strata_by_hand():
    # means 1, 2, 6; v = 2/2, 0.5/2, 0; se = sqrt(1.25) / 3; df = 1.25^2 / (1 + 0.0625)
    found = stratified_mean([0, 2, 1.5, 2.5, 6, 6, 6], list("aabbccc"))
    assert found.mean == pytest.approx(3)
    assert found.se == pytest.approx(1.25**0.5 / 3)
    assert found.df == pytest.approx(1.5625 / 1.0625)
    assert (found.n, found.strata) == (7, 3)


@given(groups, groups, st.randoms(use_true_random=False))
def test_order_does_not_matter_and_orientation_mirrors(first, second, random):
    pairs = [(value, "a") for value in first] + [(value, 2) for value in second]
    random.shuffle(pairs)
    mixed = stratified_mean([value for value, _ in pairs], [name for _, name in pairs])
    found = stratified_mean([*first, *second], ["a"] * len(first) + [2] * len(second))
    assert (mixed.low, mixed.high) == pytest.approx((found.low, found.high))
    mirrored = stratified_mean([*-first, *-second], ["a"] * len(first) + [2] * len(second))
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))


def test_strata_count_alike_for_any_number_of_models():
    assert stratified_mean([0, 0, 0, 0, 0, 0, 3, 3.5], list("aaaaaabb")).mean == pytest.approx(1.625)


@pytest.mark.parametrize(
    ("values", "strata", "category"),
    [
        ([], [], "no data"),
        ([0.1, math.nan], ["a", "a"], "not finite"),
        ([0.1], ["a"], "one model"),
        ([0.1, 0.2, 0.3], ["a", "a", "b"], "one model"),
        ([0, 0, 0, 0], list("aabb"), "identical"),
        ([1, 1, 2, 2], list("aabb"), "constant"),
        ([1, 1, 2, 3], list("aabb"), "regular"),
    ],
)
def test_degenerate_data_are_named(values, strata, category):
    found = stratified_mean(values, strata)
    assert found.category == category
    if category != "regular":
        assert np.isnan(one_sided_p_values(found, 0.0)).all()


def test_a_least_standard_deviation_holds_in_every_stratum():
    found = stratified_mean([1, 1, 2, 2], list("aabb"), least_sd=0.2)
    assert found.se == pytest.approx((2 * 0.04 / 2) ** 0.5 / 2)
    assert found.low < 1.5 < found.high
    assert one_sided_p_values(found, 1.4)[0] == pytest.approx(stats.t.sf(0.1 / found.se, 2))
    assert np.isnan(one_sided_p_values(stratified_mean([0, 0, 0, 0], list("aabb"), least_sd=0.2), 0.0)).all()


def test_one_stratum_per_value():
    with pytest.raises(ValueError, match="2 values, but 3 strata"):
        stratified_mean([1, 2], list("abc"))


def test_the_interval_covers_unequal_strata_as_stated():
    """At 0.945: 1,000 samples at a nominal 0.95 failed by one, and 400,000 of another seed gave 0.9448."""
    rng, trials = np.random.default_rng(20261130), 4000
    hits = 0
    for _ in range(trials):
        values = np.concatenate([rng.normal(1, 3, 5), rng.normal(-1, 0.5, 10), rng.normal(0, 1, 20)])
        found = stratified_mean(values, ["a"] * 5 + ["b"] * 10 + ["c"] * 20)
        hits += found.low <= 0 <= found.high
    assert stats.binom.ppf(0.005, trials, 0.945) <= hits <= stats.binom.ppf(0.995, trials, 0.945)
