"""P-values of a part from those of its settings, and of a claim from those of its primary parts.

All p-values are one-sided. The support p-value speaks for the claim, the contradiction p-value for its opposite; a
claim is supported or contradicted where the respective value is under alpha, 0.025 (STATISTICS, "Error control").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.stats.correction import adjust
from analysis.stats.limits import Over


class PartP(NamedTuple):
    """One-sided p-values of a part, corrected for its settings.

    Attributes
    ----------
    support, contradiction : float
        Between 0 and 1; 1 where no data can decide.
    """

    support: float
    contradiction: float


class ClaimP(NamedTuple):
    """One-sided p-values of a claim over its primary parts.

    Attributes
    ----------
    support : float
        Every primary part is supported.
    contradiction : tuple of float
        Of each part, Holm-adjusted over the parts; the claim is contradicted by any of them.
    """

    support: float
    contradiction: tuple[float, ...]


def part_p_values(over: Over, support: ArrayLike, contradiction: ArrayLike) -> PartP:
    """Combine the p-values of a part's settings.

    Parameters
    ----------
    over : str
        Quantifier of the part: ``every`` setting has the property, ``some`` setting has it, or the ``mean`` over the
        settings, which is one question.
    support, contradiction : array_like, shape (k,)
        Raw one-sided p-values of the settings. A NaN, from a test that the data did not allow, counts as 1; the
        setting stays in the family.

    Returns
    -------
    PartP
        ``every``: largest support, K times the smallest contradiction (one setting contradicts the part). ``some``: K
        times the smallest support, largest contradiction. ``mean``: the single ones. Capped at 1.

    Raises
    ------
    ValueError
        If the two differ in length, or ``mean`` has not exactly one p-value.

    Notes
    -----
    The largest is an intersection-union test (Berger 1982, Technometrics 24, 295), K times the smallest is Bonferroni's
    test of the intersection; both are valid for any dependence of the settings.

    Examples
    --------
    >>> part_p_values("every", [0.001, 0.02], [0.999, 0.98])
    PartP(support=0.02, contradiction=1.0)
    >>> part_p_values("some", [0.001, 0.02], [0.999, 0.98])
    PartP(support=0.002, contradiction=0.999)
    """
    p, against = _filled(support), _filled(contradiction)
    if len(p) != len(against) or (over == "mean" and len(p) != 1):
        raise ValueError(f"over {over}: expected as many p-values each way, got {len(p)} and {len(against)}")
    if not len(p):
        return PartP(1.0, 1.0)
    if over == "every":
        return PartP(float(p.max()), _bonferroni(against))
    if over == "some":
        return PartP(_bonferroni(p), float(against.max()))
    return PartP(float(p[0]), float(against[0]))


def claim_p_values(parts: Sequence[PartP]) -> ClaimP:
    """Combine the p-values of a claim's primary parts, all of which the claim requires.

    Parameters
    ----------
    parts : sequence of PartP
        One per primary part.

    Returns
    -------
    ClaimP
        Largest support over the parts, without a correction (intersection-union); contradiction adjusted by Holm.

    Examples
    --------
    >>> claim_p_values([PartP(0.001, 1.0), PartP(0.9, 0.01)])
    ClaimP(support=0.9, contradiction=(1.0, 0.02))
    """
    if not parts:
        return ClaimP(1.0, ())
    adjusted = adjust(_filled([part.contradiction for part in parts]), "holm")
    return ClaimP(float(_filled([part.support for part in parts]).max()), tuple(adjusted.tolist()))


def _filled(p_values: ArrayLike) -> NDArray[np.float64]:
    values = np.atleast_1d(np.asarray(p_values, dtype=np.float64))
    filled: NDArray[np.float64] = np.where(np.isnan(values), 1.0, values)
    return filled


def _bonferroni(p_values: NDArray[np.float64]) -> float:
    return min(1.0, len(p_values) * float(p_values.min()))
