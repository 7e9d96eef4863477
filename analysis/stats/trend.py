"""Trends over an ordered axis, such as sparsity: Page's test, and an isotonic fit as a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from sklearn.isotonic import IsotonicRegression

from analysis.stats.degenerate import Category, as_sample, as_table, classify_table

Direction: TypeAlias = Literal["increasing", "decreasing"]

#: SciPy lists all k! orders of a block, and convolves the blocks: under a second to here, then cached.
EXACT_TREATMENTS, EXACT_BLOCKS = 8, 20


@dataclass(frozen=True)
class Trend:
    """What Page's test says; numbers are NaN where the category allows none.

    Attributes
    ----------
    statistic : float
        Page's L: sum over treatments of place times sum of ranks; large where values increase.
    p, p_against : float
        One-sided, for the trend asked for and for its mirror image.
    exact : bool
        Whether all orders were counted, or the normal approximation used.
    n, k : int
        Blocks and ordered treatments.
    category : str
        See `analysis.stats.degenerate.classify_table`; ``identical`` where every block ties all treatments.
    """

    statistic: float
    p: float
    p_against: float
    exact: bool
    n: int
    k: int
    category: Category


def page(table: ArrayLike, alternative: Direction = "increasing") -> Trend:
    """Page's test that the values of every block follow the order of the columns.

    Source: Page (1963), JASA 58, 216, by `scipy.stats.page_trend_test`: exact up to 8 treatments and 20 blocks;
    beyond, SciPy's normal approximation, whose small p-values are a little too small. Ties share their mean rank,
    but the p-values are those of untied ranks. Under 0.1 that is conservative (no exception among 24,000 simulated
    tables full of ties, compared with their own orders); nearer to 1 it need not be.

    Parameters
    ----------
    table : array_like, shape (n, k)
        Blocks (models) x ordered treatments (sparsities). Values are compared to 12 decimals.
    alternative : str
        ``increasing`` or ``decreasing``.

    Raises
    ------
    ValueError
        With fewer than three treatments, which have no order to speak of.

    Examples
    --------
    >>> r = page([[1, 2, 3], [1, 3, 2], [1, 2, 3], [2, 1, 3]])
    >>> r.statistic, round(r.p, 4), round(r.p_against, 4)
    (54.0, 0.0255, 0.9931)
    """
    values = as_table(table).round(12)
    n, k = values.shape
    category = classify_table(values)
    exact = k <= EXACT_TREATMENTS and n <= EXACT_BLOCKS
    if category not in ("no data", "not finite") and k < 3:
        raise ValueError(f"Page's test needs three ordered treatments or more, got {k}")
    if category in ("regular", "constant") and (np.ptp(values, axis=1) == 0).all():
        category = "identical"
    if category != "regular":
        return Trend(math.nan, math.nan, math.nan, exact, n, k, category)
    method = "exact" if exact else "asymptotic"
    rising = stats.page_trend_test(values, method=method)
    falling = stats.page_trend_test(-values, method=method)
    p, p_against = float(rising.pvalue), float(falling.pvalue)
    if alternative == "decreasing":
        p, p_against = p_against, p
    return Trend(float(rising.statistic), p, p_against, exact, n, k, category)


def isotonic(x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
    """Least-squares fit of a non-decreasing function (`sklearn.isotonic`); a picture, never a test.

    Parameters
    ----------
    x, y : array_like, shape (n,)
        Finite; in any order. Points of equal x share their fitted value.

    Returns
    -------
    ndarray, shape (n,)
        Fitted values at `x`.

    Raises
    ------
    ValueError
        If x and y differ in length or hold no or not only finite values.

    Examples
    --------
    >>> isotonic([0.5, 0.6, 0.7, 0.8], [1.0, 3.0, 2.0, 4.0]).tolist()
    [1.0, 2.5, 2.5, 4.0]
    """
    fitted = IsotonicRegression().fit_transform(as_sample(x), as_sample(y))
    return np.asarray(fitted, dtype=np.float64)
