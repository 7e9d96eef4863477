"""Power: the table of effects and margins that every study is planned with, and a simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import TTestPower

from analysis.stats.paired import sign_flip, wilcoxon
from analysis.stats.power import (
    attainable_p,
    least_effect,
    least_margin,
    paired_t_power,
    superiority_power,
    tost_power,
)

MODELS = (3, 5, 8, 10, 15, 20, 30)
EFFECTS = (3.26, 1.68, 1.16, 1.00, 0.78, 0.66, 0.53)
MARGINS = (2.66, 1.60, 1.15, 1.00, 0.80, 0.68, 0.55)
POWERS = (
    (0.08, 0.18, 0.32), (0.14, 0.40, 0.71), (0.23, 0.68, 0.95), (0.29, 0.80, 0.99), (0.44, 0.95, 1.0),
    (0.56, 0.99, 1.0), (0.75, 1.0, 1.0),
)  # fmt: skip
LEAST_P = (0.25, 0.0625, 0.0078, 0.0020, 6e-5, 2e-6, 2e-9)


@pytest.mark.parametrize(("models", "effect", "margin"), list(zip(MODELS, EFFECTS, MARGINS, strict=True)))
def test_equal_the_published_table(models, effect, margin):
    assert least_effect(models) == pytest.approx(effect, abs=0.006)
    assert least_margin(models) == pytest.approx(margin, abs=0.006)


def test_one_model_decides_nothing():
    assert least_effect(1) is None
    assert least_margin(1) is None


@pytest.mark.parametrize("models", [4, 10, 30])
@pytest.mark.parametrize("d", [0.2, 0.5, 1.0])
def test_paired_power_is_that_of_statsmodels(models, d):
    assert paired_t_power(d, models) == pytest.approx(float(TTestPower().power(d, models, 0.05)), abs=1e-5)


def test_two_models_have_a_finite_least_effect():
    assert 8 < least_effect(2) < 40
    assert least_margin(2) > least_margin(3)


def test_tost_power_is_that_of_a_simulation():
    n, margin, draws = 10, 1.0, 20_000
    samples = np.random.default_rng(0).normal(size=(draws, n))
    lower = stats.ttest_1samp(samples, -margin, axis=1, alternative="greater").pvalue
    upper = stats.ttest_1samp(samples, margin, axis=1, alternative="less").pvalue
    simulated = float(np.mean(np.maximum(lower, upper) < 0.05))
    exact = tost_power(margin, n, stats.t.ppf(0.95, n - 1))
    assert simulated == pytest.approx(exact, abs=3 * (0.8 * 0.2 / draws) ** 0.5)


@pytest.mark.parametrize(("models", "powers"), list(zip(MODELS, POWERS, strict=True)))
def test_power_equals_the_published_table(models, powers):
    assert [paired_t_power(d, models) for d in (0.5, 1.0, 1.5)] == pytest.approx(powers, abs=0.006)


@pytest.mark.parametrize(("models", "least"), list(zip(MODELS, LEAST_P, strict=True)))
def test_the_least_p_of_all_sign_patterns_equals_the_published_table(models, least):
    one_sided = attainable_p("wilcoxon", models) if models >= 6 else attainable_p("sign-flip", models)
    assert 2 * one_sided == pytest.approx(least, rel=0.1)


@pytest.mark.parametrize("n", [3, 10, 30])
@pytest.mark.parametrize("d", [-0.3, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_one_sided_power_is_that_of_statsmodels(n, d, alpha):
    other = float(TTestPower().power(d, n, alpha, alternative="larger"))
    assert superiority_power(d, n, alpha) == pytest.approx(other, abs=1e-5)


@given(st.floats(-50, 50), st.integers(2, 40), st.floats(1e-6, 0.4))
@settings(max_examples=40)
def test_one_sided_power_is_a_number_that_grows_with_the_effect(d, n, alpha):
    found = superiority_power(d, n, alpha)
    assert 0 <= found <= superiority_power(d + 0.5, n, alpha) <= 1


def test_two_models_far_out_have_a_power_where_scipys_noncentral_t_may_not():
    assert superiority_power(40.0, 2, 0.05) == pytest.approx(1, abs=1e-6)
    assert superiority_power(-40.0, 2, 0.05) == pytest.approx(0, abs=1e-6)


def test_one_model_has_no_power():
    assert superiority_power(5.0, 1) == 0


def test_tost_power_at_a_true_difference_is_that_of_a_simulation():
    n, margin, d, draws = 8, 1.5, 0.6, 20_000
    samples = np.random.default_rng(1).normal(d, 1, size=(draws, n))
    lower = stats.ttest_1samp(samples, -margin, axis=1, alternative="greater").pvalue
    upper = stats.ttest_1samp(samples, margin, axis=1, alternative="less").pvalue
    exact = tost_power(margin, n, stats.t.ppf(0.95, n - 1), d)
    assert float(np.mean(np.maximum(lower, upper) < 0.05)) == pytest.approx(exact, abs=2.6 * (0.25 / draws) ** 0.5)


def test_tost_power_has_no_sign_and_no_more_than_alpha_at_the_margin():
    critical = stats.t.ppf(0.95, 9)
    assert tost_power(1.0, 10, critical, 0.4) == pytest.approx(tost_power(1.0, 10, critical, -0.4))
    assert tost_power(1.0, 10, critical, 1.0) <= 0.05
    assert tost_power(0.1, 10, critical, 0.0) < 0.05


@pytest.mark.parametrize("n", [6, 9, 20, 21])
def test_the_clearest_data_reach_the_least_p(n):
    clear = np.linspace(1.0, 1.5, n)
    assert sign_flip(clear, alternative="greater").p == pytest.approx(attainable_p("sign-flip", n))
    assert wilcoxon(clear, "greater").p == pytest.approx(attainable_p("wilcoxon", n))


def test_max_t_is_limited_by_its_patterns():
    assert attainable_p("max-t", 5) == 1 / 32
    assert attainable_p("max-t", 30) == 1 / 20_001
    assert attainable_p("t", 2) == 0
    assert {attainable_p(test, 1) for test in ("t", "sign-flip", "wilcoxon", "max-t")} == {1.0}
