"""Estimates with intervals: the standardised difference, and the mean of rank correlations."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

from analysis.stats.degenerate import RESOLUTION, as_sample, classify
from analysis.stats.intervals import Interval, t_interval

#: A t statistic at which the normal part of the noncentral t distribution no longer shows in 8 digits.
FAR = 1e4


class Effect(NamedTuple):
    """The size of an effect with its interval; NaN where the data allow none.

    Attributes
    ----------
    estimate, low, high : float
        Estimate and bounds.
    """

    estimate: float
    low: float
    high: float


def dz_interval(differences: ArrayLike, level: float = 0.95) -> Effect:
    """Return the standardised mean difference d_z of paired data, median-unbiased, with its exact interval.

    Parameters
    ----------
    differences : array_like, shape (n,)
        One difference per model; normal.
    level : float
        Confidence level.

    Returns
    -------
    Effect
        NaN where the differences have no variance or n < 3.

    Notes
    -----
    The t statistic has a noncentral t distribution with noncentrality ``sqrt(n) delta``, delta the true mean divided by
    the true standard deviation. The limits are the delta at which the observed t is its upper or lower ``(1 - level) /
    2`` quantile; the estimate is the delta at which it is the median. So the estimate is the limit of the interval for
    a level that vanishes, and lies inside at every level. Hedges' estimate (`analysis.stats.paired.hedges_dz`) need
    not, and has no interval of its own: limits multiplied by his correction do not cover.

    Simulated with 3,000 normal samples (tests/slow/test_effects_coverage.py): bias, share of estimates above delta, and
    coverage of a nominal 95 %:

    ======  =====  ===========  ============  ===========  =====  ==============
    models  delta  d            Hedges        this         cover  limits, Hedges
    ======  =====  ===========  ============  ===========  =====  ==============
    3       1      0.73, 0.57   -0.02, 0.29   0.47, 0.49   0.949  0.760
    5       1      0.27, 0.55   0.01, 0.39    0.17, 0.50   0.949  0.910
    5       2      0.52, 0.58   0.01, 0.38    0.32, 0.51   0.951  0.878
    10      1      0.09, 0.53   0.00, 0.44    0.05, 0.50   0.947  0.932
    20      1      0.04, 0.52   0.00, 0.46    0.02, 0.50   0.944  0.939
    ======  =====  ===========  ============  ===========  =====  ==============

    The price is a larger bias, in mean, than that of Hedges' estimate.

    References
    ----------
    Steiger and Fouladi (1997), in What If There Were No Significance Tests?, chapter 9.

    Examples
    --------
    >>> [round(x, 3) for x in dz_interval([1.0, 2.0, 3.0, 4.0])]
    [1.739, 0.146, 3.672]
    """
    sample = as_sample(differences)
    if classify(sample) != "regular" or sample.size < 3:
        return Effect(math.nan, math.nan, math.nan)
    n = sample.size
    t = float(sample.mean() / sample.std(ddof=1) * n**0.5)
    tail = (1 - level) / 2
    estimate, low, high = (noncentrality(t, n - 1, p) / n**0.5 for p in (0.5, tail, 1 - tail))
    return Effect(estimate, low, high)


def noncentrality(t: float, df: int, p: float) -> float:
    """Return the noncentrality at which the probability of a larger t is `p`.

    Parameters
    ----------
    t : float
        Observed t statistic.
    df : int
        Degrees of freedom.
    p : float
        Probability, between 0 and 1.

    Notes
    -----
    T > t is ``noncentrality > t S - Z`` with Z standard normal and S = chi / sqrt(df), so the answer is the p
    quantile of ``t S - Z``. It lies between the sums of quantiles of both parts: SciPy's noncentral t is NaN
    elsewhere, and beyond `FAR`, where Z is negligible next to t S.

    Examples
    --------
    >>> round(noncentrality(2.83, 126, 0.025), 4), round(noncentrality(2.83, 126, 0.975), 4)
    (0.8338, 4.8154)
    """
    if t < 0:
        return -noncentrality(-t, df, 1 - p)
    if t > FAR:
        return t * float(stats.chi.ppf(p, df, scale=df**-0.5))
    below, above = p / 2, (1 + p) / 2
    bracket = [float(stats.norm.ppf(q) + t * stats.chi.ppf(q, df, scale=df**-0.5)) for q in (below, above)]
    return float(optimize.brentq(lambda shift: float(stats.nct.sf(t, df, shift)) - p, *bracket))


def correlation_interval(rho: ArrayLike, level: float = 0.95) -> Interval:
    """Return the mean of correlations with an interval inside [-1, 1].

    Parameters
    ----------
    rho : array_like, shape (n,)
        One correlation per model; single values may be -1 or 1.
    level : float
        Two-sided confidence level.

    Returns
    -------
    Interval
        Mean, standard deviation and limits. The limits of constant correlations equal the mean.

    Raises
    ------
    ValueError
        If a correlation lies outside [-1, 1].

    Notes
    -----
    The t interval is applied to Fisher's ``z = atanh(mean)``, with the standard error ``se / (1 - mean^2)`` of the
    delta method, and transformed back. The mean is transformed, not each correlation: those of 1 would be infinite,
    and the mean of z is not that of rho.

    Simulated coverage of a nominal 95 % for Spearman's correlations of 6 and 11 points, 5 to 20 models and true means
    from 0.02 to 0.98: 0.937 to 0.978 (tests/slow/test_effects_coverage.py). A t interval cut off at 1 covers 0.890 to
    0.954. Beyond, many models have a correlation of exactly 1, and no interval covers: where all have, the limits are 1
    and the category is ``constant``.

    References
    ----------
    Fisher (1921), Metron 1, 3.

    Examples
    --------
    >>> found = correlation_interval([1.0, 0.9, 1.0, 0.8, 0.95])
    >>> round(found.mean, 2), round(found.low, 2), round(found.high, 2)
    (0.93, 0.71, 0.98)
    >>> correlation_interval([1.0, 1.0, 1.0]).category
    'constant'
    """
    sample = as_sample(rho)
    if (np.abs(sample) > 1 + RESOLUTION).any():
        raise ValueError("a correlation lies between -1 and 1")
    plain = t_interval(sample, level)
    if plain.category != "regular":
        return plain
    z = math.atanh(plain.mean)
    half = (plain.high - plain.mean) / (1 - plain.mean**2)
    return dataclasses.replace(plain, low=math.tanh(z - half), high=math.tanh(z + half))


def correlation_test(rho: ArrayLike, null: float = 0.0) -> tuple[float, float]:
    """Return the one-sided p-values for a mean correlation above and below `null`.

    The t test on Fisher's scale that belongs to `correlation_interval`: the interval at level 1 - 2 alpha excludes
    `null` exactly where a p-value is under alpha. Both are NaN for degenerate data.

    Examples
    --------
    >>> [round(p, 4) for p in correlation_test([1.0, 0.9, 1.0, 0.8, 0.95])]
    [0.002, 0.998]
    """
    sample = as_sample(rho)
    plain = t_interval(sample)
    if plain.category != "regular":
        return math.nan, math.nan
    se = plain.sd / plain.n**0.5 / (1 - plain.mean**2)
    t = (math.atanh(plain.mean) - math.atanh(null)) / se
    return float(stats.t.sf(t, plain.n - 1)), float(stats.t.cdf(t, plain.n - 1))
