"""Intervals of effect sizes against published limits, exact enumeration and simulation."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.stats.effects import dz_interval, noncentrality
from analysis.stats.paired import hedges_dz, paired_t

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
    assert found.estimate == hedges_dz(values)


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


@pytest.mark.parametrize("effect", [0.0, 1.0])
def test_the_bounds_cover_as_they_say(effect):
    rng = np.random.default_rng(20260608)
    found = [dz_interval(draw) for draw in rng.normal(effect, 1, (400, 5))]
    covered = sum(interval.low <= effect <= interval.high for interval in found)
    assert stats.binom.ppf(0.005, 400, 0.95) <= covered <= stats.binom.ppf(0.995, 400, 0.95)


@pytest.mark.parametrize("values", [[], [0.1], [0.1, 0.2], [0.2, 0.2, 0.2], [0.0, 0.0, 0.0], [0.1, math.nan, 0.2]])
def test_without_variance_or_models_there_is_no_standardised_effect(values):
    assert np.isnan(dz_interval(values)).all()
