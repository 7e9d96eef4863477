"""Power: the table of effects and margins that every study is planned with, and a simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from analysis.stats.power import least_effect, least_margin, paired_t_power, tost_power

MODELS = (3, 5, 8, 10, 15, 20, 30)
EFFECTS = (3.26, 1.68, 1.16, 1.00, 0.78, 0.66, 0.53)
MARGINS = (2.66, 1.60, 1.15, 1.00, 0.80, 0.68, 0.55)


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
