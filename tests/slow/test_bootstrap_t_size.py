"""Simulated size of the t test, the bootstrap-t, and both together, for skewed differences.

The numbers of the docstring of `analysis.stats.bootstrap_t.bootstrap_t`; ``python tests/slow/test_bootstrap_t_size.py``
prints them.
"""

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq

from analysis.stats.bootstrap_t import bootstrap_t

SEED = 20261129
TRIALS, DRAWS, ALPHA = 10_000, 999, 0.025
SIZES = (5, 10, 20)
SKEWNESS = 1.1
WORLDS = ("gamma", "lognormal")
#: Shares with 5, 10, 20 models, as `sizes` orders them.
STATED = {
    "gamma": (
        (0.010, 0.013, 0.006, 0.059, 0.043, 0.035),
        (0.009, 0.015, 0.007, 0.056, 0.037, 0.035),
        (0.011, 0.018, 0.010, 0.049, 0.033, 0.032),
    ),
    "lognormal": (
        (0.010, 0.014, 0.006, 0.059, 0.047, 0.035),
        (0.012, 0.018, 0.009, 0.051, 0.040, 0.036),
        (0.011, 0.019, 0.010, 0.047, 0.032, 0.031),
    ),
}


def skewed(world, n):
    """Differences with mean 0 and skewness 1.1, whose long tail lies on the right."""
    rng = np.random.default_rng([SEED, n, WORLDS.index(world)])
    if world == "gamma":
        shape = (2 / SKEWNESS) ** 2
        return rng.gamma(shape, size=(TRIALS, n)) - shape
    # the skewness is (w + 2) sqrt(w - 1) with w = exp(sigma^2)
    w = brentq(lambda w: (w + 2) * (w - 1) ** 0.5 - SKEWNESS, 1, 2)
    sigma = np.log(w) ** 0.5
    return rng.lognormal(0, sigma, (TRIALS, n)) - np.exp(sigma**2 / 2)


def sizes(world, n):
    """Shares of rejections of a true null hypothesis: t, bootstrap-t, both; towards the long, then the short tail."""
    data = skewed(world, n)
    found = [bootstrap_t(row, draws=DRAWS, seed=seed) for seed, row in enumerate(data)]
    shares = []
    for side in ("greater", "less"):
        t = stats.ttest_1samp(data, 0, axis=1, alternative=side).pvalue <= ALPHA
        own = np.array([getattr(result, f"p_{side}") <= ALPHA for result in found])
        shares += [t.mean(), own.mean(), (t & own).mean()]
    return shares


pytestmark = pytest.mark.slow


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("world", WORLDS)
def test_the_shares_are_those_stated(world, n):
    shares = sizes(world, n)
    assert shares == pytest.approx(STATED[world][SIZES.index(n)], abs=0.001)
    t_long, own_long, both_long, t_short, own_short, both_short = shares
    assert max(t_long, own_long, both_long) < ALPHA < both_short <= own_short < t_short


if __name__ == "__main__":
    for world in WORLDS:
        for n in SIZES:
            print(world, n, [f"{share:.4f}" for share in sizes(world, n)], flush=True)
