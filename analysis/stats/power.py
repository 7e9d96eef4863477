"""What a number of models can decide: least detectable effect and least equivalence margin."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

ALPHA = 0.05
POWER = 0.8
QUANTILES = 20_000

Values = NDArray[np.float64]


def least_effect(models: int, alpha: float = ALPHA, power: float = POWER) -> float | None:
    """Smallest d (mean paired difference / sd of the differences) that a two-sided paired t test detects.

    Parameters
    ----------
    models : int
        Independently trained models.
    alpha, power : float
        Error rate and power.

    Returns
    -------
    float or None
        None for fewer than two models, which no test can compare.

    Examples
    --------
    >>> round(least_effect(10), 2), least_effect(1)
    (1.0, None)
    """
    if models < 2:
        return None

    return _root(lambda d: paired_t_power(d, models, alpha) - power)


def least_margin(models: int, alpha: float = ALPHA, power: float = POWER) -> float | None:
    """Smallest equivalence margin, in sd of the differences, that TOST confirms where the truth is 0.

    The power of two one-sided tests at true difference 0 is that of |T| < m sqrt(n) - t, with t the
    1 - alpha quantile, averaged over the chi distribution of the sd estimate.

    Examples
    --------
    >>> round(least_margin(10), 2)
    1.0
    """
    if models < 2:
        return None
    critical = float(stats.t.ppf(1 - alpha, models - 1))
    return _root(lambda m: tost_power(m, models, critical) - power)


def paired_t_power(d: float, models: int, alpha: float = ALPHA) -> float:
    """Power of the two-sided paired t test at the true standardised difference `d`.

    Examples
    --------
    >>> round(paired_t_power(1.0, 10), 2)
    0.8
    """
    critical = float(stats.t.ppf(1 - alpha / 2, models - 1))
    shift = d * models**0.5
    return _over_estimated_sd(
        lambda s: stats.norm.sf(critical * s - shift) + stats.norm.cdf(-critical * s - shift), models - 1
    )


def tost_power(margin: float, models: int, critical: float) -> float:
    """Power of TOST at true difference 0.

    Parameters
    ----------
    margin : float
        In sd of the differences.
    models : int
        Number of pairs.
    critical : float
        Quantile of t that each one-sided test must exceed.
    """

    def given_sd(s: Values) -> Values:
        # both tests reject if |mean| sqrt(n) < margin sqrt(n) - critical s
        room = margin * models**0.5 - critical * s
        return np.asarray(np.clip(2 * stats.norm.cdf(room) - 1, 0, None))

    return _over_estimated_sd(given_sd, models - 1)


def _over_estimated_sd(given_sd: Callable[[Values], Values], df: int) -> float:
    """Average over the estimate s of the sd (true sd 1): sqrt(df) s has a chi distribution.

    A mean over equally likely quantiles: SciPy's noncentral t is NaN far out at few degrees of freedom,
    and the power of TOST has a kink that adaptive quadrature stumbles over.
    """
    quantiles = (np.arange(QUANTILES) + 0.5) / QUANTILES
    return float(given_sd(stats.chi.ppf(quantiles, df, scale=df**-0.5)).mean())


def _root(increasing: Callable[[float], float]) -> float:
    """Root of an increasing function."""
    upper = 0.1
    while increasing(upper) < 0:
        upper *= 1.5
    return float(optimize.brentq(increasing, 1e-3, upper))
