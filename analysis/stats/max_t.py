"""Sign-flip max-T: which of several paired differences is real, where the best of them was chosen."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.stats.degenerate import Category, as_table, classify, classify_table
from analysis.stats.paired import Alternative, random_signs

#: Correlations closer than this count as tied; sums of n floats differ by their order far less.
TIE_TOLERANCE = 1e-10
#: Sign patterns at a time, which bounds the memory (chunk x hypotheses x 8 bytes).
CHUNK = 4096


@dataclass(frozen=True)
class MaxT:
    """Result of the max-T test; numbers are NaN where a category allows none.

    Attributes
    ----------
    statistics : tuple of float
        Student's t of each hypothesis.
    p : float
        Of the global hypothesis that no column differs from zero: the least of `p_adjusted`.
    p_adjusted : tuple of float
        Single-step adjusted p-value of each hypothesis.
    least_p : float
        Smallest p-value that so many models can give: 2^-n one-sided, 2^(1 - n) two-sided, exactly; never
        under 1 / (repetitions + 1).
    n, k : int
        Models and hypotheses.
    category : str
        Of the table, see `analysis.stats.degenerate.classify_table`; ``constant`` where no column varies.
    categories : tuple of str
        Of each column, see `analysis.stats.degenerate.classify`. A column that is not regular takes no part:
        its statistic and p-value are NaN.
    repetitions : int or None
        Number of random sign patterns; None where all were enumerated.
    """

    statistics: tuple[float, ...]
    p: float
    p_adjusted: tuple[float, ...]
    least_p: float
    n: int
    k: int
    category: Category
    categories: tuple[Category, ...]
    repetitions: int | None


def max_t(
    table: ArrayLike, alternative: Alternative = "greater", repetitions: int = 20_000, seed: int = 0
) -> MaxT:  # fmt: skip
    """Test several mean paired differences against zero, all on the same models, at one error rate for all.

    Source: Westfall and Young (1993), Resampling-Based Multiple Testing, section 2.3 (single step); the chance of
    any false rejection is bounded whichever hypotheses are true. One sign is drawn per model and flips its whole
    row, which keeps the dependence between hypotheses. The adjusted p-value of a column is the share of sign
    patterns in which the **largest** t of all columns reaches that column's own.

    All 2^n patterns are enumerated where they are no more than `repetitions` (to 14 models by default), else so
    many are drawn and p = (b + 1) / (B + 1).

    Parameters
    ----------
    table : array_like, shape (n, k)
        Models x hypotheses: paired differences. A missing value refuses the whole table (``not finite``): a
        model without one of its hypotheses cannot say which of them is best.
    alternative : str
        ``greater``, ``less`` or ``two-sided``, for every column.
    repetitions, seed : int
        Random patterns, where there are too many.

    Examples
    --------
    >>> r = max_t([[1.0, 0.5], [2.0, -0.5], [3.0, 0.1], [4.0, -0.2]])
    >>> r.p, r.p_adjusted, r.least_p
    (0.0625, (0.0625, 0.875), 0.0625)
    """
    values = as_table(table)
    n, k = values.shape
    category = classify_table(values)
    categories = tuple(classify(column) for column in values.T)
    regular = np.array([kind == "regular" for kind in categories], dtype=np.bool_)
    exact = 2**n <= repetitions
    least_p = math.nan if n == 0 else 2.0 ** (1 - n if alternative == "two-sided" else -n)
    if not exact:
        least_p = max(least_p, 1 / (repetitions + 1))
    drawn = None if exact else repetitions
    none = (math.nan,) * k
    if category == "regular" and not regular.any():
        category = "constant"
    if category != "regular":
        return MaxT(none, math.nan, none, least_p, n, k, category, categories, drawn)

    # t = c sqrt((n - 1) / (1 - c^2)) increases in c = sum / sqrt(n sum of squares), whose denominator no sign
    # changes: so c is compared, which is one product of matrices and finite for every pattern.
    used = values[:, regular]
    scaled = used / np.sqrt(n * (used**2).sum(axis=0))
    c = scaled.sum(axis=0)
    statistics = np.full(k, np.nan)
    statistics[regular] = c * np.sqrt((n - 1) / (1 - c**2))
    if alternative == "less":
        scaled = -scaled
    patterns = _all_signs(n) if exact else random_signs(n, repetitions, seed)
    maxima = np.sort(
        np.concatenate(
            [
                _oriented(patterns[start : start + CHUNK] @ scaled, alternative).max(axis=1)
                for start in range(0, len(patterns), CHUNK)
            ]
        )
    )
    observed = _oriented(scaled.sum(axis=0), alternative)
    reached = len(maxima) - np.searchsorted(maxima, observed - TIE_TOLERANCE, side="left")
    p_adjusted = np.full(k, np.nan)
    p_adjusted[regular] = reached / len(maxima) if exact else (reached + 1) / (len(maxima) + 1)
    return MaxT(
        tuple(statistics.tolist()), float(np.nanmin(p_adjusted)), tuple(p_adjusted.tolist()), least_p, n, k,
        category, categories, drawn,
    )  # fmt: skip


def _oriented(values: NDArray[np.float64], alternative: Alternative) -> NDArray[np.float64]:
    return np.abs(values) if alternative == "two-sided" else values


def _all_signs(n: int) -> NDArray[np.float64]:
    return np.where(np.arange(2**n)[:, None] >> np.arange(n) & 1, 1.0, -1.0)
