"""Paired tests against enumeration, SciPy, pingouin and simulation."""

import itertools
import math

import numpy as np
import pingouin
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from analysis.stats.paired import compare, hedges_dz, p_superior, paired_t, sign_flip, wilcoxon

differences = st.lists(st.integers(-40, 40), min_size=2, max_size=9).map(lambda k: np.array(k) / 400)


def by_hand(values, alternative):
    """Write all sign patterns out."""
    observed = values.sum()
    sums = [np.dot(signs, values) for signs in itertools.product((-1, 1), repeat=len(values))]
    slack = 1e-12
    extreme = {
        "two-sided": [abs(s) >= abs(observed) - slack for s in sums],
        "greater": [s >= observed - slack for s in sums],
        "less": [s <= observed + slack for s in sums],
    }[alternative]
    return sum(extreme) / len(sums)


@given(differences, st.sampled_from(["two-sided", "greater", "less"]))
def test_sign_flip_counts_every_pattern(values, alternative):
    found = sign_flip(values, alternative=alternative)
    assume(found.category == "regular")
    assert found.p == pytest.approx(by_hand(values, alternative))


def test_sign_flip_is_scipys_permutation_test():
    values = np.random.default_rng(3).normal(0.5, 1, 12)
    other = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True)
    assert sign_flip(values).p == pytest.approx(other.pvalue)


@given(differences, st.randoms(use_true_random=False))
def test_sign_flip_ignores_order_and_orientation(values, random):
    assume(sign_flip(values).category == "regular")
    mixed = list(values)
    random.shuffle(mixed)
    assert sign_flip(mixed).p == pytest.approx(sign_flip(values).p)
    assert sign_flip(-values).p == pytest.approx(sign_flip(values).p)
    assert sign_flip(-values, alternative="less").p == pytest.approx(sign_flip(values, alternative="greater").p)


@pytest.mark.parametrize("n", [20, 21])
def test_exact_and_drawn_patterns_agree_at_the_border(n):
    values = np.random.default_rng(5).normal(0.4, 1, n)
    found = sign_flip(values)
    assert (found.repetitions is None) == (n == 20)
    assert found.p == pytest.approx(paired_t(values).p, abs=0.02)


def test_drawn_patterns_never_give_zero():
    found = sign_flip(np.linspace(1, 2, 30))
    assert found.p == 1 / 20_001
    assert sign_flip(np.linspace(1, 2, 30), seed=1).p == found.p


def test_sign_flip_keeps_its_level():
    rng = np.random.default_rng(11)
    rejected = sum(sign_flip(rng.laplace(size=8)).p <= 0.05 for _ in range(2000))
    assert rejected <= stats.binom.ppf(0.995, 2000, 0.05)


@given(differences, st.floats(-0.05, 0.05))
def test_paired_t_is_scipys_and_pingouins(values, null):
    found = paired_t(values, null)
    assume(found.category == "regular")
    reference = stats.ttest_rel(values, np.full(len(values), null))
    assert (found.statistic, found.df, found.p) == pytest.approx((reference.statistic, reference.df, reference.pvalue))


def test_pingouin_agrees_on_a_sample():
    rng = np.random.default_rng(2)
    a, b = rng.normal(0.6, 0.1, 12), rng.normal(0.5, 0.1, 12)
    theirs = pingouin.ttest(a, b, paired=True)
    assert compare(a - b).t.p == pytest.approx(float(theirs.iloc[0]["p_val" if "p_val" in theirs else "p-val"]))
    rank = pingouin.wilcoxon(a, b)
    assert compare(a - b).wilcoxon.p == pytest.approx(float(rank.iloc[0]["p_val" if "p_val" in rank else "p-val"]))


def test_wilcoxon_needs_six_models_and_reaches_the_known_least_p():
    assert math.isnan(wilcoxon([1.0, 2.0, 3.0, 4.0, 5.0]).p)
    for n, least in ((8, 0.0078125), (10, 0.001953125)):
        assert wilcoxon(np.arange(1.0, n + 1)).p == pytest.approx(least)


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
@pytest.mark.parametrize("ties", [True, False])
def test_wilcoxon_is_scipys_with_ties_and_zeros_too(alternative, ties):
    rng = np.random.default_rng(8)
    for n in (6, 9, 12):
        values = rng.integers(-4, 7, n) / 400 if ties else rng.normal(0.3, 1, n)
        found = wilcoxon(values, alternative)
        # SciPy counts exactly up to 13 models, ties or not
        reference = stats.wilcoxon(values, alternative=alternative)
        assert (found.p, found.statistic) == pytest.approx((reference.pvalue, reference.statistic))


def test_wilcoxon_with_ties_is_exact_where_scipy_approximates():
    values = np.array([1, 1, 2, -2, 3, 3, -4, 5, 5, 6, 7, 7, -8, 9, 10, 0], dtype=float)
    ranks = stats.rankdata(np.abs(values[values != 0])) * np.sign(values[values != 0])
    other = stats.permutation_test((ranks,), np.sum, permutation_type="samples", n_resamples=np.inf, vectorized=True)
    assert wilcoxon(values).p == pytest.approx(other.pvalue)


def test_beyond_twenty_models_wilcoxon_is_scipys_own():
    values = np.random.default_rng(9).normal(0.2, 1, 21)
    assert wilcoxon(values).p == stats.wilcoxon(values).pvalue


def test_hedges_correction_is_near_its_usual_approximation():
    values = np.random.default_rng(4).normal(1, 1, 15)
    plain = values.mean() / values.std(ddof=1)
    assert hedges_dz(values) == pytest.approx(plain * (1 - 3 / (4 * 14 - 1)), rel=1e-3)


def test_p_superior_counts_ties_one_half():
    assert p_superior([0.1, 0.0, -0.1, 0.2]) == 0.625
    assert math.isnan(p_superior([]))


@pytest.mark.parametrize("values", [[], [0.1], [0.0, 0.0], [0.1, float("nan")]])
def test_degenerate_differences_give_a_category_and_no_p(values):
    found = compare(values)
    for test in (found.t, found.sign_flip, found.wilcoxon):
        assert math.isnan(test.p)
        assert test.category != "regular"
    assert math.isnan(found.d_z)
    assert not found.disagree()


def test_disagreement_is_flagged():
    skewed = compare([0.01, 0.012, 0.009, 0.011, 0.01, 0.013, 0.25])
    assert skewed.t.p > 0.05 > skewed.sign_flip.p
    assert skewed.disagree()
    # With four models the sign-flip test cannot reach 0.05, so its silence is no disagreement.
    assert not compare([0.010, 0.011, 0.012, 0.011]).disagree()
    assert skewed.skewness > 1


def test_wilcoxon_sees_ties_and_zeros_through_rounding_noise():
    images = np.array([3, -3, 1, 2, 2, 0, 5, -1])
    noisy = (200 + images) / 400 - 0.5  # the same differences, as accuracies give them
    assert (noisy != images / 400).any()
    assert wilcoxon(noisy).p == wilcoxon(images / 400).p == wilcoxon(images).p


@pytest.mark.parametrize("models", [2, 5, 20])
def test_constant_differences_are_decided_by_sign_flip(models):
    values = np.full(models, -0.01)
    assert sign_flip(values, alternative="less").p == 2.0**-models
    assert sign_flip(values, alternative="greater").p == 1
    assert sign_flip(values).p == 2.0 ** (1 - models)
    assert sign_flip(values, null=-0.02, alternative="greater").p == 2.0**-models
    assert sign_flip(values).category == "constant"


def test_a_constant_at_the_null_hypothesis_is_no_evidence():
    values = np.array([0.87, 0.57, 0.37]) - np.array([0.85, 0.55, 0.35])  # 0.02, but for the last bits
    for alternative in ("two-sided", "greater", "less"):
        assert sign_flip(values, 0.02, alternative).p == 1


@given(differences, st.sampled_from(["two-sided", "greater", "less"]), st.floats(-0.05, 0.05))
def test_a_least_standard_deviation_replaces_a_smaller_one(values, alternative, null):
    sd, n = values.std(ddof=1), len(values)
    plain = paired_t(values, null, alternative)
    assume(plain.category == "regular")
    assert paired_t(values, null, alternative, least_sd=sd / 2) == plain
    floored = paired_t(values, null, alternative, least_sd=2 * sd)
    assert floored.statistic == pytest.approx(plain.statistic / 2)
    tails = {"greater": stats.t.sf(floored.statistic, n - 1), "less": stats.t.cdf(floored.statistic, n - 1)}
    tails["two-sided"] = 2 * stats.t.sf(abs(floored.statistic), n - 1)
    assert floored.p == pytest.approx(tails[alternative])


def test_with_a_least_standard_deviation_constants_are_tested_and_zeros_are_not():
    found = paired_t([0.1, 0.1, 0.1], least_sd=0.1)
    assert found.category == "constant"
    assert found.p == pytest.approx(2 * stats.t.sf(3**0.5, 2))
    assert math.isnan(paired_t([0.0, 0.0, 0.0], least_sd=0.1).p)
