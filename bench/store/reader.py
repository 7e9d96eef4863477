"""Read a study's evidence as frames; the only door through which the analysis sees the store."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa

from bench.errors import UserError, suggest
from bench.store import schema
from bench.store.database import CHECKS, DATABASE_FILE, DENSE, PLAN, ROWS, STUDIES, Store

DTYPES = {"text": "object", "integer": "Int64", "real": "float64", "boolean": "boolean", "bytes": "object"}

#: Evaluations of a search; a smaller budget is said beside every score that it found (METHODS section 3).
FULL_BUDGET = 600


def empty(columns: tuple[schema.Column, ...]) -> pd.DataFrame:
    """Return a frame of these columns and no row."""
    return typed(pd.DataFrame(columns=[c.name for c in columns]), columns)


def typed(frame: pd.DataFrame, columns: tuple[schema.Column, ...]) -> pd.DataFrame:
    """Give every column the dtype of its kind."""
    return frame.astype({c.name: DTYPES[c.kind] for c in columns})


@dataclass(frozen=True)
class StudyData:
    """All that a report needs.

    Attributes
    ----------
    rows : DataFrame
        One row per planned cell: the columns of `schema.ROWS` and `schema.DERIVED`, ordered by position.
        A cell that was never run has a null `state`.
    checks, dense : DataFrame
        The columns of `schema.CHECKS` and `schema.DENSE`.
    meta : mapping
        Plain JSON values: ``name``, ``description``, ``study``, ``study_hash``, ``profile``, ``claims_hash``,
        ``registered``, ``settings``, ``provenance``, ``counters``.
    curves : DataFrame
        The columns of `schema.CURVES`; empty where the study has no feature scorer.
    alignment, units : DataFrame
        The columns of `schema.ALIGNMENT` and `schema.UNITS`, of the groups that are complete. Like the curves they
        are no part of the database.
    """

    rows: pd.DataFrame
    checks: pd.DataFrame
    dense: pd.DataFrame
    meta: Mapping[str, Any]
    curves: pd.DataFrame = field(default_factory=partial(empty, schema.CURVES))
    alignment: pd.DataFrame = field(default_factory=partial(empty, schema.ALIGNMENT))
    units: pd.DataFrame = field(default_factory=partial(empty, schema.UNITS))


def read_database(folder: Path, profile: str | None = None) -> StudyData:
    """Read the evidence of the study that was run last in `folder`, or of one of its profiles.

    Raises
    ------
    UserError
        If nothing was run there, or not with that profile.
    """
    store = Store(folder / DATABASE_FILE)
    try:
        with store.transaction() as connection:
            study = _pick_study(connection, folder, profile)
            planned = sa.select(PLAN).where(PLAN.c.study_hash == study["study_hash"]).order_by(PLAN.c.position)
            plan = pd.read_sql_query(planned, connection)
            rows = pd.read_sql_query(sa.select(ROWS), connection)
            checks = pd.read_sql_query(sa.select(CHECKS).order_by(CHECKS.c.cell, CHECKS.c.kind), connection)
            dense = pd.read_sql_query(sa.select(DENSE), connection)
        settings = json.loads(store.meta("settings") or "{}")
    finally:
        store.close()
    meta = {name: study[name] for name in ("name", "description", "profile", "study_hash", "claims_hash", "registered")}
    meta |= {name: json.loads(study[name] or "{}") for name in ("study", "provenance", "counters")}
    frame = _join(plan, rows)
    return StudyData(
        rows=frame,
        checks=checks[checks["cell"].isin(frame["cell"])].reset_index(drop=True),
        dense=typed(dense[dense["group"].isin(frame["group"])], schema.DENSE)
        .sort_values(["dataset", "model", "train_seed"], ignore_index=True),
        meta={**meta, "settings": settings},
    )  # fmt: skip


def _pick_study(connection: sa.Connection, folder: Path, profile: str | None) -> dict[str, Any]:
    studies = list(connection.execute(sa.select(STUDIES).order_by(STUDIES.c.last_run.desc())).mappings())
    if profile is not None:
        names = [str(study["profile"]) for study in studies]
        studies = [study for study in studies if study["profile"] == profile]
        if not studies:
            raise UserError(f"{folder}: profile {profile!r} was never run: {suggest(profile, names)}")
    if not studies:
        raise UserError(f"{folder}: nothing has been run yet; `prunebench run {folder}` starts")
    return dict(studies[0])


def _join(plan: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Lay the rows beside the plan; a planned cell without a row keeps its axes and a null state."""
    axes = pd.DataFrame([json.loads(text) for text in plan["axes"]], columns=[c.name for c in schema.AXES])
    axes["position"] = plan["position"]
    outcome = rows[["cell", *(c.name for c in schema.OUTCOME)]]
    return derive(typed(axes.merge(outcome, on="cell", how="left"), schema.ROWS))


def planned_rows(axes: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the rows of a plan of which nothing was run.

    Parameters
    ----------
    axes : iterable of mapping
        The columns of `schema.AXES` of every cell.
    """
    frame = pd.DataFrame(list(axes), columns=[c.name for c in schema.AXES])
    return derive(typed(frame.reindex(columns=[c.name for c in schema.ROWS]), schema.ROWS))


def derive(rows: pd.DataFrame) -> pd.DataFrame:
    """Add `schema.DERIVED`: the method's name, with which cell an evaluation is shared, the dense accuracy.

    Whoever was evaluated first in time, a cell shares with the first of the plan: the same
    answer after any order of runs.
    """
    done = rows["state"].eq("done") & rows["evaluation"].notna()
    first = rows[done].groupby("evaluation", sort=False)["cell"].transform("first")
    shared = first.where(first != rows.loc[done, "cell"])
    dense = rows[done & rows["scorer"].eq("dense") & rows["recalibration"].eq("none")]
    baseline = dense.drop_duplicates("group").set_index("group")["accuracy"]
    return rows.assign(
        method=method_names(rows),
        shared_with=shared.reindex(rows.index).astype("object"),
        dense_accuracy=rows["group"].map(baseline),
    )


def method_names(rows: pd.DataFrame) -> pd.Series:
    """Name what a row compares: its scorer and, where it has fusion weights, the search that found them.

    A search whose budget is under `FULL_BUDGET` has it in its name, so that no table or figure can leave it out.

    Examples
    --------
    >>> notes = ["{}", '{"search": {"budget": 60}}', '{"search": {"budget": 1}}']
    >>> searches = ["none", "dbo(evaluations=60)", "equal"]
    >>> method_names(pd.DataFrame({"scorer": ["l2", "v1", "v1"], "search": searches, "notes": notes})).tolist()
    ['l2', 'v1 + dbo (60 evaluations)', 'v1 + equal']
    """
    searched = rows["search"].notna() & rows["search"].ne("none")
    own = rows[searched & rows["notes"].notna()]
    shown = {str(search): _with_budget(str(search), notes) for search, notes in own.groupby("search")["notes"]}
    search = rows["search"].map(lambda label: shown.get(label, label))
    return rows["scorer"].where(~searched, rows["scorer"] + " + " + search)


def _with_budget(search: str, notes: pd.Series) -> str:
    """Return the label of a search with its budget in words, where that is small; equal weights have none."""
    if search.partition("(")[0] == "equal":
        return search
    # The budget belongs to the label, so that any row with a search tells it.
    budget = next((found["budget"] for found in (json.loads(n).get("search") for n in notes) if found), FULL_BUDGET)
    if budget >= FULL_BUDGET:
        return search
    plain = re.sub(r"evaluations=\d+(, )?", "", search).replace(", )", ")").replace("()", "")
    return f"{plain} ({budget} evaluation{'' if budget == 1 else 's'})"
