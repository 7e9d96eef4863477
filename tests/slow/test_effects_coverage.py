"""Simulated bias of three effect sizes, and coverage of their intervals and of those of a mean correlation.

The numbers of the docstrings of `analysis.stats.effects`; ``python tests/slow/test_effects_coverage.py`` prints them.
"""

import numpy as np
import pytest
from scipy import stats

from analysis.stats.effects import correlation_interval, dz_interval
from analysis.stats.intervals import t_interval
from analysis.stats.paired import hedges_dz

SEED, TRIALS = 20261129, 3000
#: Models and true standardised difference.
EFFECTS = ((3, 1.0), (5, 1.0), (5, 2.0), (10, 1.0), (20, 1.0))
#: Models, points of either curve, and noise of a curve that rises from 0 to 1; with less noise most rho are 1.
CORRELATIONS = tuple(
    (models, points, noise)
    for models in (5, 10, 20)
    for points, levels in ((6, (0.1, 0.2, 0.5, 2.0)), (11, (0.06, 0.1, 0.2, 0.5, 2.0)))
    for noise in levels
)


def of_effects(n, delta):
    """Bias and share above delta of d, Hedges' estimate and ours; coverage of our limits and of limits x Hedges."""
    samples = np.random.default_rng([SEED, n, round(delta)]).normal(delta, 1, (TRIALS, n))
    d = samples.mean(axis=1) / samples.std(axis=1, ddof=1)
    hedges = np.array([hedges_dz(sample) for sample in samples])
    estimate, low, high = np.array([dz_interval(sample) for sample in samples]).T
    factor = hedges / d
    covered = ((low <= delta) & (delta <= high)).mean()
    scaled = ((factor * low <= delta) & (delta <= factor * high)).mean()
    points = [(values.mean() - delta, (values > delta).mean()) for values in (d, hedges, estimate)]
    return points, covered, scaled


def spearman(rng, points, noise, shape):
    """Spearman's correlations of two noisy curves."""
    curves = np.linspace(0, 1, points) + rng.normal(0, noise, (2, *shape, points))
    ranks = stats.rankdata(curves, axis=-1)
    return 1 - 6 * ((ranks[0] - ranks[1]) ** 2).sum(axis=-1) / (points * (points**2 - 1))


def of_correlations(models, points, noise):
    """True mean correlation; coverage of our interval and of the t interval."""
    rng = np.random.default_rng([SEED, models, points, round(100 * noise)])
    truth = spearman(rng, points, noise, (200_000,)).mean()
    samples = spearman(rng, points, noise, (TRIALS, models))
    shares = [
        np.mean([own.low <= truth <= own.high for own in map(interval, samples)])
        for interval in (correlation_interval, t_interval)
    ]
    return truth, *shares


pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("n", "delta"), EFFECTS)
def test_only_our_point_and_limits_are_one_quantity(n, delta):
    (_, hedges, ours), covered, scaled = of_effects(n, delta)
    low, high = stats.binom.ppf([0.005, 0.995], TRIALS, 0.95) / TRIALS
    assert low <= covered <= high
    assert scaled <= covered
    low, high = stats.binom.ppf([0.005, 0.995], TRIALS, 0.5) / TRIALS
    assert low <= ours[1] <= high
    assert hedges[1] < low


@pytest.mark.parametrize(("models", "points", "noise"), CORRELATIONS)
def test_a_mean_correlation_is_covered(models, points, noise):
    _, covered, _ = of_correlations(models, points, noise)
    assert stats.binom.ppf(0.005, TRIALS, 0.944) / TRIALS <= covered <= stats.binom.ppf(0.995, TRIALS, 0.977) / TRIALS


if __name__ == "__main__":
    for case in EFFECTS:
        print(*case, of_effects(*case), flush=True)
    for case in CORRELATIONS:
        print(*case, of_correlations(*case), flush=True)
