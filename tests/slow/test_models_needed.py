"""Simulated power of parts equals, or is not under, what `analysis.stats.models_needed` computes for them."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from scipy import stats

from analysis.stats.families import part_p_values
from analysis.stats.max_t import max_t
from analysis.stats.models_needed import least_decidable, models_needed, part_power
from analysis.stats.paired import sign_flip
from analysis.stats.power import superiority_power

#: Fixed before the first run.
SEED, ALPHA = 20261129, 0.025
TRIALS = 20_000
#: Trials and tolerance of the permutation tests, which are slow: 3 standard errors and 0.02 of approximation.
FLIPPED, TOLERANCE = 4000, 0.04

pytestmark = pytest.mark.slow


def differences(n, questions, correlation, *key, trials=TRIALS):
    """Normal differences of sd 1, shape (trials, questions, n)."""
    rng = np.random.default_rng([SEED, n, questions, *map(ord, repr((correlation, key)))])
    common, own = rng.standard_normal((trials, 1, n)), rng.standard_normal((trials, questions, n))
    return correlation**0.5 * common + (1 - correlation) ** 0.5 * own


def p_values(kind, data, margin):
    """One-sided support p-values of t along the last axis."""
    if kind == "equivalence":
        above = stats.ttest_1samp(data, -margin, axis=-1, alternative="greater").pvalue
        return np.maximum(above, stats.ttest_1samp(data, margin, axis=-1, alternative="less").pvalue)
    null = margin if kind == "superiority" else -margin
    return stats.ttest_1samp(data, null, axis=-1, alternative="greater").pvalue


@functools.cache
def supported(kind, over, effect, margin, n, questions, correlation):
    """Number of trials in which the part is supported; of `some`, one setting alone has the effect."""
    means = np.full((questions, 1), effect)
    if over == "some":
        means[1:] = 0.0 if kind == "superiority" else 10.0 * margin
    p = p_values(kind, differences(n, questions, correlation, kind, over) + means, margin)
    return sum(part_p_values(over, row, 1 - row).support <= ALPHA for row in p)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("questions", [1, 4, 10])
@pytest.mark.parametrize(
    ("kind", "effect", "margin"),
    [("superiority", 1.0, 0.0), ("superiority", 1.4, 0.5), ("noninferiority", 0.0, 1.2), ("equivalence", 0.0, 1.2)],
)
def test_every_setting_is_supported_with_at_least_the_promised_power(kind, effect, margin, questions, correlation):
    n = models_needed(kind, "t", effect, margin, 1.0, questions=questions)
    promised = part_power(kind, "t", effect, margin, 1.0, n, questions=questions)
    assert promised >= 0.8
    found = supported(kind, "every", effect, margin, n, questions, correlation)
    assert found >= stats.binom.ppf(0.005, TRIALS, promised)
    if questions == 1:
        assert found <= stats.binom.ppf(0.995, TRIALS, promised)


@pytest.mark.parametrize("questions", [4, 10])
@pytest.mark.parametrize(
    ("kind", "effect", "margin"), [("superiority", 1.0, 0.0), ("equivalence", 0.0, 1.2), ("equivalence", 0.3, 1.5)]
)
def test_one_setting_with_the_effect_is_found_with_the_promised_power(kind, effect, margin, questions):
    n = models_needed(kind, "t", effect, margin, 1.0, over="some", questions=questions)
    promised = part_power(kind, "t", effect, margin, 1.0, n, over="some", questions=questions)
    found = supported(kind, "some", effect, margin, n, questions, 0.0)
    # the settings without an effect of superiority are supported in at most 0.025 of the trials
    low, high = stats.binom.ppf([0.005, 0.995], TRIALS, promised)
    assert low <= found <= high + ALPHA * TRIALS


@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("n", [6, 7, 8, 10, 12, 13, 16, 20])
def test_the_power_of_sign_flip(n, power):
    d = least_decidable("superiority", "sign-flip", 1.0, n, power=power)
    data = differences(n, 1, 0.0, "flip", power, trials=FLIPPED)[:, 0] + d
    found = np.mean([sign_flip(row, alternative="greater").p <= ALPHA for row in data])
    assert found == pytest.approx(power, abs=TOLERANCE)


@pytest.mark.parametrize("power", [0.5, 0.8])
@pytest.mark.parametrize("arms", [2, 4, 8])
@pytest.mark.parametrize("n", [6, 8, 10, 12, 13, 16, 25])
def test_the_power_of_max_t(n, arms, power):
    d = least_decidable("superiority", "max-t", 1.0, n, power=power, arms=arms)
    data = differences(n, arms, 0.5, "max", power, trials=1000)
    data[:, 0] += d
    found = np.mean([max_t(table.T, repetitions=2000).p <= ALPHA for table in data])
    assert found == pytest.approx(power, abs=0.06)


@pytest.mark.parametrize("margin", [0.9, 1.5])
@pytest.mark.parametrize("n", [8, 12, 16])
def test_the_power_of_an_equivalence_by_sign_flip(n, margin):
    data = differences(n, 1, 0.0, "both", margin, trials=FLIPPED)[:, 0]
    found = np.mean([
        sign_flip(row, -margin, "greater").p <= ALPHA and sign_flip(row, margin, "less").p <= ALPHA for row in data
    ])  # fmt: skip
    expected = part_power("equivalence", "sign-flip", 0.0, margin, 1.0, n)
    assert found == pytest.approx(expected, abs=TOLERANCE)


def joint_decisions(n, d, alpha, trials=4000, draws=1999):
    """Share of samples in which t, and both t and bootstrap-t, find the mean above 0."""
    data = differences(n, 1, 0.0, "bootstrap", d, trials=trials)[:, 0] + d
    counts = np.random.default_rng([SEED, n]).multinomial(n, [1 / n] * n, draws).astype(float)
    centred = data - data.mean(axis=1, keepdims=True)
    shift = centred @ counts.T / n
    variance = np.maximum((centred**2) @ counts.T / n - shift**2, 1e-14) / (n - 1)
    t = data.mean(axis=1) / data.std(axis=1, ddof=1) * n**0.5
    reached = (shift / variance**0.5 >= t[:, None]).sum(axis=1)
    by_t = stats.t.sf(t, n - 1) <= alpha
    return by_t.mean(), np.mean(by_t & ((reached + 1) / (draws + 1) <= alpha))


@pytest.mark.parametrize("alpha", [0.025, 0.005])
@pytest.mark.parametrize("n", [5, 6, 8, 10, 12, 15, 20, 30])
def test_both_t_and_bootstrap_t_have_the_power_of_t_with_up_to_two_models_fewer(n, alpha):
    d = least_decidable("superiority", "t", 1.0, n, alpha=alpha)
    alone, both = joint_decisions(n, d, alpha)
    assert alone == pytest.approx(0.8, abs=0.02)
    promised = part_power("superiority", "t and bootstrap-t", d, 0.0, 1.0, n, alpha=alpha)
    assert both >= promised - 0.02
    assert both <= superiority_power(d, n - 1, alpha) + 0.02  # and the loss is real: at least one model
