"""How far a run is, and what one cell holds: read from the store alone, so safe at any time."""

from __future__ import annotations

import socket
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

from bench.errors import UserError
from bench.store.database import DATABASE_FILE, Store, now
from bench.store.reader import read_database

#: A shorter beginning of a cell id is taken as a position.
MIN_ID = 6


def read_status(folder: Path, profile: str | None = None) -> dict[str, Any]:
    """Count the cells of a study by state.

    Returns
    -------
    dict
        ``cells``, ``done``, ``failed``, ``skipped``, ``running``, ``todo`` (numbers of cells), ``rate``
        (cells per second of the present run, or None), ``seconds_left``, ``activity`` (a sentence),
        ``failures`` and ``skips`` (reason, count, first cell).

    Raises
    ------
    UserError
        If nothing was run there.
    """
    data = read_database(folder, profile)
    states = data.rows["state"].value_counts()
    counts = {state: int(states.get(state, 0)) for state in ("done", "failed", "skipped", "running")}
    todo = len(data.rows) - sum(counts.values())
    store = Store(folder / DATABASE_FILE)
    try:
        run = store.last_run()
        rows = len(store.states())
    finally:
        store.close()
    active = (
        run is not None
        and run["ended"] is None
        and run["host"] == socket.gethostname()
        and psutil.pid_exists(run["pid"])
    )
    rate = left = None
    activity = "no run is going on"
    if run is not None and active:
        elapsed = (datetime.fromisoformat(now()) - datetime.fromisoformat(run["started"])).total_seconds()
        finished = rows - run["before"] - counts["running"]
        activity = f"process {run['pid']} on {run['host']} runs since {run['started']}"
        if elapsed > 0 and finished > 0:
            rate = finished / elapsed
            left = (todo + counts["running"]) / rate
            activity += f", {rate:.1f} cells/s, about {left / 60:.0f} min left"
    elif run is not None and run["ended"] is None:
        activity = "the last run was interrupted; `prunebench run` goes on"
    if not active:  # a killed run leaves one cell marked as running
        todo, counts["running"] = todo + counts["running"], 0
    return {
        "name": data.meta["name"], "profile": data.meta["profile"], "cells": len(data.rows), **counts, "todo": todo,
        "rate": rate, "seconds_left": left, "activity": activity,
        "failures": _reasons(data.rows, "failed"), "skips": _reasons(data.rows, "skipped"),
    }  # fmt: skip


def _reasons(rows: pd.DataFrame, state: str) -> list[dict[str, Any]]:
    """Group the rows of one state by reason, the most frequent first."""
    chosen = rows[rows["state"].eq(state)]
    groups = chosen.groupby("reason", sort=False)["cell"].agg(["size", "first"])
    ordered = groups.sort_values("size", ascending=False, kind="stable")
    return [
        {"reason": reason, "count": int(count), "cell": first} for reason, count, first in ordered.itertuples(name=None)
    ]


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

    Raises
    ------
    UserError
        If no cell, or more than one, is meant.
    """
    rows = read_database(folder, profile).rows
    position = pick_cell(name, rows["cell"].tolist())
    row = rows.drop(columns="correct").iloc[position]
    return {str(key): None if pd.isna(value) else value for key, value in row.items()}


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
