"""How often intervals over layers cover, as the docstrings of `analysis.alignment` say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, spearmanr

from analysis.alignment import block_interval

RUNS = 1000


def near(covered: int, runs: int, claimed: float) -> bool:
    """Whether a count is within 99 % binomial bounds of a claimed share, known to 0.02."""
    low, high = binom.ppf(0.005, runs, claimed - 0.02), binom.ppf(0.995, runs, claimed + 0.02)
    return bool(low <= covered <= high)


@pytest.mark.slow
@pytest.mark.parametrize(("models", "common", "own"), [(10, 0.90, 0.49), (30, 0.89, 0.29)])
def test_layers_drawn_in_common_cover_and_drawn_for_each_model_do_not(models, common, own):
    rng = np.random.default_rng(1)
    covered = {"common": 0, "own": 0}
    for _ in range(RUNS):
        table = rng.normal(0, 0.2, 8) + rng.normal(0, 0.1, (models, 8))
        times = rng.multinomial(8, np.full(8, 1 / 8), (400, models)) / 8
        bounds = {
            "common": block_interval(table, resamples=400),
            "own": np.quantile((times * table).sum(axis=2).mean(axis=1), [0.025, 0.975]),
        }
        for name, (low, high) in bounds.items():
            covered[name] += low <= 0 <= high
    assert near(covered["common"], RUNS, common)
    assert near(covered["own"], RUNS, own)


@pytest.mark.slow
@pytest.mark.parametrize(("layers", "claimed"), [(4, 0.31), (20, 0.82)])
def test_pooled_correlations_over_drawn_layers_do_not_cover(layers, claimed):
    """Magnitude itself in layers of lognormal scale: drawn layers are more alike than new ones."""
    rng = np.random.default_rng(0)
    u = np.linspace(0.1, 1, 64)

    def pooled(scores):
        return spearmanr(scores.ravel(), np.tile(u, len(scores))).statistic

    truth = pooled(np.exp(rng.normal(0, 1, (4000, 1))) * u)
    covered = 0
    for _ in range(300):
        scores = np.exp(rng.normal(0, 1, (layers, 1))) * u
        replicates = [pooled(scores[rng.integers(layers, size=layers)]) for _ in range(200)]
        low, high = np.quantile(replicates, [0.025, 0.975])
        covered += low <= truth <= high
    assert near(covered, 300, claimed)
