"""Adjust p-values for the number of questions."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Correction: TypeAlias = Literal["holm", "bh"]


def adjust(p_values: ArrayLike, method: Correction = "holm") -> NDArray[np.float64]:
    """Return adjusted p-values of one family.

    Holm (1979, Scand. J. Stat. 6, 65) bounds the chance of any false rejection, for confirmatory families;
    Benjamini and Hochberg (1995, JRSS B 57, 289; `scipy.stats.false_discovery_control`) the expected share of
    false ones, for scans. A NaN (a test that degenerate data did not allow) stays NaN but counts in the size of the
    family: leaving it out would make the others easier.

    Holm's step-down is written out: the one of statsmodels, which it equals, collects garbage at every call (0.1 s in
    a report, which asks a hundred times).

    Parameters
    ----------
    p_values : array_like, shape (k,)
        Raw p-values.
    method : str
        ``holm`` or ``bh``.

    Examples
    --------
    >>> adjust([0.01, 0.02, 0.04]).tolist()
    [0.03, 0.04, 0.04]
    >>> adjust([0.01, float("nan")]).tolist()
    [0.02, nan]
    """
    raw = np.asarray(p_values, dtype=np.float64)
    if raw.size == 0:
        return raw.copy()
    missing = np.isnan(raw)
    filled = np.where(missing, 1.0, raw)
    if method == "bh":
        adjusted = np.asarray(stats.false_discovery_control(filled), dtype=np.float64)
    else:
        order = np.argsort(filled, kind="stable")
        adjusted = np.empty_like(filled)
        steps = filled[order] * np.arange(filled.size, 0, -1)
        adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return np.where(missing, np.nan, adjusted)
