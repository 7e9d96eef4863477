"""Name the data on which a test would fail or mislead, before any library is called.

`scipy.stats.bootstrap` and `ttest_rel` return NaN on constant data, and `pingouin.tost` returns p = 0:
neither is an answer. Every function of this package asks `classify` first and returns the category.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Category: TypeAlias = Literal[
    "regular", "no data", "one model", "not finite", "identical", "constant"
]  # fmt: skip

#: Values closer than this are equal: far below one image of any test set, far above float64 rounding.
RESOLUTION = 1e-12


def classify(values: ArrayLike) -> Category:
    """Return what kind of sample this is.

    Parameters
    ----------
    values : array_like, shape (n,)
        One value per model: an accuracy or a paired difference, as a fraction.

    Returns
    -------
    str
        ``no data`` (n = 0), ``not finite`` (NaN or infinite), ``one model`` (n = 1), ``identical`` (all
        zero), ``constant`` (no variance, not zero), else ``regular``.

    Examples
    --------
    >>> [classify(v) for v in ([], [0.1], [0, 0], [0.1, 0.1], [0.1, float("nan")], [0.1, 0.2])]
    ['no data', 'one model', 'identical', 'constant', 'not finite', 'regular']
    """
    sample = as_sample(values)
    if sample.size == 0:
        return "no data"
    if not np.isfinite(sample).all():
        return "not finite"
    if sample.size == 1:
        return "one model"
    if np.abs(sample).max() <= RESOLUTION:
        return "identical"
    if np.ptp(sample) <= RESOLUTION:
        return "constant"
    return "regular"


def sd_floor(images: int) -> float:
    """Return the least credible standard deviation of accuracies, in percentage points.

    An accuracy is known to one image of the test set: rounding to steps of ``100 / images`` points has the standard
    deviation ``(100 / images) / sqrt(12)`` of a uniform distribution. A smaller spread over models is chance.

    Parameters
    ----------
    images : int
        Number of test images.

    Raises
    ------
    ValueError
        If there is no image.

    Examples
    --------
    >>> round(sd_floor(400), 4), round(sd_floor(10_000), 4)
    (0.0722, 0.0029)
    """
    if images < 1:
        raise ValueError(f"a test set has at least one image, got {images}")
    return 100 / images / 12**0.5


def share_that_may_differ(n: int) -> float:
    """Return the 95 % upper limit of the share of models that differ, where none of `n` did.

    Solves ``(1 - share)^n = 0.05`` (Clopper and Pearson 1934, Biometrika 26, 404, with no success, one-sided).

    Raises
    ------
    ValueError
        If there is no model.

    Examples
    --------
    >>> [round(share_that_may_differ(n), 2) for n in (5, 10, 20)]
    [0.45, 0.26, 0.14]
    """
    if n < 1:
        raise ValueError(f"at least one model is needed, got {n}")
    return float(1 - 0.05 ** (1 / n))


def as_sample(values: ArrayLike) -> NDArray[np.float64]:
    """Return `values` as a float64 vector.

    Raises
    ------
    ValueError
        If they do not have one dimension.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1:
        raise ValueError(f"expected one value per model, got an array of shape {sample.shape}")
    return sample


def classify_table(table: ArrayLike) -> Category:
    """Return what the rows of a table allow; columns and ranks are for the caller to judge.

    Parameters
    ----------
    table : array_like, shape (n, k)
        One row per model.

    Returns
    -------
    str
        ``no data`` (no row or no column), ``not finite`` (any cell), ``one model`` (n = 1), ``identical`` (all
        zero), ``constant`` (one value everywhere, not zero), else ``regular``.

    Examples
    --------
    >>> [classify_table(t) for t in ([[0.1, 0.2]], [[0.1, 0.2], [0.1, float("nan")]], [[0.1, 0.2], [0.1, 0.2]])]
    ['one model', 'not finite', 'regular']
    """
    rows = as_table(table)
    category = classify(rows.ravel())
    return "one model" if category not in ("no data", "not finite") and len(rows) == 1 else category


def as_table(values: ArrayLike) -> NDArray[np.float64]:
    """Return `values` as a float64 matrix.

    Raises
    ------
    ValueError
        If they do not have two dimensions.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2:
        raise ValueError(f"expected a table with one row per model, got an array of shape {table.shape}")
    return table
