"""The sample of cells that is evaluated again, as a check of shared evaluations and of the precision."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bench.core.identity import digest
from bench.core.types import Cell, Check, CheckKind

#: Share and least number of the cells that are really evaluated again.
CHECKED_SHARE = 0.02
LEAST_SHARED_CHECKS = 20
LEAST_FLOAT32_CHECKS = 2


def recheck(
    chosen: Iterator[tuple[CheckKind, Cell]],
    rows: Mapping[str, Mapping[str, Any]],
    finished: Collection[tuple[str, str]],
    evaluate: Callable[[Cell, str], Mapping[str, Any]],
) -> Iterator[Check]:
    """Evaluate cells again and count the test images whose correctness differs from the row.

    Parameters
    ----------
    chosen : iterator of (kind, cell)
        From `cells_to_check`.
    rows : mapping
        Cell id -> done row.
    finished : collection of (cell, kind)
        Checks of an earlier run, which are not repeated.
    evaluate : callable
        ``(cell, precision)`` -> the columns of an evaluation whose masks and model are made anew.

    Yields
    ------
    Check
        One per cell, in the order of `chosen`.
    """
    for kind, cell in chosen:
        if (cell.id, kind) in finished:
            continue
        yield check_cell(cell, kind, rows[cell.id], evaluate)


def check_cell(
    cell: Cell, kind: CheckKind, row: Mapping[str, Any], evaluate: Callable[[Cell, str], Mapping[str, Any]]
) -> Check:
    """Evaluate one cell again; see `recheck`."""
    again = evaluate(cell, "float32" if kind == "float32" else cell.precision)
    first, second = (
        np.unpackbits(np.frombuffer(bits, np.uint8), count=row["n_test"]) for bits in (row["correct"], again["correct"])
    )
    return Check(cell, kind, again["accuracy"], int((first != second).sum()))


def cells_to_check(
    cells: Sequence[Cell],
    rows: Mapping[str, Mapping[str, Any]],
    groups: int,
    precision: str,
    complete: Collection[str],
) -> Iterator[tuple[CheckKind, Cell]]:
    """Choose the cells by hashes of their ids: whatever the order of runs, they are the same.

    Parameters
    ----------
    cells : sequence of Cell
        The group's, in plan order.
    rows : mapping
        Cell id -> done row; cells without one are left out.
    groups : int
        Number of groups of the study; the least number of checks is spread over them.
    precision : str
        Of the study's evaluations.
    complete : collection of str
        Names of the recalibrations that replace all statistics (`Method.complete`).

    Yields
    ------
    kind, cell
        In plan order. ``shared``: a cell whose accuracy came from another one with the same mask set. ``float32``,
        in a study of another precision: a sample, and every cell on which the cancellation identity is judged.
    """
    cells = [cell for cell in cells if cell.id in rows]
    shared = _sample(_sharing(cells, rows), "shared", -(-LEAST_SHARED_CHECKS // groups))
    exact = [*_sample(cells, "float32", LEAST_FLOAT32_CHECKS), *_judged_for_cancellation(cells, complete)]
    chosen: dict[CheckKind, set[str]] = {
        "shared": {cell.id for cell in shared},
        "float32": {cell.id for cell in exact} if precision != "float32" else set(),
    }
    for cell in cells:
        for kind, ids in chosen.items():
            if cell.id in ids:
                yield kind, cell


def _sharing(cells: Sequence[Cell], rows: Mapping[str, Mapping[str, Any]]) -> list[Cell]:
    """Cells whose evaluation belongs to an earlier cell of the plan."""
    seen: set[str] = set()
    sharing = []
    for cell in cells:
        evaluation = rows[cell.id]["evaluation"]
        if evaluation in seen:
            sharing.append(cell)
        seen.add(evaluation)
    return sharing


def _sample(cells: Sequence[Cell], kind: str, least: int) -> list[Cell]:
    count = max(least, round(CHECKED_SHARE * len(cells)))
    return sorted(cells, key=lambda cell: digest([kind, cell.id]))[:count]


def _judged_for_cancellation(cells: Sequence[Cell], complete: Collection[str]) -> list[Cell]:
    """Return the cells of blocks that compare several corrections under a complete recalibration."""
    blocks: dict[Any, list[Cell]] = {}
    for cell in (cell for cell in cells if cell.recalibration.name in complete and not cell.is_dense):
        key = (cell.calibration, cell.granularity, cell.scorer.label, cell.search.label, cell.sparsity,
               cell.allocation.label if cell.allocation else None, cell.recalibration.label)  # fmt: skip
        blocks.setdefault(key, []).append(cell)
    return [cell for block in blocks.values() if len({c.correction.label for c in block}) > 1 for cell in block]
