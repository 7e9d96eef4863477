"""kappa(S) as a 95 % set: the complexities that the escapes of both classes do not rule out (STATISTICS, rule 11)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from analysis.stats.degenerate import as_sample, classify


@dataclass(frozen=True)
class KappaSet:
    """Confidence set of kappa at one sparsity.

    Attributes
    ----------
    values : tuple of int
        The complexities, of 0, 1 and 2, that are not ruled out; never empty.
    p : tuple of float
        P-value of each of the three; a complexity is ruled out where its p-value is at most `alpha`.
    margin : float
        In the unit of the escapes.
    alpha : float
        One less the confidence level.
    n : int
        Models.
    """

    values: tuple[int, ...]
    p: tuple[float, float, float]
    margin: float
    alpha: float
    n: int

    @property
    def kappa(self) -> int | None:
        """The complexity if the set has one value, None if kappa is undecided."""
        return self.values[0] if len(self.values) == 1 else None

    def __str__(self) -> str:
        """Return the complexity, or the values between which kappa is undecided.

        Examples
        --------
        >>> str(KappaSet((1,), (0.0, 1.0, 0.0), 2.0, 0.05, 10))
        '1'
        >>> str(KappaSet((0, 1), (0.3, 1.0, 0.0), 2.0, 0.05, 10))
        'undecided (0 or 1)'
        """
        if self.kappa is not None:
            return str(self.kappa)
        *first, last = map(str, self.values)
        return f"undecided ({', '.join(first)} or {last})"


def kappa_set(
    theta1: ArrayLike, theta2: ArrayLike, margin: float, alpha: float = 0.05, *, least_sd: float = 0.0
) -> KappaSet:
    """Return the 1 - alpha confidence set of kappa at one sparsity.

    Parameters
    ----------
    theta1, theta2 : array_like, shape (n_models,)
        Escapes of class 1 and of class 2 over the plateau, paired by model: accuracy of the class less that of the
        plateau, normally in percentage points.
    margin : float
        Largest escape that counts as none, in the same unit; not negative, and fixed before the data.
    alpha : float, default 0.05
        Chance to rule out the true complexity.
    least_sd : float, default 0
        Least standard deviation of the differences that is assumed: ``100 / (N sqrt(12))`` points for N test images.
        Without it, differences that do not vary rule out nothing.

    Returns
    -------
    KappaSet

    Raises
    ------
    ValueError
        If the margin is negative or not a number, or the classes differ in their number of models.

    Notes
    -----
    With theta_k the mean escape of class k over all models, and theta_0 = 0, kappa is the least k with
    ``theta_k >= max(theta) - margin``. One-sided paired t tests rule out

    - 0 by theta_1 > m or theta_2 > m (Holm);
    - 2 by theta_2 < m or theta_2 - theta_1 < m (Holm);
    - 1 by both theta_1 < m and theta_2 < m, or by both theta_2 > m and theta_2 - theta_1 > m, each pair at alpha / 2.

    In every case this is twice the smaller of two p-values, and that of a pair is its larger one. The coverage is at
    least 1 - alpha for normal differences. Differences that are zero in every model rule out nothing.

    Examples
    --------
    >>> noise = [-0.4, 0.3, 0.1, -0.2, 0.2, 0.0]
    >>> escapes = [3 + x for x in noise]
    >>> kappa_set([0.1, -0.2, 0.3, 0.0, -0.1, 0.2], escapes, margin=1.0).values
    (2,)
    >>> kappa_set(escapes, [3.1, 2.5, 3.3, 3.2, 2.6, 3.4], margin=1.0).values
    (1,)
    >>> str(kappa_set([0.0, 3.0, 1.0], [1.0, -2.0, 4.0], margin=1.0))
    'undecided (0, 1 or 2)'
    """
    first, second = as_sample(theta1), as_sample(theta2)
    if first.size != second.size:
        raise ValueError(f"expected the same models for both classes, got {first.size} and {second.size}")
    if not margin >= 0:
        raise ValueError(f"a margin must not be negative, got {margin}")
    above1, below1 = _p_values(first, margin, least_sd)
    above2, below2 = _p_values(second, margin, least_sd)
    above_both, below_both = _p_values(second - first, margin, least_sd)
    p = tuple(
        min(1.0, 2 * least)
        for least in (
            min(above1, above2),
            min(max(below1, below2), max(above2, above_both)),
            min(below2, below_both),
        )
    )
    values = tuple(k for k in (0, 1, 2) if p[k] > alpha)
    return KappaSet(values, (p[0], p[1], p[2]), margin, alpha, int(first.size))


def _p_values(differences: NDArray[np.float64], margin: float, least_sd: float) -> tuple[float, float]:
    """One-sided p-values that the mean lies above the margin, and below it; 1 where the data allow no test."""
    n = differences.size
    if classify(differences) not in ("regular", "constant"):
        return 1.0, 1.0
    sd = max(float(differences.std(ddof=1)) if classify(differences) == "regular" else 0.0, least_sd)
    if sd == 0:
        return 1.0, 1.0
    t = (float(differences.mean()) - margin) / sd * math.sqrt(n)
    return float(stats.t.sf(t, n - 1)), float(stats.t.cdf(t, n - 1))
