"""Simulated coverage of the crossed bootstrap, as its docstring states it."""

import numpy as np
import pytest
from scipy import special, stats

from analysis.stats.images import crossed_intervals

TRIALS = 1000
#: sd of the masks' difference over models and over images (logits) -> coverage stated for 3, 5, 10, 20 models.
STATED = {
    (0.0, 0.0): (0.99, 0.99, 0.99, 0.99),
    (0.2, 0.3): (0.92, 0.95, 0.97, 0.97),
    (0.6, 0.3): (0.79, 0.86, 0.92, 0.94),
}


def world(models, images, over_models, over_images, rng):
    """Correctness under two masks: images differ in difficulty, models in skill; most noise is common to both."""
    second = rng.normal(1, 1.5, images) + rng.normal(0, 0.2, (models, 1))
    gain = 0.3 + rng.normal(0, over_models, (models, 1)) + rng.normal(0, over_images, images)
    noise = rng.random((models, images))
    other = np.where(rng.random((models, images)) < 0.7, noise, rng.random((models, images)))
    return noise < special.expit(second + gain), other < special.expit(second)


@pytest.mark.slow
@pytest.mark.parametrize("spread", STATED)
def test_coverage_is_as_stated(spread):
    rng = np.random.default_rng(20260610)
    truth = np.mean(
        [first.mean() - second.mean() for first, second in (world(1000, 1000, *spread, rng) for _ in range(30))]
    )
    found = []
    for models in (3, 5, 10, 20):
        hits = 0
        for trial in range(TRIALS):
            first, second = world(models, 400, *spread, np.random.default_rng([20260611, models, trial]))
            (interval,) = crossed_intervals([first], [second], resamples=500, seed=trial)
            hits += interval.low <= truth <= interval.high
        found.append(hits)
    for hits, stated in zip(found, STATED[spread], strict=True):
        low, high = stats.binom.ppf([0.005, 0.995], TRIALS, stated)
        assert low <= hits
        assert hits <= high or stated == 0.99  # "or more"
