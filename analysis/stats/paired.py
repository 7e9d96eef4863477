"""Two methods on the same models: paired t, exact sign-flip, Wilcoxon, and the size of the effect."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from analysis.stats.degenerate import RESOLUTION, Category, as_sample, classify
from analysis.stats.intervals import Interval, t_interval
from analysis.stats.limits import EXACT_MODELS, WILCOXON_MODELS

Alternative: TypeAlias = Literal["two-sided", "greater", "less"]

#: Sums closer than this share of the sum of absolute differences count as tied in the sign-flip test.
TIE_TOLERANCE = 1e-10


@dataclass(frozen=True)
class TestResult:
    """Result of a test; `statistic` and `p` are NaN where the category or the sample size allows none.

    Attributes
    ----------
    name : str
        ``paired t``, ``sign-flip`` or ``Wilcoxon``.
    statistic, df, p : float
        `df` is NaN for the tests that have none.
    n : int
        Number of models.
    category : str
        See `analysis.stats.degenerate.classify`.
    repetitions : int or None
        Number of random sign patterns; None where all were enumerated.
    """

    __test__ = False  # not a test class, whatever pytest thinks of the name

    name: str
    statistic: float
    df: float
    p: float
    n: int
    category: Category
    repetitions: int | None = None


@dataclass(frozen=True)
class PairedComparison:
    """Everything that is printed about two methods in one setting; differences are first minus second.

    Attributes
    ----------
    interval : Interval
        t interval of the mean difference.
    t, sign_flip, wilcoxon : TestResult
        Two-sided tests of a zero difference.
    d_z : float
        Hedges-corrected standardised mean difference.
    p_superior : float
        P(A > B), ties counted one half.
    skewness : float
        Sample skewness; beyond +-1 the sign-flip test should decide.
    """

    interval: Interval
    t: TestResult
    sign_flip: TestResult
    wilcoxon: TestResult
    d_z: float
    p_superior: float
    skewness: float

    def disagree(self, alpha: float = 0.05) -> bool:
        """Whether the tests that can reach `alpha` with so many models fall on different sides of it."""
        able = [self.t, self.wilcoxon] + ([self.sign_flip] if 2.0 ** (1 - self.t.n) <= alpha else [])
        p = [test.p for test in able if not math.isnan(test.p)]
        return len({value <= alpha for value in p}) > 1


def compare(differences: ArrayLike, level: float = 0.95, seed: int = 0) -> PairedComparison:
    """Run all paired tests on one sample of differences.

    Parameters
    ----------
    differences : array_like, shape (n,)
        One difference per model.
    level : float
        Confidence level of the interval.
    seed : int
        For the sign patterns beyond `EXACT_MODELS` models.

    Examples
    --------
    >>> c = compare([0.01, 0.02, 0.03, 0.01, 0.02, 0.03])
    >>> round(c.t.p, 4), c.sign_flip.p, c.wilcoxon.p, c.p_superior
    (0.0028, 0.03125, 0.03125, 1.0)
    """
    sample = as_sample(differences)
    regular = classify(sample) == "regular"
    return PairedComparison(
        interval=t_interval(sample, level),
        t=paired_t(sample),
        sign_flip=sign_flip(sample, seed=seed),
        wilcoxon=wilcoxon(sample),
        d_z=hedges_dz(sample),
        p_superior=p_superior(sample),
        skewness=float(stats.skew(sample)) if regular else math.nan,
    )


def paired_t(
    differences: ArrayLike, null: float = 0.0, alternative: Alternative = "two-sided", least_sd: float = 0.0
) -> TestResult:
    """Student's t test that the mean paired difference is `null` (`scipy.stats.ttest_1samp`).

    Parameters
    ----------
    differences : array_like, shape (n,)
        One difference per model.
    null : float
        Mean under the null hypothesis, same unit.
    alternative : str
        ``two-sided``, ``greater`` or ``less``.
    least_sd : float
        Lower bound of the standard deviation, same unit; see `analysis.stats.degenerate.sd_floor`. With it, constant
        differences have a p-value, too; the category remains ``constant``. Differences that are all zero have none.

    Examples
    --------
    >>> r = paired_t([1.0, 2.0, 3.0])
    >>> round(r.statistic, 3), r.df, round(r.p, 4)
    (3.464, 2.0, 0.0742)
    >>> paired_t([1.0, 1.0, 1.0]).category
    'constant'
    """
    sample = as_sample(differences)
    category = classify(sample)
    n = int(sample.size)
    sd = float(sample.std(ddof=1)) if category == "regular" else 0.0
    if category in ("regular", "constant") and sd < least_sd:
        t = (float(sample.mean()) - null) / (least_sd / n**0.5)
        below, above = float(stats.t.cdf(t, n - 1)), float(stats.t.sf(t, n - 1))
        p = {"less": below, "greater": above, "two-sided": 2 * min(below, above)}[alternative]
        return TestResult("paired t", t, float(n - 1), p, n, category)
    if category != "regular":
        return TestResult("paired t", math.nan, math.nan, math.nan, n, category)
    result = stats.ttest_1samp(sample, null, alternative=alternative)
    return TestResult("paired t", float(result.statistic), float(result.df), float(result.pvalue), n, category)


def sign_flip(
    differences: ArrayLike,
    null: float = 0.0,
    alternative: Alternative = "two-sided",
    repetitions: int = 20_000,
    seed: int = 0,
) -> TestResult:
    """Sign-flip permutation test of the mean paired difference.

    Source: Fisher (1935), The Design of Experiments, section 21.

    Under the null hypothesis every difference is symmetric about `null`, so each of the 2^n patterns of
    signs is equally likely and p is the share of patterns whose sum is at least as extreme as the observed
    one. Up to 20 models all patterns are counted, exactly; beyond, `repetitions` random patterns give p =
    (b + 1) / (B + 1).

    Constant differences that are not zero are tested, too: p is 2^-n one-sided where they lie on the side of the
    alternative. Differences that are all zero have no p-value, for any `null`.

    Parameters
    ----------
    differences : array_like, shape (n,)
        One difference per model.
    null : float
        Centre of symmetry under the null hypothesis.
    alternative : str
        ``two-sided``, ``greater`` or ``less``.
    repetitions, seed : int
        Random patterns beyond 20 models.

    Examples
    --------
    >>> sign_flip([1.0, 2.0, 3.0]).p, sign_flip([1.0, 2.0, 3.0], alternative="greater").p
    (0.25, 0.125)
    >>> sign_flip([1.0, 1.0, 1.0, 1.0, 1.0, 1.0], alternative="greater").p
    0.015625
    """
    sample = as_sample(differences)
    category = classify(sample)
    n = int(sample.size)
    if category not in ("regular", "constant"):
        return TestResult("sign-flip", math.nan, math.nan, math.nan, n, category)
    shifted = sample - null
    shifted[np.abs(shifted) <= RESOLUTION] = 0.0
    slack = TIE_TOLERANCE * float(np.abs(shifted).sum())
    if n <= EXACT_MODELS:
        p, drawn = _exact_share(shifted, alternative, slack), None
    else:
        p, drawn = _random_share(shifted, alternative, slack, repetitions, seed), repetitions
    return TestResult("sign-flip", float(shifted.mean()), math.nan, p, n, category, drawn)


def _exact_share(values: NDArray[np.float64], alternative: Alternative, slack: float) -> float:
    """Share of all sign patterns at least as extreme, by meeting in the middle.

    Each half of the sample has at most 2^10 signed sums; for every sum of the first half the sums of the
    second that reach the threshold are counted in sorted order: all 2^n patterns, none of them ever written
    out.
    """
    first, second = _signed_sums(values[::2]), np.sort(_signed_sums(values[1::2]))
    observed = float(values.sum())
    threshold = (abs(observed) if alternative == "two-sided" else observed) - slack
    if alternative == "less":
        threshold = -observed - slack  # the set of patterns is symmetric: sums <= s are as many as sums >= -s
    reached = int((len(second) - np.searchsorted(second, threshold - first, side="left")).sum())
    total = len(first) * len(second)
    if alternative == "two-sided":
        return 1.0 if threshold <= 0 else min(1.0, 2 * reached / total)
    return reached / total


def _signed_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """All 2^n sums of ``+-values``."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums - value, sums + value])
    return sums


def _random_share(
    values: NDArray[np.float64], alternative: Alternative, slack: float, repetitions: int, seed: int
) -> float:
    sums = random_signs(values.size, repetitions, seed) @ values
    observed = float(values.sum())
    if alternative == "two-sided":
        extreme = np.abs(sums) >= abs(observed) - slack
    elif alternative == "greater":
        extreme = sums >= observed - slack
    else:
        extreme = sums <= observed + slack
    return (int(extreme.sum()) + 1) / (repetitions + 1)


@functools.lru_cache(maxsize=4)  # a report asks for the same ones thousands of times
def random_signs(n: int, repetitions: int, seed: int) -> NDArray[np.float64]:
    """Draw sign patterns, shape (repetitions, n), read-only.

    Examples
    --------
    >>> signs = random_signs(3, 1000, seed=0)
    >>> signs.shape, sorted(set(signs.ravel().tolist()))
    ((1000, 3), [-1.0, 1.0])
    """
    signs = np.where(np.random.default_rng(seed).integers(0, 2, size=(repetitions, n), dtype=np.int8), 1.0, -1.0)
    signs.flags.writeable = False
    return signs


def wilcoxon(differences: ArrayLike, alternative: Alternative = "two-sided") -> TestResult:
    """Wilcoxon's signed-rank test, zeros dropped, from 6 models on.

    It is the sign-flip test of the signed ranks, so up to 20 models all patterns are counted, ties or not:
    `scipy.stats.wilcoxon` writes them out one by one, a thousand times slower, or approximates. Beyond, SciPy's
    own rule: exact where there are neither ties nor zeros, else the normal approximation.

    Examples
    --------
    >>> wilcoxon([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).p
    0.03125
    >>> wilcoxon([1.0, 2.0]).p
    nan
    """
    # differences of fractions carry noise in the last bit, which would break ties and unmake zeros
    sample = as_sample(differences).round(12)
    category = classify(sample)
    n = int(sample.size)
    if category != "regular" or n < WILCOXON_MODELS:
        return TestResult("Wilcoxon", math.nan, math.nan, math.nan, n, category)
    if n <= EXACT_MODELS:
        changed = sample[sample != 0]
        ranks = stats.rankdata(np.abs(changed))
        above, below = float(ranks[changed > 0].sum()), float(ranks[changed < 0].sum())
        statistic = min(above, below) if alternative == "two-sided" else above
        p = _exact_share(np.sign(changed) * ranks, alternative, 0.0)
        return TestResult("Wilcoxon", statistic, math.nan, p, n, category)
    result = stats.wilcoxon(sample, alternative=alternative)
    return TestResult("Wilcoxon", float(result.statistic), math.nan, float(result.pvalue), n, category)


def hedges_dz(differences: ArrayLike) -> float:
    """Standardised mean difference of paired data with Hedges' small-sample correction.

    ``d_z = J mean / sd`` with ``J = gamma(v/2) / (sqrt(v/2) gamma((v - 1)/2))``, v = n - 1 (Hedges 1981, J.
    Educ. Stat. 6, 107, eq. 6e). NaN where the differences have no variance or n < 3.

    Examples
    --------
    >>> round(hedges_dz([1.0, 2.0, 3.0]), 4)
    1.1284
    """
    sample = as_sample(differences)
    if classify(sample) != "regular" or sample.size < 3:
        return math.nan
    v = sample.size - 1
    correction = math.exp(special.gammaln(v / 2) - special.gammaln((v - 1) / 2)) / math.sqrt(v / 2)
    return float(correction * sample.mean() / sample.std(ddof=1))


def p_superior(differences: ArrayLike) -> float:
    """P(A > B): share of models on which the first method is better, ties counted one half.

    Examples
    --------
    >>> p_superior([0.1, 0.2, 0.0, -0.1])
    0.625
    """
    sample = as_sample(differences)
    if classify(sample) in ("no data", "not finite"):
        return math.nan
    return float(np.mean((np.sign(sample) + 1) / 2))


def one_sided_p(values: ArrayLike, alternative: Alternative) -> float:
    """One-sided p-value of the paired t test against 0; differences without variance are decided by sign-flip.

    Parameters
    ----------
    values : array_like, shape (n,)
        One difference per model.
    alternative : str
        ``greater`` or ``less``.

    Returns
    -------
    float
        1 where all differences are zero, or where the data allow no test.

    Examples
    --------
    >>> one_sided_p([1.0, 1.0, 1.0], "greater"), one_sided_p([0.0, 0.0], "less")
    (0.125, 1.0)
    """
    sample = as_sample(values)
    category = classify(sample)
    if category == "constant":
        agrees = sample[0] > 0 if alternative == "greater" else sample[0] < 0
        return 2.0**-sample.size if agrees else 1.0
    return paired_t(sample, 0.0, alternative).p if category == "regular" else 1.0
