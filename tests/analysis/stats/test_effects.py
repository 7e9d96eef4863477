"""Intervals of effect sizes against published limits, exact enumeration and simulation."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.stats.effects import correlation_interval, correlation_test, dz_interval, noncentrality
from analysis.stats.intervals import t_interval
from analysis.stats.paired import paired_t

differences = st.lists(st.integers(-40, 40), min_size=3, max_size=12).map(lambda k: np.array(k) / 400)


def test_limits_are_those_of_mbess():
    # The example of conf.limits.nct in the R package MBESS: ncp = 2.83, df = 126, level 0.95.
    assert noncentrality(2.83, 126, 0.025) == pytest.approx(0.8337502, abs=1e-6)
    assert noncentrality(2.83, 126, 0.975) == pytest.approx(4.815359, abs=1e-6)


@settings(max_examples=50)
@given(differences, st.sampled_from([0.8, 0.95, 0.99]))
def test_the_observed_t_is_a_quantile_at_either_bound(values, level):
    found = dz_interval(values, level)
    t = paired_t(values).statistic
    assume(not math.isnan(t))
    n, tail = len(values), (1 - level) / 2
    assert stats.nct.sf(t, n - 1, found.low * n**0.5) == pytest.approx(tail, abs=1e-8)
    assert stats.nct.cdf(t, n - 1, found.high * n**0.5) == pytest.approx(tail, abs=1e-8)
    assert stats.nct.cdf(t, n - 1, found.estimate * n**0.5) == pytest.approx(0.5, abs=1e-8)


@settings(max_examples=50)
@given(differences, st.sampled_from([1e-6, 0.1, 0.5, 0.99]))
def test_the_estimate_lies_inside_at_every_level_and_is_the_limit(values, level):
    found = dz_interval(values, level)
    assume(not math.isnan(found.estimate))
    assert found.low < found.estimate < found.high
    if level == 1e-6:
        assert found.high - found.low == pytest.approx(0, abs=1e-4 * (1 + abs(found.estimate)))


@settings(max_examples=50)
@given(differences)
def test_the_interval_agrees_with_the_t_test(values):
    p = paired_t(values).p
    assume(not math.isnan(p) and abs(p - 0.05) > 1e-9)
    found = dz_interval(values, 0.95)
    assert (p < 0.05) == (found.low > 0 or found.high < 0)


@settings(max_examples=50)
@given(differences, st.randoms(use_true_random=False))
def test_order_and_scale_do_not_matter_and_orientation_mirrors(values, random):
    mixed = list(values * 7)
    random.shuffle(mixed)
    found = dz_interval(values)
    assert dz_interval(mixed) == pytest.approx(found, nan_ok=True)
    low, estimate, high = found.low, found.estimate, found.high
    assert dz_interval(-values) == pytest.approx((-estimate, -high, -low), nan_ok=True)


@pytest.mark.parametrize("models", [3, 5, 10, 100])
@pytest.mark.parametrize("spread", [1e-2, 1e-3, 1e-4, 1e-5, 1e-9])
def test_far_out_it_is_finite_and_continuous(models, spread):
    values = 1 + spread * stats.norm.ppf((np.arange(models) + 0.5) / models)
    found = dz_interval(values)
    assert 0 < found.low < found.estimate < found.high < math.inf
    # the share of the bounds in d hardly changes any more, on either side of the switch
    d = values.mean() / values.std(ddof=1)
    shares = stats.chi.ppf([0.025, 0.975], models - 1, scale=(models - 1) ** -0.5)
    assert (found.low / d, found.high / d) == pytest.approx(tuple(shares), rel=0.05)


def test_both_sides_of_the_switch_agree():
    for df in (2, 9, 99):
        for p in (0.005, 0.025, 0.975):
            assert noncentrality(9999.9, df, p) / 9999.9 == pytest.approx(
                noncentrality(10000.1, df, p) / 10000.1, rel=1e-6
            )


def test_the_estimate_is_as_often_too_large_as_too_small():
    rng = np.random.default_rng(20261129)
    above = sum(dz_interval(draw).estimate > 1 for draw in rng.normal(1, 1, (300, 5)))
    assert stats.binom.ppf(0.005, 300, 0.5) <= above <= stats.binom.ppf(0.995, 300, 0.5)


@pytest.mark.parametrize("effect", [0.0, 1.0])
def test_the_bounds_cover_as_they_say(effect):
    rng = np.random.default_rng(20260608)
    found = [dz_interval(draw) for draw in rng.normal(effect, 1, (400, 5))]
    covered = sum(interval.low <= effect <= interval.high for interval in found)
    assert stats.binom.ppf(0.005, 400, 0.95) <= covered <= stats.binom.ppf(0.995, 400, 0.95)


@pytest.mark.parametrize("values", [[], [0.1], [0.1, 0.2], [0.2, 0.2, 0.2], [0.0, 0.0, 0.0], [0.1, math.nan, 0.2]])
def test_without_variance_or_models_there_is_no_standardised_effect(values):
    assert np.isnan(dz_interval(values)).all()


correlations = st.lists(st.integers(-20, 20), min_size=2, max_size=12).map(lambda k: np.array(k) / 20)


@given(correlations, st.sampled_from([0.8, 0.95, 0.999]))
def test_the_interval_of_a_correlation_stays_inside_its_range(values, level):
    found, plain = correlation_interval(values, level), t_interval(values, level)
    assert -1 <= found.low <= found.mean <= found.high <= 1
    assert (found.mean, found.sd, found.n, found.category) == (plain.mean, plain.sd, plain.n, plain.category)
    mirrored = correlation_interval(-values, level)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))


def test_near_zero_it_is_the_t_interval_and_near_one_it_is_not():
    small = np.array([-0.01, 0.0, 0.01, 0.02, 0.005])
    found, plain = correlation_interval(small), t_interval(small)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), rel=0.01)
    high = np.array([1.0, 1.0, 1.0, 0.9, 1.0])
    assert t_interval(high).high > 1
    found = correlation_interval(high)
    assert 0.7 < found.low < 0.98 < found.high < 1
    low = np.array([-1.0, -0.6, -1.0])
    assert t_interval(low).low < -1
    assert -1 < correlation_interval(low).low < -0.9


def test_a_correlation_by_hand():
    # mean 0.5, sd 0.5, n = 3: z = log(3) / 2, half = t(0.975, 2) * 0.5 / sqrt(3) / 0.75
    found = correlation_interval([0.0, 0.5, 1.0])
    half = 4.302652729911275 * 0.5 / 3**0.5 / 0.75
    assert found.low == pytest.approx(math.tanh(math.log(3) / 2 - half))
    assert found.high == pytest.approx(math.tanh(math.log(3) / 2 + half))


@given(correlations, st.floats(-0.9, 0.9))
def test_interval_and_test_of_a_correlation_give_one_answer(values, null):
    p_greater, p_less = correlation_test(values, null)
    found = correlation_interval(values)
    if found.category != "regular":
        assert math.isnan(p_greater)
        assert math.isnan(p_less)
        return
    assume(min(abs(p - 0.025) for p in (p_greater, p_less)) > 1e-9)
    assert (p_greater < 0.025) == (found.low > null)
    assert (p_less < 0.025) == (found.high < null)


@pytest.mark.parametrize(("noise", "models"), [(0.1, 10), (0.3, 5), (0.5, 20)])
def test_the_mean_correlation_is_covered(noise, models):
    """Of Spearman's correlations of two noisy curves with 11 points; within half a point of the nominal 95 %."""
    rng = np.random.default_rng(20261129)

    def draw(shape):
        ranks = stats.rankdata(np.linspace(0, 1, 11) + rng.normal(0, noise, (2, *shape, 11)), axis=-1)
        return 1 - 6 * ((ranks[0] - ranks[1]) ** 2).sum(axis=-1) / (11 * 120)

    truth, trials = draw((50_000,)).mean(), 3000
    hits = sum(found.low <= truth <= found.high for found in map(correlation_interval, draw((trials, models))))
    assert stats.binom.ppf(0.005, trials, 0.945) <= hits <= stats.binom.ppf(0.995, trials, 0.955)


@pytest.mark.parametrize("values", [[], [0.5], [1.0, 1.0], [0.0, 0.0], [0.5, math.nan]])
def test_degenerate_correlations_have_the_limits_of_the_t_interval(values):
    found, plain = correlation_interval(values), t_interval(values)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), nan_ok=True)
    assert found.category == plain.category
    assert np.isnan(correlation_test(values)).all()


def test_what_is_no_correlation_is_refused():
    with pytest.raises(ValueError, match="between -1 and 1"):
        correlation_interval([0.5, 1.1])
