"""Equivalence by two one-sided tests, the only test here that supports "no difference"."""

from __future__ import annotations

import math
from dataclasses import dataclass

from numpy.typing import ArrayLike
from scipy import stats

from analysis.stats.degenerate import Category, as_sample, classify
from analysis.stats.intervals import Interval, t_interval
from analysis.stats.paired import paired_t


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided t tests of ``-margin < mean < margin``.

    Attributes
    ----------
    interval : Interval
        The 1 - 2 alpha interval; inside (-margin, margin) exactly where ``p < alpha``.
    p_lower, p_upper, p : float
        One-sided p-values against mean <= -margin and mean >= margin, and the larger of both. NaN for
        degenerate data.
    p_contradiction : float
        P-value against -margin <= mean <= margin; see `equivalence_p`.
    p_outside : float
        Smaller one-sided p-value for the mean lying above the margin or below its negative; under alpha exactly
        where the interval lies outside (-margin, margin).
    df : float
        Degrees of freedom.
    margin, alpha : float
        As given; `alpha` is one-sided.
    category : str
        See `analysis.stats.degenerate.classify`.
    """

    interval: Interval
    p_lower: float
    p_upper: float
    p: float
    p_contradiction: float
    p_outside: float
    df: float
    margin: float
    alpha: float
    category: Category


def tost(differences: ArrayLike, margin: float, alpha: float = 0.025, least_sd: float = 0.0) -> Equivalence:
    """Test equivalence of the mean paired difference to zero.

    Source: Schuirmann (1987), J. Pharmacokin. Biopharm. 15, 657.

    Parameters
    ----------
    differences : array_like, shape (n,)
        One difference per model.
    margin : float
        Largest difference that counts as none, same unit; fixed before the data.
    alpha : float
        One-sided level of each test.
    least_sd : float
        Lower bound of the standard deviation, same unit; see `analysis.stats.degenerate.sd_floor`. With it, constant
        differences have p-values, too; the category remains ``constant``. Differences that are all zero have none.

    Raises
    ------
    ValueError
        If the margin is not positive or alpha not inside (0, 0.5).

    Examples
    --------
    >>> e = tost([0.001, -0.002, 0.0, 0.001, 0.002], margin=0.01)
    >>> e.p < 0.05, -0.01 < e.interval.low < e.interval.high < 0.01
    (True, True)
    >>> tost([0.0, 0.0, 0.0], margin=0.01).category
    'identical'
    """
    if not margin > 0:
        raise ValueError(f"an equivalence margin must be positive, got {margin}")
    if not 0 < alpha < 0.5:
        raise ValueError(f"a one-sided alpha lies between 0 and 0.5, got {alpha}")
    sample = as_sample(differences)
    category = classify(sample)
    interval = t_interval(sample, 1 - 2 * alpha, least_sd)
    above_low = paired_t(sample, -margin, "greater", least_sd)
    below_high = paired_t(sample, margin, "less", least_sd)
    if math.isnan(above_low.p):
        nan = math.nan
        return Equivalence(interval, nan, nan, nan, nan, nan, nan, margin, alpha, category)
    outside = min(paired_t(sample, margin, "greater", least_sd).p, paired_t(sample, -margin, "less", least_sd).p)
    p = max(above_low.p, below_high.p)
    _, contradiction = equivalence_p(interval.mean, interval.sd / interval.n**0.5, above_low.df, margin)
    return Equivalence(
        interval, above_low.p, below_high.p, p, contradiction, outside, above_low.df, margin, alpha, category
    )


def equivalence_p(mean: float, se: float, df: float, margin: float) -> tuple[float, float]:
    """Return the p-values that support and that contradict ``-margin < mean < margin``.

    Parameters
    ----------
    mean, se : float
        Estimate and its standard error.
    df : float
        Degrees of freedom of the standard error.
    margin : float
        Largest difference that counts as none, same unit.

    Returns
    -------
    p_support, p_contradiction : float
        Both NaN where the standard error is zero or NaN.

    Raises
    ------
    ValueError
        If the margin is not positive.

    Notes
    -----
    With T Student's t, ``p_support = P(T > (margin - |mean|) / se)``, the larger of two one-sided tests, and
    ``p_contradiction = P(T > (|mean| - margin) / se) + P(T > (|mean| + margin) / se)``, the probability of an estimate
    as far from zero, on either side, if the true mean is at the margin. The second term matters where the margin is
    narrow next to the standard error: without it the size approaches twice the level.

    Examples
    --------
    >>> [round(p, 4) for p in equivalence_p(0.5, 0.4, 9, margin=2.0)]
    [0.0023, 0.9978]
    >>> [round(p, 4) for p in equivalence_p(3.0, 0.4, 9, margin=2.0)]
    [0.9831, 0.0169]
    """
    if not margin > 0:
        raise ValueError(f"an equivalence margin must be positive, got {margin}")
    if not se > 0:
        return math.nan, math.nan
    near, far = (abs(mean) - margin) / se, (abs(mean) + margin) / se
    return float(stats.t.cdf(near, df)), float(stats.t.sf(near, df) + stats.t.sf(far, df))
