"""Trends over an ordered axis, such as sparsity: Page's test, and an isotonic fit as a picture."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from analysis.stats.degenerate import Category, as_sample, as_table, classify_table

Direction: TypeAlias = Literal["increasing", "decreasing"]

#: All k! orders of a block are listed, and the blocks convolved: under 0.1 s to here.
EXACT_TREATMENTS, EXACT_BLOCKS = 8, 100


@dataclass(frozen=True)
class Trend:
    """Result of Page's test; numbers are NaN where the category allows none.

    Attributes
    ----------
    statistic : float
        Page's L: sum over treatments of place times sum of ranks (mid-ranks where values tie); large where values
        increase.
    p, p_against : float
        One-sided, for the requested trend and for its mirror image.
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

    Source: Page (1963), JASA 58, 216. Ties share their mean rank, and the p-values are those given the ties: every
    order of a block's own ranks is equally likely. All of them are counted up to 8 treatments and 100 blocks; beyond,
    L is taken as normal with its permutation variance, ``k (k + 1) / 12`` times the sum of squared deviations of the
    ranks from their block's mean, which without ties is Page's. Its small p-values are a little too small.

    Not by `scipy.stats.page_trend_test`, which it equals without ties: with them SciPy's p-values are those of other
    ranks, L is cut to an integer ([[2, 0, 2], [2, 3, 3]] has L = 25.5 and p = 1/3, SciPy returns 0.36), and it takes
    0.2 s on 20 blocks of 6 treatments.

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
    ranks = stats.rankdata(values, axis=1)
    p, p_against = _exact_tails(ranks) if exact else _normal_tails(ranks)
    if alternative == "decreasing":
        p, p_against = p_against, p
    return Trend(_statistic(ranks), p, p_against, exact, n, k, category)


def _statistic(ranks: NDArray[np.float64]) -> float:
    return float((ranks @ np.arange(1, ranks.shape[1] + 1)).sum())


def _exact_tails(ranks: NDArray[np.float64]) -> tuple[float, float]:
    """Chances of an L at least, and at most, as large as the observed one, over all orders within the blocks."""
    doubled = np.sort(np.rint(2 * ranks).astype(np.int64), axis=1)  # twice a mid-rank is an integer
    chances = np.ones(1)
    for block in doubled.tolist():
        chances = np.convolve(chances, _chances_of_a_block(tuple(block)))
    least = (doubled[:, ::-1] @ np.arange(1, doubled.shape[1] + 1)).sum()
    observed = round(2 * _statistic(ranks)) - int(least)
    return min(1.0, float(chances[observed:].sum())), min(1.0, float(chances[: observed + 1].sum()))


@functools.lru_cache(maxsize=256)  # there are 2^(k - 1) patterns of ties
def _chances_of_a_block(ranks: tuple[int, ...]) -> NDArray[np.float64]:
    """Chance of every sum of place times rank over all orders of these ranks, from the least sum on."""
    sums = np.array(ranks)[_orders(len(ranks))] @ np.arange(1, len(ranks) + 1)
    counts = np.bincount(sums - sums.min())
    return np.asarray(counts / counts.sum(), dtype=np.float64)


@functools.cache
def _orders(k: int) -> NDArray[np.int64]:
    return np.array(list(itertools.permutations(range(k))))


def _normal_tails(ranks: NDArray[np.float64]) -> tuple[float, float]:
    n, k = ranks.shape
    variance = k * (k + 1) / 12 * ((ranks - (k + 1) / 2) ** 2).sum()
    z = (_statistic(ranks) - n * k * (k + 1) ** 2 / 4) / math.sqrt(variance)
    return float(stats.norm.sf(z)), float(stats.norm.cdf(z))


def isotonic(x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
    """Least-squares fit of a non-decreasing function (`scipy.optimize.isotonic_regression`); a picture, never a test.

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
    places, values = as_sample(x), as_sample(y)
    if places.size != values.size or not places.size or not np.isfinite([places, values]).all():
        raise ValueError(f"expected pairs of finite numbers, got {places.size} and {values.size}")
    _, point, counts = np.unique(places, return_inverse=True, return_counts=True)
    means = np.bincount(point, weights=values) / counts
    fitted = optimize.isotonic_regression(means, weights=counts).x
    return np.asarray(fitted[point], dtype=np.float64)
