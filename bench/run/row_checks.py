"""Comparison of finished rows with the plan of their study, and with their own correctness bits."""

from __future__ import annotations

import pandas as pd

from bench.core.errors import UserError
from bench.core.types import AXIS_NAMES
from bench.store.correctness import share_correct
from bench.store.reader import planned_rows
from bench.study.plan import Plan, axis_values

#: Columns of a row that its place in the plan determines.
_PLANNED = ("group", *AXIS_NAMES, "precision")


def check_rows(rows: pd.DataFrame, plan: Plan) -> dict[str, str]:
    """Compare all done rows with the plan and with themselves; nothing is computed again.

    Parameters
    ----------
    rows : DataFrame
        The columns of `schema.ROWS`.
    plan : Plan
        Of the study.

    Returns
    -------
    dict
        Cell id -> problem: the row is not in the plan, has other axes there, has no correctness bits, or its
        accuracy is not their share.

    Raises
    ------
    UserError
        If no row is done, or none of the done rows is in the plan.
    """
    done = rows[rows["state"].eq("done")].set_index("cell")
    if done.empty:
        raise UserError("no cell is done, so that there is nothing to audit; `prunebench run` computes the cells")
    planned = planned_rows({**axis_values(cell), "cell": cell.id} for cell in plan.cells()).set_index("cell")
    known = done.index.isin(planned.index)
    if not known.any():
        raise UserError(
            "none of the rows is in the plan of study.yaml: the study, its data or a method's version is not the one "
            "that was run; audit with the files and the version of prunebench that made the rows"
        )
    problems = dict.fromkeys(done.index[~known], "is not in the plan of study.yaml")
    ours = done[known]
    theirs = planned.loc[ours.index]
    for name in _PLANNED:
        unequal = ours[name].ne(theirs[name]).fillna(True) & ~(ours[name].isna() & theirs[name].isna())
        unlike = unequal.astype(bool)
        for cell, own, other in zip(ours.index[unlike], ours[name][unlike], theirs[name][unlike], strict=True):
            problems.setdefault(cell, f"{name} is {own}, in the plan {other}")
    columns = [done[name] for name in ("correct", "n_test", "accuracy")]
    for cell, correct, images, accuracy in zip(done.index, *columns, strict=True):
        share = share_correct(correct, images)
        if share is None:
            problems.setdefault(cell, "has no correctness bits, or damaged ones")
        elif share != accuracy:
            problems.setdefault(cell, f"accuracy is {percent(accuracy)}, its correctness bits give {percent(share)}")
    return problems


def percent(accuracy: float) -> str:
    """Return an accuracy as a percentage.

    Examples
    --------
    >>> percent(0.9425)
    '94.25 %'
    """
    return f"{100 * accuracy:.4g} %"
