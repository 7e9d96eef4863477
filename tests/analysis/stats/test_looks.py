"""Looks against published levels, a second implementation and simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.stats.intervals import t_interval
from analysis.stats.looks import check_looks, expected_models, nominal_levels, repeated_limits
from analysis.stats.paired import paired_t

two_looks = st.tuples(st.integers(6, 20), st.integers(1, 20)).map(lambda pair: (pair[0], pair[0] + pair[1]))


def test_the_levels_are_published_ones():
    # gsDesign(k = 2, test.type = 1, alpha = 0.025, sfu = sfLDOF): boundaries 2.9626 and 1.9686
    boundaries = stats.norm.isf(nominal_levels([10, 20]))
    assert boundaries == pytest.approx([2.9626, 1.9686], abs=5e-5)
    # Reboussin, DeMets, Kim and Lan (2000), two-sided 0.05: the same function, alpha(0.5) = 0.00305 in both tails
    assert 2 * nominal_levels([50, 100])[0] == pytest.approx(0.00305, abs=5e-6)


@settings(max_examples=30)
@given(two_looks, st.sampled_from([0.005, 0.025, 0.05]))
def test_both_looks_together_spend_alpha(looks, alpha):
    first, second = nominal_levels(looks, alpha)
    share = looks[0] / looks[1]
    assert first == pytest.approx(2 * stats.norm.sf(stats.norm.isf(alpha / 2) / share**0.5))
    kept = stats.multivariate_normal.cdf(stats.norm.isf([first, second]), cov=[[1, share**0.5], [share**0.5, 1]])
    assert 1 - kept == pytest.approx(alpha, abs=1e-7)
    assert first < alpha
    assert second < alpha


def test_a_very_early_or_late_first_look_changes_little():
    assert nominal_levels([6, 1000]) == pytest.approx((0, 0.025))
    first, second = nominal_levels([1000, 1001])
    assert first == pytest.approx(0.025, rel=0.01)
    assert 0.02 < second < 0.025


def test_one_look_has_the_whole_alpha():
    assert nominal_levels([20], 0.025) == (0.025,)
    assert nominal_levels([4]) == (0.025,)
    assert expected_models(1.0, 1.0, [20]) == 20


@pytest.mark.parametrize(
    ("looks", "message"),
    [
        ([5, 10], "a first look at 5 models is too early: look at 6 models or more first"),
        ([10, 10], "the second look needs more models than the first"),
        ([20, 10], "the second look needs more models than the first"),
        ([], "expected one or two looks"),
        ([6, 10, 20], "expected one or two looks"),
    ],
)
def test_other_looks_are_refused_in_plain_words(looks, message):
    for function in (check_looks, nominal_levels):
        with pytest.raises(ValueError, match=message):
            function(looks)
    check_looks([6, 7])


@settings(max_examples=50)
@given(st.lists(st.integers(-20, 40), min_size=12, max_size=12), st.sampled_from([6, 12]))
def test_the_repeated_interval_decides_as_the_look_does(values, n):
    looks, sample = [6, 12], np.array(values[:n]) / 10
    naive, p = t_interval(sample), paired_t(sample, 0, "greater").p
    level = nominal_levels(looks)[looks.index(n)]
    low, high = repeated_limits(naive.mean, naive.low, n - 1, level)
    exact = t_interval(sample, 1 - 2 * level)
    assert (low, high) == pytest.approx((exact.low, exact.high))
    if naive.category == "regular" and abs(p - level) > 1e-9:
        assert (p < level) == (low > 0)


@pytest.mark.parametrize("effect", [0.0, 0.8, -1.2])
def test_the_expected_number_of_models_is_that_of_a_simulation(effect):
    values = np.random.default_rng(20261129).normal(effect, 2.0, (20_000, 10))
    p = stats.ttest_1samp(values, 0, axis=1, alternative="greater").pvalue
    level = nominal_levels([10, 20])[0]
    models = np.where((p < level) | (1 - p < level), 10, 20)
    error = models.std() / len(models) ** 0.5
    assert expected_models(effect, 2.0, [10, 20]) == pytest.approx(models.mean(), abs=max(3 * error, 0.02))


def test_effects_are_in_the_unit_of_the_spread():
    assert expected_models(3.0, 2.0, [6, 12]) == expected_models(-1.5, 1.0, [6, 12])
    with pytest.raises(ValueError, match="must be positive, got 0"):
        expected_models(1.0, 0.0, [6, 12])


def test_a_decision_at_either_look_errs_as_seldom_as_stated():
    """The slow test has 100 times as many trials, other looks, and equivalence."""
    looks, trials = (10, 20), 20_000
    values = np.random.default_rng(20261130).standard_normal((trials, 20))
    wrong = np.zeros(trials, dtype=bool)
    for n, level in zip(looks, nominal_levels(looks), strict=True):
        wrong |= stats.ttest_1samp(values[:, :n], 0, axis=1, alternative="greater").pvalue < level
    assert stats.binom.ppf(0.005, trials, 0.0250) <= wrong.sum() <= stats.binom.ppf(0.995, trials, 0.0257)
