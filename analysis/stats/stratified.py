"""Mean over architectures with equal weight: models are the units, architectures the strata."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from analysis.stats.degenerate import Category, as_sample, classify


@dataclass(frozen=True)
class StratifiedMean:
    """Mean of stratum means with its interval; numbers are NaN where the category allows none.

    Attributes
    ----------
    mean, se : float
        Mean of the stratum means and its standard error, in the unit of the values.
    df : float
        Degrees of freedom after Welch and Satterthwaite.
    low, high : float
        Limits of the interval.
    level : float
        Two-sided confidence level.
    n, strata : int
        Numbers of models and of strata.
    category : str
        ``one model`` where any stratum has a single model; ``identical`` where all values are zero; ``constant`` where
        no stratum has any variance; else as `analysis.stats.degenerate.classify`.
    """

    mean: float
    se: float
    df: float
    low: float
    high: float
    level: float
    n: int
    strata: int
    category: Category


def stratified_mean(
    values: ArrayLike, strata: Sequence[Hashable], level: float = 0.95, least_sd: float = 0.0
) -> StratifiedMean:
    """Return the mean of the stratum means, each stratum with equal weight, and its interval.

    Parameters
    ----------
    values : array_like, shape (n,)
        One value per model, in any unit.
    strata : sequence, length n
        Stratum (architecture) of each model.
    level : float
        Two-sided confidence level.
    least_sd : float
        Lower bound of each stratum's standard deviation; see `analysis.stats.degenerate.sd_floor`.

    Raises
    ------
    ValueError
        If the numbers of values and of strata differ.

    Notes
    -----
    With H strata of n_h models and ``v_h = sd_h^2 / n_h``, ``se = sqrt(sum v_h) / H`` and ``df = (sum v_h)^2 /
    sum(v_h^2 / (n_h - 1))``. With one stratum this is the t interval. Where no stratum has any variance, the limits
    equal the mean, and df is n - H.

    Simulated coverage of a nominal 95 % (400,000 normal samples each): 0.944 to 0.957 for two and three strata of 5 to
    20 models whose standard deviations differ up to sixfold; 0.935 where a stratum of 3 models has the largest.

    References
    ----------
    Welch (1938), Biometrika 29, 350. Satterthwaite (1946), Biometrics Bulletin 2, 110.

    Examples
    --------
    >>> found = stratified_mean([1.0, 2.0, 3.0, 6.0, 8.0], ["a", "a", "a", "b", "b"])
    >>> found.mean, round(found.se, 4), round(found.df, 3), found.strata
    (4.5, 0.5774, 1.684, 2)
    >>> stratified_mean([1.0, 2.0, 3.0], ["a", "a", "b"]).category
    'one model'
    """
    sample = as_sample(values)
    if len(strata) != sample.size:
        raise ValueError(f"{sample.size} values, but {len(strata)} strata: give one stratum per value")
    members = {name: sample[[own == name for own in strata]] for name in dict.fromkeys(strata)}
    n, count = int(sample.size), len(members)
    nan = math.nan
    category = classify(sample)
    if category in ("no data", "not finite"):
        return StratifiedMean(nan, nan, nan, nan, nan, level, n, count, category)
    mean = float(np.mean([group.mean() for group in members.values()]))
    if any(group.size == 1 for group in members.values()):
        return StratifiedMean(mean, nan, nan, nan, nan, level, n, count, "one model")
    if category == "regular" and all(classify(group) != "regular" for group in members.values()):
        category = "constant"
    sizes = np.array([group.size for group in members.values()])
    spread = np.array([0.0 if classify(group) != "regular" else group.std(ddof=1) for group in members.values()])
    variances = np.maximum(spread, least_sd) ** 2 / sizes
    total = float(variances.sum())
    df = total**2 / float((variances**2 / (sizes - 1)).sum()) if total > 0 else float(n - count)
    se = total**0.5 / count
    half = float(stats.t.ppf((1 + level) / 2, df)) * se
    return StratifiedMean(mean, se, df, mean - half, mean + half, level, n, count, category)


def one_sided_p_values(mean: StratifiedMean, null: float) -> tuple[float, float]:
    """Return the one-sided p-values for a mean above and below `null`.

    Both are NaN without a standard error, where it is zero, and for values that are all zero.

    Examples
    --------
    >>> found = stratified_mean([1.0, 2.0, 3.0, 2.0, 4.0], ["a", "a", "a", "b", "b"])
    >>> [round(p, 4) for p in one_sided_p_values(found, 0.0)]
    [0.0332, 0.9668]
    """
    if mean.category == "identical" or not mean.se > 0:
        return math.nan, math.nan
    t = (mean.mean - null) / mean.se
    return float(stats.t.sf(t, mean.df)), float(stats.t.cdf(t, mean.df))
