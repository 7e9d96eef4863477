"""Several studies against closed forms, SciPy and pingouin."""

import numpy as np
import pandas as pd
import pingouin
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.stats.intervals import t_interval
from analysis.stats.pooling import equal_weight_mean, random_effects
from analysis.stats.stratified import stratified_mean

studies = st.lists(
    st.lists(st.integers(-40, 40), min_size=3, max_size=9)
    .map(lambda k: np.array(k) / 10)
    .filter(lambda values: np.ptp(values) > 0),
    min_size=1,
    max_size=6,
)


def pooled(samples, level=0.95):
    return equal_weight_mean(
        [sample.mean() for sample in samples],
        [stats.sem(sample) for sample in samples],
        [len(sample) - 1 for sample in samples],
        level,
    )


@settings(max_examples=50)
@given(studies, st.sampled_from([0.8, 0.95]))
def test_studies_weigh_as_strata_do(samples, level):
    found = pooled(samples, level)
    names = [i for i, sample in enumerate(samples) for _ in sample]
    other = stratified_mean(np.concatenate(samples), names, level)
    assert (found.mean, found.se, found.df, found.low, found.high) == pytest.approx(
        (other.mean, other.se, other.df, other.low, other.high)
    )
    means = [sample.mean() for sample in samples]
    assert (found.least, found.most, found.studies) == (min(means), max(means), len(samples))


def test_one_study_is_its_t_interval_without_heterogeneity():
    sample = np.array([1.0, 2.0, 4.0])
    found, own = pooled([sample]), t_interval(sample)
    assert (found.low, found.high) == pytest.approx((own.low, own.high))
    assert np.isnan([found.q, found.q_p]).all()


@settings(max_examples=30)
@given(studies.filter(lambda samples: len(samples) > 1))
def test_heterogeneity_is_welchs_analysis_of_variance(samples):
    frame = pd.DataFrame([(i, value) for i, sample in enumerate(samples) for value in sample], columns=["study", "y"])
    theirs = pingouin.welch_anova(frame, dv="y", between="study")
    p = float(theirs.iloc[0][next(column for column in theirs.columns if column.startswith("p") and "unc" in column)])
    assert pooled(samples).q_p == pytest.approx(p, rel=1e-6, abs=1e-12)


@settings(max_examples=30)
@given(studies.filter(lambda samples: len(samples) == 2))
def test_two_studies_differ_by_welchs_t_test(samples):
    found, welch = pooled(samples), stats.ttest_ind(*samples, equal_var=False)
    assert found.q == pytest.approx(welch.statistic**2)
    assert found.q_p == pytest.approx(welch.pvalue, rel=1e-6, abs=1e-12)


def test_the_equal_weight_mean_by_hand():
    # se = sqrt(1 + 4 + 4) / 3 = 1; df = 81 / (1/4 + 16/8 + 16/16) = 324 / 13; Q: weights 1, 1/4, 1/4 about 2
    found = equal_weight_mean([0.0, 4.0, 8.0], [1.0, 2.0, 2.0], [4, 8, 16])
    assert (found.mean, found.se, found.df) == pytest.approx((4, 1, 324 / 13))
    assert found.q == pytest.approx(4 + 1 + 9)


@pytest.mark.parametrize(
    ("means", "errors", "dfs", "message"),
    [
        ([], [], [], "one standard error and one df per study"),
        ([1.0, 2.0], [1.0], [3, 3], "got 2 means, 1 and 2"),
        ([1.0, 2.0], [1.0, 0.0], [3, 3], "a positive standard error and df"),
        ([1.0, 2.0], [1.0, np.nan], [3, 3], "a positive standard error and df"),
        ([1.0, np.nan], [1.0, 1.0], [3, 3], "a finite mean"),
        ([1.0, 2.0], [1.0, 1.0], [3, 0], "a positive standard error and df"),
    ],
)
def test_studies_without_a_standard_error_are_refused(means, errors, dfs, message):
    with pytest.raises(ValueError, match=message):
        equal_weight_mean(means, errors, dfs)


def solved(means, variances):
    """Random effects by Paule and Mandel, by bisection of their estimating equation."""
    means, variances = np.array(means), np.array(variances)

    def q(tau2):
        w = 1 / (variances + tau2)
        return (w * (means - np.average(means, weights=w)) ** 2).sum()

    low, high = 0.0, 1e4
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if q(middle) > len(means) - 1 else (low, middle)
    w = 1 / (variances + high)
    return np.average(means, weights=w), w.sum() ** -0.5, high, (q(high) / (len(means) - 1)) ** 0.5


def test_random_effects_solve_their_equation():
    means, variances = [1.0, 2.0, 3.0, 2.5, 1.1, 0.2], [0.1, 0.2, 0.1, 0.2, 0.3, 0.15]
    found = random_effects(means, variances)
    mean, se, tau2, scale = solved(means, variances)
    assert scale == pytest.approx(1)
    assert (found.mean, found.se, found.tau2) == pytest.approx((mean, se, tau2), rel=1e-5)
    assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, 5) * se, rel=1e-5)
    assert found.prediction_high - found.mean == pytest.approx(stats.t.ppf(0.975, 4) * (tau2 + se**2) ** 0.5, rel=1e-5)


def test_studies_that_agree_by_chance_do_not_narrow_the_interval():
    means, variances = [1.0, 1.01, 0.99, 1.0, 1.02], [0.1] * 5
    found = random_effects(means, variances)
    assert found.tau2 == 0
    assert found.se == pytest.approx((0.1 / 5) ** 0.5)
    assert found.se > stats.sem(means)
    same = random_effects([1.0] * 5, variances)
    assert (same.mean, same.se, same.tau2) == pytest.approx((1, (0.1 / 5) ** 0.5, 0))


@given(st.permutations(range(5)), st.floats(-10, 10))
def test_order_does_not_matter_and_shifts_move(order, shift):
    means, variances = np.array([1.0, 2.0, 3.0, 2.5, 1.1]), np.array([0.1, 0.2, 0.1, 0.2, 0.3])
    found, moved = random_effects(means, variances), random_effects(means[order] + shift, variances[order])
    assert (moved.low - shift, moved.high - shift) == pytest.approx((found.low, found.high), abs=1e-6)


@pytest.mark.parametrize(
    ("means", "variances", "message"),
    [
        ([1.0] * 4, [1.0] * 4, "random effects need 5 studies or more, got 4; use the equal-weight mean"),
        ([1.0] * 5, [1.0] * 4, "a positive variance"),
        ([1.0] * 5, [1.0] * 4 + [0.0], "a positive variance"),
        ([1.0] * 4 + [np.nan], [1.0] * 5, "a finite mean"),
    ],
)
def test_too_few_studies_are_refused(means, variances, message):
    with pytest.raises(ValueError, match=message):
        random_effects(means, variances)
