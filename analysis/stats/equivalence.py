"""Equivalence by two one-sided tests: the only way in which "no difference" is ever said here."""

from __future__ import annotations

import math
from dataclasses import dataclass

from numpy.typing import ArrayLike

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
        degenerate data, which are decided by their value.
    p_outside : float
        Smaller one-sided p-value for the mean lying above the margin or below its negative.
    df : float
        Degrees of freedom.
    margin, alpha : float
        As asked for; `alpha` is one-sided.
    category : str
        See `analysis.stats.degenerate.classify`.
    """

    interval: Interval
    p_lower: float
    p_upper: float
    p: float
    p_outside: float
    df: float
    margin: float
    alpha: float
    category: Category


def tost(differences: ArrayLike, margin: float, alpha: float = 0.05) -> Equivalence:
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
    interval = t_interval(sample, 1 - 2 * alpha)
    if category != "regular":
        nan = math.nan
        return Equivalence(interval, nan, nan, nan, nan, nan, margin, alpha, category)
    above_low = paired_t(sample, -margin, "greater")
    below_high = paired_t(sample, margin, "less")
    outside = min(paired_t(sample, margin, "greater").p, paired_t(sample, -margin, "less").p)
    p = max(above_low.p, below_high.p)
    return Equivalence(interval, above_low.p, below_high.p, p, outside, above_low.df, margin, alpha, category)
