"""What a number of models can decide: least effect, least equivalence margin, power and least p-value.

Quantiles and tails are taken from `scipy.special`, which `scipy.stats` calls too: ``prunebench plan`` needs them, and
`scipy.stats` takes half a second longer to import.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import gammaincinv, ndtr, stdtrit

from analysis.stats.limits import EXACT_MODELS, WILCOXON_MODELS

ALPHA = 0.05
POWER = 0.8
QUANTILES = 20_000
#: Random sign patterns of the permutation tests where not all are enumerated.
REPETITIONS = 20_000

#: The tests that can decide a claim, and Wilcoxon's.
Test: TypeAlias = Literal["t", "sign-flip", "wilcoxon", "max-t"]

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
    critical = float(stdtrit(models - 1, 1 - alpha))
    return _root(lambda m: tost_power(m, models, critical) - power)


def paired_t_power(d: float, models: int, alpha: float = ALPHA) -> float:
    """Power of the two-sided paired t test at the true standardised difference `d`.

    Examples
    --------
    >>> round(paired_t_power(1.0, 10), 2)
    0.8
    """
    critical = float(stdtrit(models - 1, 1 - alpha / 2))
    shift = d * models**0.5
    return _over_estimated_sd(lambda s: ndtr(shift - critical * s) + ndtr(-critical * s - shift), models - 1)


def tost_power(margin: float, models: int, critical: float, d: float = 0.0) -> float:
    """Power of TOST at the true standardised difference `d`.

    Parameters
    ----------
    margin : float
        In sd of the differences.
    models : int
        Number of pairs.
    critical : float
        Quantile of t that each one-sided test must exceed.
    d : float
        True mean difference in sd of the differences; at the margin the power is at most alpha.

    Examples
    --------
    >>> critical = float(stdtrit(9, 0.95))
    >>> [round(tost_power(1.0, 10, critical, d), 2) for d in (0.0, 0.5, 1.0)]
    [0.8, 0.42, 0.05]
    """
    shift = d * models**0.5

    def given_sd(s: Values) -> Values:
        # both tests reject if |mean| sqrt(n) < margin sqrt(n) - critical s
        room = np.clip(margin * models**0.5 - critical * s, 0, None)
        return np.asarray(ndtr(room - shift) - ndtr(-room - shift))

    return _over_estimated_sd(given_sd, models - 1)


def superiority_power(d: float, n: int, alpha: float = ALPHA) -> float:
    """Power of the one-sided paired t test at the true standardised difference `d`; 0 for fewer than two models.

    Exact (the noncentral t distribution), and a number at every n and d, where SciPy's `nct` can be NaN. For
    superiority by a margin, or non-inferiority, `d` is the true difference less the margin, in sd.

    Parameters
    ----------
    d : float
        True mean difference / sd of the differences; negative where the second method is better.
    n : int
        Independently trained models.
    alpha : float
        One-sided error rate, corrected for the family.

    Examples
    --------
    >>> round(superiority_power(1.0, 10), 2), round(superiority_power(0.0, 10), 3)
    (0.9, 0.05)
    """
    if n < 2:
        return 0.0
    critical = float(stdtrit(n - 1, 1 - alpha))
    shift = d * n**0.5
    return _over_estimated_sd(lambda s: np.asarray(ndtr(shift - critical * s)), n - 1)


def attainable_p(test: Test, n: int) -> float:
    """Smallest one-sided p-value that a test can give with `n` models, whatever the data.

    Parameters
    ----------
    test : str
        ``t`` (no limit: 0); ``sign-flip``: 2^-n to 20 models and 1 / (B + 1) beyond, where B = 20,000 patterns
        are drawn; ``max-t``: 2^-n, but never under 1 / (B + 1); ``wilcoxon``: 2^-n, and 1 under six models,
        with which it is not run.
    n : int
        Independently trained models; under two, no test gives a p-value under 1.

    Examples
    --------
    >>> [attainable_p("sign-flip", n) for n in (1, 3, 5)], attainable_p("wilcoxon", 5), attainable_p("t", 3)
    ([1.0, 0.125, 0.03125], 1.0, 0.0)
    """
    if n < 2 or (test == "wilcoxon" and n < WILCOXON_MODELS):
        return 1.0
    if test == "t":
        return 0.0
    exact = math.ldexp(1.0, -n)
    if test == "max-t":
        return max(exact, 1 / (REPETITIONS + 1))
    return 1 / (REPETITIONS + 1) if test == "sign-flip" and n > EXACT_MODELS else exact


def _over_estimated_sd(given_sd: Callable[[Values], Values], df: int) -> float:
    """Average over the estimate s of the sd (true sd 1): sqrt(df) s has a chi distribution.

    A mean over equally likely quantiles: SciPy's noncentral t is NaN far out at few degrees of freedom,
    and the power of TOST has a kink that adaptive quadrature stumbles over.
    """
    return float(given_sd(_sd_estimates(df)).mean())


@functools.lru_cache(maxsize=64)
def _sd_estimates(df: int) -> Values:
    """Equally likely quantiles of the estimate of a sd of 1; a search for an effect asks for them again and again."""
    quantiles = (np.arange(QUANTILES) + 0.5) / QUANTILES
    estimates: Values = np.sqrt(2 * gammaincinv(0.5 * df, quantiles)) * df**-0.5
    estimates.flags.writeable = False
    return estimates


def _root(increasing: Callable[[float], float]) -> float:
    """Root of an increasing function."""
    upper = 0.1
    while increasing(upper) < 0:
        upper *= 1.5
    return float(brentq(increasing, 1e-3, upper))
