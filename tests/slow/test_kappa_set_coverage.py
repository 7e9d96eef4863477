"""The 95 % set of kappa holds the true complexity in at least 95 % of studies, on every border between two values."""

from __future__ import annotations

import itertools

import pytest
from scipy import stats

from tests.kappa_truth import HAIR, covered

TRIALS = 2000
#: Mean escapes in margins: inside each region, and on both sides of each border and corner.
TRUTHS = [
    (0, 0), (-2, -2), (3, 0), (3, 3), (0, 3), (3, 6),
    (1, 0), (1 + HAIR, 0), (1, -3), (1 + HAIR, -3), (1, 1), (1 + HAIR, 1), (1, 1 + HAIR), (1 + HAIR, 1 + HAIR),
    (0, 1), (0, 1 + HAIR), (-3, 1), (-3, 1 + HAIR), (1, 2), (1 + HAIR, 2), (1, 2 + 2 * HAIR), (2, 3), (2, 3 + HAIR),
]  # fmt: skip

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("models", "correlation"), list(itertools.product((3, 5, 10, 20), (0.0, 0.5, 0.9))))
@pytest.mark.parametrize(("theta1", "theta2"), TRUTHS)
def test_the_true_kappa_is_in_the_set(theta1, theta2, models, correlation):
    found = covered(theta1, theta2, models, correlation, TRIALS)
    assert found >= stats.binom.ppf(0.005, TRIALS, 0.95)


def test_a_set_of_less_confidence_would_not_pass():
    assert covered(1.0, -3.0, 10, 0.0, TRIALS, alpha=0.2) < stats.binom.ppf(0.005, TRIALS, 0.95)
