"""The ratio of two paired means, with Fieller's interval."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from analysis.stats.degenerate import as_sample, classify


class Ratio(NamedTuple):
    """A ratio of means with its confidence limits.

    Attributes
    ----------
    estimate : float
        NaN where the data allow no ratio.
    low, high : float
        Infinite where the mean of the denominator does not differ from 0 at this level: then no limit is known.
    """

    estimate: float
    low: float
    high: float


def fieller(numerator: ArrayLike, denominator: ArrayLike, level: float = 0.95) -> Ratio:
    """Return the ratio of two paired means with Fieller's confidence interval.

    Parameters
    ----------
    numerator, denominator : array_like, shape (n,)
        One pair per independently trained model, in the same unit.
    level : float
        Two-sided confidence level.

    Returns
    -------
    Ratio
        NaN for fewer than two models, for values that are not finite, and for a mean denominator of 0.

    Raises
    ------
    ValueError
        If the two differ in length.

    Notes
    -----
    The interval holds the ratios r for which a paired t test does not reject that the mean of
    ``numerator - r denominator`` is 0: ``(a - r b)^2 <= t^2 (s_aa - 2 r s_ab + r^2 s_bb) / n``, a quadratic inequality
    in r. It is bounded where the denominator's mean differs from 0.

    References
    ----------
    Fieller (1954), Journal of the Royal Statistical Society B 16, 175.

    Examples
    --------
    >>> found = fieller([1.0, 2.0, 3.0, 2.0], [2.0, 4.0, 5.0, 5.0])
    >>> [round(value, 3) for value in found]
    [0.5, 0.304, 0.696]
    """
    above, below = as_sample(numerator), as_sample(denominator)
    if above.size != below.size:
        raise ValueError(f"a ratio needs pairs, got {above.size} numerators and {below.size} denominators")
    n = above.size
    if n < 2 or "not finite" in (classify(above), classify(below)) or below.mean() == 0:
        return Ratio(math.nan, math.nan, math.nan)
    a, b = float(above.mean()), float(below.mean())
    covariance = np.cov(above, below) / n
    t2 = float(stats.t.ppf((1 + level) / 2, n - 1)) ** 2
    s_aa, s_ab, s_bb = covariance[0, 0], covariance[0, 1], covariance[1, 1]
    square, linear, constant = b * b - t2 * s_bb, a * b - t2 * s_ab, a * a - t2 * s_aa
    if square <= 0:
        return Ratio(a / b, -math.inf, math.inf)
    root = math.sqrt(max(0.0, linear * linear - square * constant))
    return Ratio(a / b, float((linear - root) / square), float((linear + root) / square))
