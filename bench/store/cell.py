"""One cell of a study, read from its store without a frame: what ``prunebench show`` prints."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bench.core.errors import UserError
from bench.core.types import AXES, BASELINE
from bench.store import schema
from bench.store.database import Store, open_store
from bench.store.tables import PLAN, ROWS, pick_study

#: Evaluations of a search; a smaller budget is shown with every score that it found (METHODS section 3).
FULL_BUDGET = 600

#: A shorter beginning of a cell id is taken as a position.
MIN_ID = 6

#: Python type of a value; the driver of SQLite returns a boolean as 0 or 1, and a whole number where JSON has one.
_PYTHON = {"text": str, "integer": int, "real": float, "boolean": bool}
_SHOWN = [column for column in schema.ROWS if column.name != "correct"]


def read_cell(folder: Path, name: str, profile: str | None = None) -> dict[str, Any]:
    """Return all columns of one cell, without the correctness bits.

    Parameters
    ----------
    folder : Path
        Study folder.
    name : str
        Beginning of a cell id, or the cell's position.
    profile : str, optional
        Profile whose plan is meant; default the one run last.

    Returns
    -------
    dict
        The columns of `schema.ROWS` and `schema.DERIVED`, as the cell's row of `bench.store.reader.read_database` has
        them, with None for a missing value.

    Raises
    ------
    UserError
        If no cell, or more than one, is meant.
    """
    with closing(open_store(folder)) as store, store.transaction() as connection:
        study_hash = pick_study(connection, folder, profile)["study_hash"]
        planned = sa.select(PLAN.c.cell).where(PLAN.c.study_hash == study_hash).order_by(PLAN.c.position)
        ids = [cell for (cell,) in store.fetch(connection, planned)]
        cell = ids[pick_cell(name, ids)]
        return _read_row(store, connection, study_hash, cell)


def read_history(folder: Path, group: str) -> dict[str, list[float]]:
    """Return how the dense model of a group was trained, epoch by epoch.

    Parameters
    ----------
    folder : Path
        Study folder.
    group : str
        Group id.

    Returns
    -------
    dict
        ``loss`` (mean training loss, nats) and ``lr`` (learning rate of the last step), one value per epoch. Empty for
        a given checkpoint and where no model was stored; models of earlier versions have no ``lr``.

    Raises
    ------
    UserError
        If the store's text is damaged.
    """
    with closing(open_store(folder)) as store:
        found = next((row["history"] for row in store.dense_models() if row["group"] == group), None)
    history = json.loads(found) if found else {}
    if not _is_history(history):
        raise UserError(
            f"{folder}: the training history of group {group[:12]} in the store is damaged; put a copy of results.db "
            f"in its place, or make a new study folder"
        )
    return dict(history)


def _is_history(value: Any) -> bool:
    """Whether a value maps names to lists of numbers of one length."""
    if not isinstance(value, dict) or not all(isinstance(values, list) for values in value.values()):
        return False
    numbers = all(isinstance(number, int | float) for values in value.values() for number in values)
    return numbers and len({len(values) for values in value.values()}) <= 1


def pick_cell(name: str, ids: list[str]) -> int:
    """Return the position of the cell that `name`, the beginning of an id or a position, means.

    Examples
    --------
    >>> pick_cell("1", ["aaaaaaaa", "bbbbbbbb"]), pick_cell("aaaaaa", ["aaaaaaaa", "bbbbbbbb"])
    (1, 0)
    """
    found = [i for i, cell in enumerate(ids) if len(name) >= MIN_ID and cell.startswith(name)]
    if not found and name.isdecimal() and int(name) < len(ids):
        return int(name)
    if len(found) != 1:
        problem = "several cells begin" if found else "no cell begins"
        raise UserError(
            f"{problem} with {name!r}; give a position from 0 to {len(ids) - 1} or at least {MIN_ID} "
            f"characters of a cell id"
        )
    return found[0]


def search_label(search: str, notes: Iterable[str]) -> str:
    """Return the label of a search with its budget in words, where that is small; equal weights have none.

    Parameters
    ----------
    search : str
        Label of the search.
    notes : iterable of str
        JSON notes of the rows that have this search: the budget belongs to the label, so that any of them has it.

    Examples
    --------
    >>> search_label("dbo(evaluations=60)", ['{"search": {"budget": 60}}'])
    'dbo (60 evaluations)'
    """
    if search.partition("(")[0] == "equal":
        return search
    budget = next((found["budget"] for found in (json.loads(n).get("search") for n in notes) if found), FULL_BUDGET)
    if budget >= FULL_BUDGET:
        return search
    plain = re.sub(r"evaluations=\d+(, )?", "", search).replace(", )", ")").replace("()", "")
    return f"{plain} ({budget} evaluation{'' if budget == 1 else 's'})"


def _read_row(store: Store, connection: sa.Connection, study_hash: str, cell: str) -> dict[str, Any]:
    """Join one cell's axes with its outcome, and derive the other columns from the rows of its group."""
    mine = PLAN.c.study_hash == study_hash
    found = store.fetch(connection, sa.select(PLAN.c.position, PLAN.c.axes).where(mine, PLAN.c.cell == cell))
    [(position, text)] = found
    axes = {**_newer_axes(), **{key: value for key, value in json.loads(text).items() if value is not None}}
    names = [column.name for column in _SHOWN if column in schema.OUTCOME]
    stored = store.fetch(connection, sa.select(*(ROWS.c[name] for name in names)).where(ROWS.c.cell == cell))
    outcome = dict(zip(names, stored[0], strict=True)) if stored else {}
    values = {**axes, **outcome, "cell": cell, "position": position}
    row = {column.name: _plain(values.get(column.name), column.kind) for column in _SHOWN}
    query = (
        sa.select(PLAN.c.axes, ROWS.c.cell, ROWS.c.state, ROWS.c.evaluation, ROWS.c.accuracy, ROWS.c.notes)
        .select_from(PLAN.join(ROWS, ROWS.c.cell == PLAN.c.cell))
        .where(mine, ROWS.c.group == row["group"])
        .order_by(PLAN.c.position)
    )
    keys = ("cell", "state", "evaluation", "accuracy", "notes")
    rows = [
        {**json.loads(text), **dict(zip(keys, rest, strict=True))} for text, *rest in store.fetch(connection, query)
    ]
    return {**row, **_derive(row, rows)}


def _newer_axes() -> dict[str, Any]:
    """Return the axes that stores of earlier versions lack, at their default."""
    return {axis.name: axis.default[0] for axis in AXES if axis.newer and axis.default}


def _plain(value: Any, kind: str) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return _PYTHON[kind](value)


def _derive(row: Mapping[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the columns of `schema.DERIVED`, as `bench.store.reader.derive` does for all rows of a study.

    Parameters
    ----------
    row : mapping
        The cell.
    rows : list of dict
        The axes, state, evaluation, accuracy and notes of its group's cells that have a row, in the order of the plan.
    """
    done = [other for other in rows if other["state"] == "done" and other["evaluation"] is not None]
    shared = None
    if row["state"] == "done" and row["evaluation"] is not None:
        shared = next(other["cell"] for other in done if other["evaluation"] == row["evaluation"])
    dense = (other for other in done if all(other[name] == value for name, value in BASELINE.items()))
    search, method = row["search"], row["scorer"]
    if search is not None and search != "none":
        notes = [other["notes"] for other in rows if other["search"] == search and other["notes"] is not None]
        method = f"{method} + {search_label(search, notes)}"
    return {
        "method": method,
        "shared_with": None if shared == row["cell"] else shared,
        "dense_accuracy": next((other["accuracy"] for other in dense), None),
    }
