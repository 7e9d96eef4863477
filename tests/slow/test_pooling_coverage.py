"""Simulated coverage across studies, as the docstrings of `analysis.stats.pooling` state it.

``python tests/slow/test_pooling_coverage.py`` prints the shares.
"""

import numpy as np
import pytest
from scipy import stats

from analysis.stats.pooling import equal_weight_mean, random_effects

SEED, TRIALS = 20261129, 4000
#: Models and standard deviation of each study.
MEANS = (
    ((5, 5), (1, 1)),
    ((10, 10), (1, 3)),
    ((5, 20), (3, 1)),
    ((10, 10, 20), (1, 2, 3)),
    ((5, 10, 20), (3, 1, 1)),
    ((10,) * 5, (1,) * 5),
    ((5,) * 5, (1, 2, 3, 1, 1)),
    ((20,) * 3, (1, 1, 4)),
)
#: Studies, models of each, and standard deviation of the true means; the studies' own are 1 and 2 in turn.
EFFECTS = tuple((k, n, tau) for k in (5, 8) for n in (5, 10, 20) for tau in (0.0, 0.3, 1.0, 3.0))


def of_means(sizes, spreads):
    """Shares of trials: the mean is covered, Welch's p under 0.05, the chi-square p under 0.05."""
    rng = np.random.default_rng([SEED, *sizes, *spreads])
    studies = [rng.normal(0, sd, (TRIALS, n)) for n, sd in zip(sizes, spreads, strict=True)]
    means = np.stack([study.mean(axis=1) for study in studies], axis=1)
    errors = np.stack([stats.sem(study, axis=1) for study in studies], axis=1)
    dfs = [n - 1 for n in sizes]
    found = [equal_weight_mean(own, error, dfs) for own, error in zip(means, errors, strict=True)]
    covered = np.array([pooled.low <= 0 <= pooled.high for pooled in found])
    welch = np.array([pooled.q_p < 0.05 for pooled in found])
    chi_square = stats.chi2.sf([pooled.q for pooled in found], len(sizes) - 1) < 0.05
    return covered.mean(), welch.mean(), chi_square.mean()


def of_effects(k, n, tau):
    """Shares of trials: the mean of the population is covered, the true mean of a further study is."""
    rng = np.random.default_rng([SEED, k, n, round(10 * tau)])
    hits, predicted = 0, 0
    for _ in range(TRIALS // 4):
        true = rng.normal(0, tau, k + 1)
        models = rng.normal(true[:k, None], np.resize([1, 2], k)[:, None], (k, n))
        found = random_effects(models.mean(axis=1), models.var(axis=1, ddof=1) / n)
        hits += found.low <= 0 <= found.high
        predicted += found.prediction_low <= true[k] <= found.prediction_high
    return hits / (TRIALS // 4), predicted / (TRIALS // 4)


def bounds(low, high, trials):
    return stats.binom.ppf(0.005, trials, low) / trials, stats.binom.ppf(0.995, trials, high) / trials


pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("sizes", "spreads"), MEANS)
def test_the_mean_of_these_studies_is_covered(sizes, spreads):
    covered, welch, chi_square = of_means(sizes, spreads)
    low, high = bounds(0.94, 0.97, TRIALS)
    assert low <= covered <= high
    low, high = bounds(0.045, 0.065, TRIALS)
    assert low <= welch <= high
    assert welch < chi_square


@pytest.mark.parametrize(("k", "n", "tau"), EFFECTS)
def test_the_mean_of_the_population_is_covered(k, n, tau):
    covered, predicted = of_effects(k, n, tau)
    low, _ = bounds(0.933, 1, TRIALS // 4)
    assert covered >= low
    low, _ = bounds(0.87, 1, TRIALS // 4)
    assert predicted >= low


if __name__ == "__main__":
    for case in MEANS:
        print(*case, of_means(*case), flush=True)
    for case in EFFECTS:
        print(*case, of_effects(*case), flush=True)
