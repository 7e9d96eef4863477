"""Power of a part, models needed, least decidable size: the published table, statsmodels, simulations, invariances."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import TTestPower

from analysis.stats.max_t import max_t
from analysis.stats.models_needed import least_decidable, models_needed, part_power, sd_upper_limit
from analysis.stats.paired import sign_flip

#: The table at the top of STATISTICS.md: effects at 0.05 two-sided, margins at 0.05 one-sided.
MODELS = (3, 5, 8, 10, 15, 20, 30)
EFFECTS = (3.26, 1.68, 1.16, 1.00, 0.78, 0.66, 0.53)
MARGINS = (2.66, 1.60, 1.15, 1.00, 0.80, 0.68, 0.55)
POWERS = (
    (0.08, 0.18, 0.32), (0.14, 0.40, 0.71), (0.23, 0.68, 0.95), (0.29, 0.80, 0.99), (0.44, 0.95, 1.0),
    (0.56, 0.99, 1.0), (0.75, 1.0, 1.0),
)  # fmt: skip


@pytest.mark.parametrize(("pilots", "factor"), [(5, 1.56), (10, 1.29), (20, 1.18)])
def test_the_upper_limit_multiplies_the_sd_by_the_published_factor(pilots, factor):
    assert sd_upper_limit(2.0, pilots - 1) == pytest.approx(2 * factor, abs=0.01)


def test_the_upper_limit_covers_the_true_sd_at_its_level():
    found = np.random.default_rng(0).normal(0, 3.0, (20_000, 8)).std(axis=1, ddof=1)
    covered = sum(sd_upper_limit(sd, 7, 0.8) >= 3.0 for sd in found.tolist())
    low, high = stats.binom.ppf([0.005, 0.995], 20_000, 0.8)
    assert low <= covered <= high


@pytest.mark.parametrize(("n", "effect", "margin"), list(zip(MODELS, EFFECTS, MARGINS, strict=True)))
def test_the_least_decidable_sizes_equal_the_published_table(n, effect, margin):
    assert least_decidable("superiority", "t", 1.0, n, alpha=0.025) == pytest.approx(effect, abs=0.006)
    assert least_decidable("noninferiority", "t", 1.0, n, alpha=0.025) == pytest.approx(effect, abs=0.006)
    assert least_decidable("equivalence", "t", 1.0, n, alpha=0.05) == pytest.approx(margin, abs=0.006)


@pytest.mark.parametrize(("n", "powers"), list(zip(MODELS, POWERS, strict=True)))
def test_the_power_equals_the_published_table(n, powers):
    # the table's test is two-sided: the other tail adds 0.003 at three models and d = 0.5
    found = [part_power("superiority", "t", d, 0.0, 1.0, n) for d in (0.5, 1.0, 1.5)]
    assert found == pytest.approx(powers, abs=0.009)


@pytest.mark.parametrize("effect", [1.0, 2.5])
@pytest.mark.parametrize("alpha", [0.025, 0.005])
def test_superiority_needs_as_many_models_as_in_statsmodels(effect, alpha):
    other = TTestPower().solve_power((effect - 0.2) / 2.0, alpha=alpha, power=0.8, alternative="larger")
    assert models_needed("superiority", "t", effect, 0.2, 2.0, alpha=alpha) == math.ceil(float(other))


def test_noninferiority_is_superiority_shifted_by_the_margin():
    assert part_power("noninferiority", "t", -0.5, 2.0, 1.5, 9) == part_power("superiority", "t", 1.5, 0.0, 1.5, 9)


@pytest.mark.parametrize(("effect", "n"), [(0.0, 8), (0.6, 12)])
def test_the_power_of_an_equivalence_is_that_of_a_simulation(effect, n):
    draws, margin = 20_000, 1.5
    data = np.random.default_rng(2).normal(effect, 1, (draws, n))
    lower = stats.ttest_1samp(data, -margin, axis=1, alternative="greater").pvalue
    upper = stats.ttest_1samp(data, margin, axis=1, alternative="less").pvalue
    low, high = stats.binom.ppf([0.005, 0.995], draws, part_power("equivalence", "t", effect, margin, 1.0, n))
    assert low <= np.sum(np.maximum(lower, upper) <= 0.025) <= high


@pytest.mark.parametrize(("n", "d"), [(6, 1.5), (10, 1.0), (16, 0.8)])
def test_the_power_of_sign_flip_is_that_of_the_test_itself(n, d):
    data = np.random.default_rng(3).normal(d, 1, (1000, n))
    found = np.mean([sign_flip(row, alternative="greater").p <= 0.025 for row in data])
    assert part_power("superiority", "sign-flip", d, 0.0, 1.0, n) == pytest.approx(found, abs=0.05)


def test_sign_flip_with_one_pattern_at_its_level_needs_every_model_to_agree():
    # six models, level 1/64: only the pattern without a flip is extreme enough
    assert part_power("superiority", "sign-flip", 1.0, 0.0, 1.0, 6) == pytest.approx(stats.norm.cdf(1.0) ** 6, abs=0.03)


@pytest.mark.parametrize(("n", "arms"), [(8, 3), (14, 4)])
def test_the_power_of_max_t_is_that_of_the_test_itself(n, arms):
    rng = np.random.default_rng(4)
    tables = (rng.standard_normal((500, n, 1)) + rng.standard_normal((500, n, arms))) / 2**0.5
    tables[:, :, 0] += 1.2
    found = np.mean([max_t(table, repetitions=2000).p <= 0.025 for table in tables])
    expected = part_power("superiority", "max-t", 1.2, 0.0, 1.0, n, arms=arms)
    assert expected == pytest.approx(found, abs=0.065)  # 3 standard errors, and 0.02 of the approximation


def test_max_t_of_one_arm_is_sign_flip_and_more_arms_cost_power():
    powers = [part_power("superiority", "max-t", 1.0, 0.0, 1.0, 10, arms=arms) for arms in (1, 3, 10)]
    assert powers[0] == part_power("superiority", "sign-flip", 1.0, 0.0, 1.0, 10)
    assert powers[0] > powers[1] > powers[2]


def test_max_t_decides_no_equivalence():
    with pytest.raises(ValueError, match="equivalence"):
        part_power("equivalence", "max-t", 0.0, 1.0, 1.0, 10, arms=2)


@pytest.mark.parametrize("kind", ["superiority", "equivalence"])
def test_sign_flip_needs_enough_patterns(kind):
    effect, margin = (50.0, 0.0) if kind == "superiority" else (0.0, 50.0)
    assert models_needed(kind, "sign-flip", effect, margin, 1.0) == math.ceil(math.log2(1 / 0.025))
    assert models_needed(kind, "sign-flip", effect, margin, 1.0, over="some", questions=10) == math.ceil(
        math.log2(10 / 0.025)
    )
    assert least_decidable(kind, "sign-flip", 1.0, 5) == math.inf


def test_the_bootstrap_costs_two_models():
    assert part_power("superiority", "t and bootstrap-t", 1.0, 0.0, 1.0, 12) == part_power(
        "superiority", "t", 1.0, 0.0, 1.0, 10
    )
    assert models_needed("superiority", "t and bootstrap-t", 1.0, 0.0, 1.0) == 12
    assert least_decidable("superiority", "t and bootstrap-t", 1.0, 3) == math.inf


def test_every_question_needs_a_larger_power_and_some_a_smaller_level():
    one = part_power("superiority", "t", 2.0, 0.0, 2.0, 12)
    assert part_power("superiority", "t", 2.0, 0.0, 2.0, 12, questions=3) == pytest.approx(1 - 3 * (1 - one))
    assert part_power("superiority", "t", 2.0, 0.0, 2.0, 12, over="some", questions=3) == part_power(
        "superiority", "t", 2.0, 0.0, 2.0, 12, alpha=0.025 / 3
    )
    assert part_power("superiority", "t", 2.0, 0.0, 2.0, 12, over="mean", questions=3) == one
    assert part_power("superiority", "t", 0.1, 0.0, 2.0, 12, questions=3) == 0.0


def test_every_gives_each_question_the_promised_power():
    n = models_needed("superiority", "t", 2.0, 0.0, 2.0, questions=5)
    per_question = TTestPower().solve_power(1.0, alpha=0.025, power=1 - 0.2 / 5, alternative="larger")
    assert n == math.ceil(float(per_question))


@given(
    st.sampled_from(["superiority", "noninferiority", "equivalence"]), st.sampled_from(["t", "t and bootstrap-t"]),
    st.sampled_from(["every", "some", "mean"]), st.integers(1, 8), st.floats(0.3, 3.0),
)  # fmt: skip
@settings(max_examples=12, deadline=None)
def test_models_needed_is_least_and_consistent_with_the_least_decidable_size(kind, test, over, questions, size):
    effect, margin = (size, 0.0) if kind == "superiority" else (0.0, size)
    n = models_needed(kind, test, effect, margin, 1.0, over=over, questions=questions)
    assert n is not None
    powers = [part_power(kind, test, effect, margin, 1.0, m, over=over, questions=questions) for m in (n - 1, n)]
    assert powers[0] < 0.8 <= powers[1]
    least = [least_decidable(kind, test, 1.0, m, over=over, questions=questions) for m in (n - 1, n)]
    assert least[1] <= size + 1e-3 < least[0] + 2e-3


def test_the_unit_does_not_matter():
    assert models_needed("equivalence", "t", 0.5, 2.0, 2.0) == models_needed("equivalence", "t", 0.005, 0.02, 0.02)
    assert least_decidable("equivalence", "sign-flip", 2.0, 9) == pytest.approx(
        2 * least_decidable("equivalence", "sign-flip", 1.0, 9)
    )


def test_an_effect_on_the_wrong_side_of_the_margin_is_never_decided():
    assert models_needed("superiority", "t", -1.0, 0.0, 1.0) is None
    assert models_needed("equivalence", "t", 2.0, 2.0, 1.0) is None
    assert models_needed("noninferiority", "t", -2.0, 2.0, 1.0) is None
    assert models_needed("superiority", "t", 1.0, 0.0, 1.0, most=9) is None
