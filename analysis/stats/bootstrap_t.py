"""The studentised bootstrap (bootstrap-t) of a mean: the second deciding test where skewed differences are foreseen."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.stats.degenerate import RESOLUTION, Category, as_sample, classify

#: Decimals of every t: differences of whole images are often tied, which noise in the last bit must not break.
DECIMALS = 9


@dataclass(frozen=True, eq=False)
class BootstrapT:
    """Bootstrap-t test and interval of a mean; numbers are NaN where the category allows none.

    Attributes
    ----------
    mean, se : float
        Sample mean and its standard error, in the unit of the values.
    null : float
        Mean under the null hypothesis.
    statistic : float
        ``(mean - null) / se``.
    p_greater, p_less : float
        One-sided p-values for a mean above and below `null`.
    n : int
        Number of models.
    category : str
        See `analysis.stats.degenerate.classify`.
    t : ndarray, shape (draws,)
        Bootstrap t statistics in ascending order; empty for degenerate data.
    constant_draws : int
        Resamples without variance; their t is infinite unless a least standard deviation was given.
    seed : int
        Seed of the resamples.
    """

    mean: float
    se: float
    null: float
    statistic: float
    p_greater: float
    p_less: float
    n: int
    category: Category
    t: NDArray[np.float64]
    constant_draws: int
    seed: int

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the lower and upper limit of the mean.

        With ``a = (1 - level) / 2``, the lower limit lies above `null` exactly where ``p_greater <= a``, and the
        upper limit below it exactly where ``p_less <= a``. A limit is infinite where more than a share `a` of the
        resamples have an infinite t.

        Parameters
        ----------
        level : float
            Two-sided confidence level.

        Raises
        ------
        ValueError
            If there are too few draws for this level.

        Examples
        --------
        >>> found = bootstrap_t([0.0, 1.0, 1.5, 2.0, 6.0])
        >>> [round(limit, 2) for limit in found.interval(0.95)]
        [0.33, 7.31]
        """
        if self.category != "regular":
            return math.nan, math.nan
        place = math.floor((1 - level) / 2 * (self.t.size + 1) + 1e-9)
        if place < 1:
            raise ValueError(f"{self.t.size} bootstrap draws are too few for level {level}; draw more")
        return self.mean - float(self.t[-place]) * self.se, self.mean - float(self.t[place - 1]) * self.se


def bootstrap_t(
    differences: ArrayLike, null: float = 0.0, draws: int = 9_999, seed: int = 0, least_sd: float = 0.0
) -> BootstrapT:
    """Test a mean, and compute its interval, by the studentised bootstrap.

    Parameters
    ----------
    differences : array_like, shape (n,)
        One paired difference per independently trained model, in any unit.
    null : float
        Mean under the null hypothesis, in the same unit.
    draws, seed : int
        Number of resamples and their seed. The same seed gives the same p-values, whatever the order of the models.
    least_sd : float
        Lower bound of every standard deviation, of the sample and of the resamples; see
        `analysis.stats.degenerate.sd_floor`.

    Notes
    -----
    A resample of n models with replacement has ``t* = (mean* - mean) / se*``. The p-value for a larger mean is
    ``(b + 1) / (draws + 1)``, b the number of resamples with ``t* >= (mean - null) / se``. Ties count against the
    rejection; every t is rounded to 9 decimals, so that noise in the last bit breaks no tie. The values are sorted, and
    the resamples are those of ``numpy.random.default_rng(seed).integers(0, n, size=(draws, n))``.

    A resample of one value only has no variance (one in n^(n - 1) resamples, more where values are tied). Its t* is
    infinite with the sign of ``mean* - mean``, and 0 where both means agree: the limits for a vanishing `least_sd`.
    Such resamples are kept, since dropping them would shorten both tails. With 3 models, or with many ties, they can
    exceed 2.5 % in one tail; the limit on that side is then infinite.

    Simulated size of one-sided tests at 0.025, 10,000 samples of gamma differences with skewness 1.1
    (tests/slow/test_bootstrap_t_size.py; log-normal differences differ by less than 0.005). "Long" is a rejection
    towards the long tail of the data, "short" one in the other direction, "both" a rejection by t and bootstrap-t:

    ======  =======  ===========  ==========  ========  ============  ===========
    models  t, long  boot., long  both, long  t, short  boot., short  both, short
    ======  =======  ===========  ==========  ========  ============  ===========
    5       0.010    0.013        0.006       0.059     0.043         0.035
    10      0.009    0.015        0.007       0.056     0.037         0.035
    20      0.011    0.018        0.010       0.049     0.033         0.032
    ======  =======  ===========  ==========  ========  ============  ===========

    Requiring both removes most of the excess of t, not all of it.

    References
    ----------
    Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapters 12.5 (interval) and 16.4 (test).

    Examples
    --------
    >>> found = bootstrap_t([0.4, 1.0, 1.5, 2.0, 6.0])
    >>> found.p_greater < 0.025 < found.p_less
    True
    >>> bootstrap_t([1.0, 1.0, 1.0]).category
    'constant'
    """
    sample = np.sort(as_sample(differences))  # the order of models must not matter
    category = classify(sample)
    n = int(sample.size)
    mean = float(sample.mean()) if category not in ("no data", "not finite") else math.nan
    if category != "regular":
        nan = math.nan
        return BootstrapT(mean, nan, null, nan, nan, nan, n, category, np.empty(0), 0, seed)
    se = max(float(sample.std(ddof=1)), least_sd) / n**0.5
    resamples = sample[resampled(n, draws, seed)]
    constant = np.ptp(resamples, axis=1) <= RESOLUTION
    shift = resamples.mean(axis=1) - mean
    shift[np.abs(shift) <= RESOLUTION] = 0.0
    spread = np.where(constant, 0.0, resamples.std(axis=1, ddof=1)).clip(min=least_sd) / n**0.5
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.sort(np.where(shift == 0, 0.0, shift / spread)).round(DECIMALS)
    statistic = round((mean - null) / se, DECIMALS)
    above = draws - int(np.searchsorted(t, statistic, side="left"))
    below = int(np.searchsorted(t, statistic, side="right"))
    return BootstrapT(
        mean, se, null, statistic, (above + 1) / (draws + 1), (below + 1) / (draws + 1), n, category, t,
        int(constant.sum()), seed,
    )  # fmt: skip


@functools.lru_cache(maxsize=4)  # the parts of a study share their number of models
def resampled(n: int, draws: int, seed: int) -> NDArray[np.int64]:
    """Draw the places of bootstrap resamples, shape (draws, n), read-only.

    Examples
    --------
    >>> places = resampled(3, 1000, seed=0)
    >>> places.shape, sorted(set(places.ravel().tolist()))
    ((1000, 3), [0, 1, 2])
    """
    places = np.random.default_rng(seed).integers(0, n, size=(draws, n))
    places.flags.writeable = False
    return places
