"""TOST against pingouin and statsmodels, and its agreement with the interval."""

import math
import warnings

import numpy as np
import pingouin
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from analysis.stats.equivalence import equivalence_p, tost

samples = st.lists(st.integers(-20, 20), min_size=3, max_size=15).map(lambda k: np.array(k) / 400)


@given(samples, st.floats(0.001, 0.1))
def test_p_is_that_of_statsmodels_and_pingouin(values, margin):
    found = tost(values, margin)
    assume(found.category == "regular")
    zero = np.zeros(len(values))
    p, lower, upper = ttost_paired(values, zero, -margin, margin)
    assert (found.p, found.p_lower, found.p_upper) == pytest.approx((p, lower[1], upper[1]), abs=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = pingouin.tost(values, zero, bound=margin, paired=True)
    assert found.p == pytest.approx(
        float(theirs.iloc[0][next(c for c in theirs.columns if c.startswith("p"))]), abs=1e-9
    )


@given(samples, st.floats(0.001, 0.1), st.sampled_from([0.01, 0.025, 0.05]))
def test_p_and_interval_give_one_answer(values, margin, alpha):
    found = tost(values, margin, alpha)
    assume(found.category == "regular" and abs(found.p - alpha) > 1e-9 and abs(found.p_outside - alpha) > 1e-9)
    assert (found.p < alpha) == (-margin < found.interval.low and found.interval.high < margin)
    assert (found.p_outside < alpha) == (found.interval.low > margin or found.interval.high < -margin)


@given(samples, st.floats(0.001, 0.1))
def test_orientation_does_not_matter(values, margin):
    one, other = tost(values, margin), tost(-values, margin)
    assume(one.category == "regular")
    assert other.p == pytest.approx(one.p, abs=1e-12)
    assert (other.p_lower, other.p_upper) == pytest.approx((one.p_upper, one.p_lower), abs=1e-12)


def test_size_at_the_margin_is_alpha():
    """The size over 400,000 samples, with the p-values of a vectorised second implementation.

    The first 2,000 of the seed's samples alone reject 73 times, below the 99 % bound of 76: a chance of one
    in 200 that was met when this test was first run with that many. The seed stayed, the simulation grew.
    """
    values = np.random.default_rng(8).normal(0.02, 0.004, (400_000, 10))
    below = stats.ttest_1samp(values, 0.02, axis=1, alternative="less").pvalue
    above = stats.ttest_1samp(values, -0.02, axis=1, alternative="greater").pvalue
    p = np.maximum(below, above)
    assert [tost(row, 0.02).p for row in values[:200]] == pytest.approx(p[:200], abs=1e-12)
    low, high = stats.binom.ppf([0.005, 0.995], len(p), 0.05)
    assert low <= (p < 0.05).sum() <= high


@given(samples, st.floats(0.001, 0.1))
def test_p_from_mean_and_standard_error_is_that_of_the_sample(values, margin):
    found = tost(values, margin)
    assume(found.category == "regular")
    own = equivalence_p(values.mean(), stats.sem(values), len(values) - 1, margin)
    assert (found.p, found.p_contradiction) == pytest.approx(own, abs=1e-12)


@given(st.floats(-5, 5), st.floats(0.01, 3), st.integers(1, 30), st.floats(0.1, 3))
def test_contradiction_by_two_tails(mean, se, df, margin):
    support, contradiction = equivalence_p(mean, se, df, margin)
    above = stats.t.sf((mean - margin) / se, df)
    below = stats.t.cdf((mean + margin) / se, df)
    # the nearer margin's one-sided p, and the tail beyond the other margin
    assert contradiction == pytest.approx(min(above, below) + stats.t.sf((abs(mean) + margin) / se, df))
    assert support == pytest.approx(max(1 - above, 1 - below))
    assert equivalence_p(-mean, se, df, margin) == (support, contradiction)
    assert contradiction <= 1 + 1e-12
    assert not (support < 0.025 and contradiction < 0.025)


def test_p_by_hand():
    # one degree of freedom: P(T > t) = 1/2 - atan(t) / pi; mean 3, margin 2, se 1: P(T > 1) + P(T > 5)
    support, contradiction = equivalence_p(3, 1, 1, 2)
    assert support == pytest.approx(0.75)
    assert contradiction == pytest.approx(0.25 + 0.5 - math.atan(5) / math.pi)


@pytest.mark.parametrize("ratio", [0.3, 1.0, 3.0])
def test_size_of_contradiction_at_the_margin_is_alpha(ratio):
    """Also for a margin that is narrow next to the standard error."""
    n, trials = 10, 200_000
    values = np.random.default_rng(20261129).normal(ratio / n**0.5, 1, (trials, n))
    means, errors = np.abs(values.mean(axis=1)), values.std(axis=1, ddof=1) / n**0.5
    margin = ratio / n**0.5
    p = stats.t.sf((means - margin) / errors, n - 1) + stats.t.sf((means + margin) / errors, n - 1)
    assert [tost(row, margin).p_contradiction for row in values[:100]] == pytest.approx(p[:100], abs=1e-12)
    low, high = stats.binom.ppf([0.005, 0.995], trials, 0.025)
    assert low <= (p < 0.025).sum() <= high


def test_a_least_standard_deviation_is_that_of_the_interval_and_of_all_p():
    plain, floored = tost([0.01, 0.012, 0.011], 0.02), tost([0.01, 0.012, 0.011], 0.02, least_sd=0.005)
    se = 0.005 / 3**0.5
    assert (floored.p, floored.p_contradiction) == pytest.approx(equivalence_p(0.011, se, 2, 0.02))
    assert floored.interval.high - 0.011 == pytest.approx(stats.t.ppf(0.975, 2) * se)
    assert floored.p > plain.p
    constant = tost([0.01, 0.01, 0.01], 0.02, least_sd=0.001)
    assert constant.category == "constant"
    assert constant.p == pytest.approx(stats.t.sf(0.01 / (0.001 / 3**0.5), 2))
    assert math.isnan(tost([0.0, 0.0, 0.0], 0.02, least_sd=0.001).p)


def test_without_a_standard_error_there_is_no_p():
    assert np.isnan(equivalence_p(0.1, 0.0, 3, 1.0)).all()
    assert np.isnan(equivalence_p(0.1, math.nan, 3, 1.0)).all()
    with pytest.raises(ValueError, match="must be positive, got 0"):
        equivalence_p(0.1, 0.1, 3, 0)


def test_constant_differences_are_named_not_tested():
    found = tost([0.01, 0.01, 0.01], 0.02)
    assert found.category == "constant"
    assert math.isnan(found.p)
    assert found.interval.low == found.interval.high == 0.01


@pytest.mark.parametrize(("margin", "alpha"), [(0.0, 0.05), (-0.1, 0.05), (0.1, 0.5), (0.1, 0.0)])
def test_senseless_margins_and_levels_are_refused(margin, alpha):
    with pytest.raises(ValueError, match=r"margin|alpha"):
        tost([0.1, 0.2], margin, alpha)
