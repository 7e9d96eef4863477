"""How far a run is: counted in the store, so safe at any time, and quick (no frame is made)."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bench.store.database import open_store
from bench.store.dense_accuracy import stored_dense_warnings
from bench.store.tables import PLAN, ROWS, now, pick_study

#: Added to positions, so that all have as many digits.
_FIRST = 10**9


def read_status(folder: Path, profile: str | None = None) -> dict[str, Any]:
    """Count the cells of a study by state.

    Returns
    -------
    dict
        ``cells``, ``done``, ``failed``, ``skipped``, ``running``, ``todo`` (numbers of cells), ``rate``
        (cells per second of the present run, or None), ``seconds_left``, ``activity`` (a sentence),
        ``failures`` and ``skips`` (reason, count, first cell), ``warnings`` (about dense models, a line each).

    Raises
    ------
    UserError
        If nothing was run there.
    """
    with closing(open_store(folder)) as store:
        with store.transaction() as connection:
            study = pick_study(connection, folder, profile)
            found = _count(connection, study["study_hash"])
            warnings = stored_dense_warnings(store, connection, study)
        run = store.last_run()
        active = run is not None and run["ended"] is None and store.database.is_running(run)
    counts: Counter[str] = Counter()
    for one in found:
        counts[one["state"] or "todo"] += one["count"]
    rate = left = None
    activity = "no run is going on"
    if run is not None and active:
        elapsed = (datetime.fromisoformat(now()) - datetime.fromisoformat(run["started"])).total_seconds()
        finished = counts["done"] + counts["skipped"] - run["before"] if run["study_hash"] == study["study_hash"] else 0
        activity = f"process {run['pid']} on {run['host']} runs since {run['started']}"
        if elapsed > 0 and finished > 0:
            rate = finished / elapsed
            left = (counts["todo"] + counts["running"]) / rate
            activity += f", {rate:.1f} cells/s, about {left / 60:.0f} min left"
    elif run is not None and run["ended"] is None:
        activity = "the last run was interrupted; `prunebench run` goes on"
    if not active:  # a killed run leaves one cell marked as running
        counts["todo"] += counts.pop("running", 0)
    return {
        "name": study["name"], "profile": study["profile"], "cells": counts.total(),
        **{state: counts[state] for state in ("done", "failed", "skipped", "running", "todo")},
        "rate": rate, "seconds_left": left, "activity": activity,
        "failures": _reasons(found, "failed"), "skips": _reasons(found, "skipped"), "warnings": warnings,
    }  # fmt: skip


def _count(connection: sa.Connection, study_hash: str) -> list[dict[str, Any]]:
    """Count the planned cells by state and reason, the most frequent first, with the first cell of each."""
    # the least of texts that begin with the position: to look the cell up by it would take as long again
    first = sa.func.min(sa.cast(PLAN.c.position + _FIRST, sa.Text) + PLAN.c.cell)
    query = (
        sa.select(ROWS.c.state, ROWS.c.reason, sa.func.count(), first)
        .select_from(PLAN.outerjoin(ROWS, ROWS.c.cell == PLAN.c.cell))
        .where(PLAN.c.study_hash == study_hash)
        .group_by(ROWS.c.state, ROWS.c.reason)
    )
    groups = sorted(connection.execute(query), key=lambda group: (-group[2], group[3]))
    return [
        {"state": state, "reason": reason, "count": count, "cell": cell[len(str(_FIRST)) :]}
        for state, reason, count, cell in groups
    ]


def _reasons(found: list[dict[str, Any]], state: str) -> list[dict[str, Any]]:
    return [{key: one[key] for key in ("reason", "count", "cell")} for one in found if one["state"] == state]
