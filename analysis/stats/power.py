"""What a number of models can decide: least detectable effect and least equivalence margin."""

from __future__ import annotations

from collections.abc import Callable

from scipy import optimize, stats
from statsmodels.stats.power import TTestPower

ALPHA = 0.05
POWER = 0.8


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

    def missing_power(d: float) -> float:
        return float(TTestPower().power(d, models, alpha, alternative="two-sided")) - power

    return _root(missing_power)


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


def _root(increasing: Callable[[float], float]) -> float:
    """Root of an increasing function; the bracket grows slowly, since noncentral t fails far out."""
    upper = 0.1
    while increasing(upper) < 0:
        upper *= 1.5
    return float(optimize.brentq(increasing, 1e-3, upper))


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
    df = models - 1
    root = models**0.5

    def given_sd(s: float) -> float:
        # with estimated sd s (true sd 1), both tests reject if |mean| < margin - critical s / sqrt(n)
        room = margin * root - critical * s
        return float(2 * stats.norm.cdf(room) - 1) if room > 0 else 0.0

    scaled = stats.chi(df, scale=df**-0.5)
    return float(scaled.expect(given_sd, lb=0.0, ub=min(margin * root / critical, float(scaled.ppf(1 - 1e-12)))))
