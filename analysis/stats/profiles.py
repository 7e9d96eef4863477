"""Summaries over models and settings together: interquartile mean and performance profile, with bootstrap."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from analysis.stats.degenerate import Category, as_table, classify_table

#: Share cut off at each end for the interquartile mean.
QUARTER = 0.25


@dataclass(frozen=True)
class InterquartileMean:
    """An interquartile mean with its percentile interval; NaN where the category allows none.

    Attributes
    ----------
    iqm, low, high : float
        Estimate and bounds.
    level : float
        Confidence level.
    n, k : int
        Models and settings.
    category : str
        See `analysis.stats.degenerate.classify_table`; ``one model`` where any stratum has but one.
    """

    iqm: float
    low: float
    high: float
    level: float
    n: int
    k: int
    category: Category


def iqm(table: ArrayLike) -> float:
    """Interquartile mean: the mean of the middle half of all entries (`scipy.stats.trim_mean`).

    Source: Agarwal et al. (2021), Deep Reinforcement Learning at the Edge of the Statistical Precipice, NeurIPS.

    Parameters
    ----------
    table : array_like, shape (n, k)
        Models x settings. NaN if empty or not finite.

    Examples
    --------
    >>> iqm([[0.0, 0.4, 0.5, 0.6], [0.5, 0.5, 0.6, 9.0]])
    0.525
    """
    values = as_table(table)
    if classify_table(values) in ("no data", "not finite"):
        return math.nan
    return float(stats.trim_mean(values, QUARTER, axis=None))


def iqm_interval(
    table: ArrayLike, strata: ArrayLike | None = None, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> InterquartileMean:
    """Percentile interval of the interquartile mean, by stratified bootstrap of the models.

    Models are drawn within their stratum, and a model takes all its settings along: they are not independent.
    (Drawn for each setting apart, as rliable does with runs that share nothing, a nominal 95 % covered 0.60 at 10
    models with 6 settings each, the sd of models being twice that within them; drawn together 0.91.)
    With few models the coverage is that of every percentile interval, here 0.86 at 5 models and 0.93 at 20.

    Parameters
    ----------
    table : array_like, shape (n, k)
        Models x settings.
    strata : array_like, shape (n,), optional
        The stratum of each model, such as its architecture; all one by default.
    level : float
        Confidence level.
    resamples, seed : int
        Number of replicates, and the seed of their draw.

    Raises
    ------
    ValueError
        If there is not one stratum per model.

    Examples
    --------
    >>> r = iqm_interval([[0.5, 0.4], [0.6, 0.5], [0.7, 0.3], [0.6, 0.4]], strata=["a", "a", "b", "b"])
    >>> round(r.iqm, 3), bool(r.low < r.iqm < r.high)
    (0.5, True)
    """
    values = as_table(table)
    groups = _groups(strata, len(values))
    n, k = values.shape
    category = _category(values, groups)
    estimate = iqm(values)
    if category in ("identical", "constant"):
        return InterquartileMean(estimate, estimate, estimate, level, n, k, category)
    if category != "regular":
        return InterquartileMean(estimate, math.nan, math.nan, level, n, k, category)
    replicates = stats.trim_mean(values[_draws(groups, resamples, seed)].reshape(resamples, -1), QUARTER, axis=1)
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return InterquartileMean(estimate, low, high, level, n, k, category)


def performance_profile(
    table: ArrayLike, thresholds: ArrayLike, strata: ArrayLike | None = None, level: float = 0.95,
    resamples: int = 2000, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Share of runs above each threshold, with pointwise percentile bands by stratified bootstrap.

    Sources: Dolan and More (2002), Math. Program. 91, 201; Agarwal et al. (2021).

    Parameters
    ----------
    table : array_like, shape (n, k)
        Models x settings; higher = better.
    thresholds : array_like, shape (m,)
        A run counts where it exceeds the threshold.
    strata, level, resamples, seed
        As for `iqm_interval`.

    Returns
    -------
    DataFrame
        ``threshold``, ``share``, ``low``, ``high``; NaN bounds where a stratum has but one model, NaN shares
        where the table is empty or not finite.

    Examples
    --------
    >>> performance_profile([[0.5, 0.9], [0.7, 0.8]], [0.4, 0.75, 0.95])["share"].tolist()
    [1.0, 0.5, 0.0]
    """
    values = as_table(table)
    groups = _groups(strata, len(values))
    levels = np.asarray(thresholds, dtype=np.float64)
    category = _category(values, groups)
    share = np.full(levels.size, np.nan)
    low, high = share.copy(), share.copy()
    if category not in ("no data", "not finite"):
        above = (values[:, :, None] > levels).mean(axis=1)
        share = above.mean(axis=0)
        if category != "one model":
            replicates = above[_draws(groups, resamples, seed)].mean(axis=1)
            low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return pd.DataFrame({"threshold": levels, "share": share, "low": low, "high": high})


def _groups(strata: ArrayLike | None, n: int) -> list[NDArray[np.intp]]:
    """Rows of each stratum."""
    labels = np.zeros(n) if strata is None else np.asarray(strata)
    if labels.shape != (n,):
        raise ValueError(f"expected one stratum for each of {n} models, got an array of shape {labels.shape}")
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def _category(values: NDArray[np.float64], groups: list[NDArray[np.intp]]) -> Category:
    category = classify_table(values)
    if category not in ("no data", "not finite") and any(len(rows) == 1 for rows in groups):
        return "one model"
    return category


def _draws(groups: list[NDArray[np.intp]], resamples: int, seed: int) -> NDArray[np.intp]:
    """Rows of every replicate, shape (resamples, n): each stratum draws as many models as it has."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.choice(rows, size=(resamples, len(rows))) for rows in groups], axis=1)
