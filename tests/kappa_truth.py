"""Escapes whose true complexity is known, and how often its 95 % set holds it."""

from __future__ import annotations

import numpy as np

from analysis.kappa.complexity_set import kappa_set

#: Fixed before the first run.
SEED = 20261129
MARGIN = 1.0
#: So little above the margin that no study can tell, and kappa is the larger one.
HAIR = 1e-9


def true_kappa(theta1: float, theta2: float, margin: float) -> int:
    """Kappa of known mean escapes."""
    if max(theta1, theta2) <= margin:
        return 0
    return 2 if theta2 > margin and theta2 - theta1 > margin else 1


def covered(theta1: float, theta2: float, models: int, correlation: float, trials: int, alpha: float = 0.05) -> int:
    """Number of studies whose set holds the true kappa; the escapes have an sd of one margin."""
    rng = np.random.default_rng([SEED, models, *f"{theta1}, {theta2}, {correlation}".encode()])
    common, own = rng.standard_normal((trials, models, 1)), rng.standard_normal((trials, models, 2))
    data = correlation**0.5 * common + (1 - correlation) ** 0.5 * own + np.array([theta1, theta2])
    truth = true_kappa(theta1, theta2, MARGIN)
    return sum(truth in kappa_set(table[:, 0], table[:, 1], MARGIN, alpha).values for table in data)
