"""How many units to keep at a sparsity, exactly."""

from __future__ import annotations

from fractions import Fraction

from bench.core.errors import CellError


def keep_count(units: int, sparsity: float | None) -> int:
    """Return how many of `units` to keep: all but round-half-even(``sparsity * units``).

    The product is exact: `sparsity` is read as the decimal number that it prints as, so that 0.7 of 45
    is 31.5, not 31.499999999999996.

    Parameters
    ----------
    units : int
        Units that compete.
    sparsity : float
        Share to prune, in [0, 1).

    Raises
    ------
    CellError
        If the sparsity is missing or outside [0, 1).

    Examples
    --------
    >>> keep_count(10, 0.7), keep_count(5, 0.5), keep_count(45, 0.7)
    (3, 3, 13)
    """
    if sparsity is None or not 0 <= sparsity < 1:
        raise CellError(f"this allocation needs a sparsity in [0, 1), not {sparsity}")
    return units - round(Fraction(repr(float(sparsity))) * units)
