"""Read a study's evidence as frames; the only door through which the analysis sees the store."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
import sqlalchemy as sa

from bench.core.method import Method
from bench.core.types import AXES, BASELINE, Axis
from bench.store import schema
from bench.store.cell import search_label
from bench.store.compact import read_compact
from bench.store.database import Store, open_store
from bench.store.files import Artifacts, arrow_schema, typed
from bench.store.methods import earlier_methods, read_methods
from bench.store.registration import REGISTRATION
from bench.store.tables import CHECKS, DENSE, PLAN, ROWS, pick_study

_AXES = arrow_schema(column for column in schema.AXES if column.name != "position")


def empty(columns: tuple[schema.Column, ...]) -> pd.DataFrame:
    """Return a frame of these columns and no row."""
    return typed(pd.DataFrame(columns=[c.name for c in columns]), columns)


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
        ``registered``, ``settings``, ``provenance``, ``counters``, ``schema`` (version that the rows were written
        with), ``compact`` (records of compact networks) if there are any, and ``registration``
        (`bench.store.registration.Record`) if the study is registered.
    curves : DataFrame
        The columns of `schema.CURVES`; empty where the study has no feature scorer.
    alignment, units : DataFrame
        The columns of `schema.ALIGNMENT` and `schema.UNITS`, of the groups that are complete. Like the curves they
        are no part of the database.
    recorded : tuple of Method
        Records of the study's methods; none where it was registered before these were stored.
    """

    rows: pd.DataFrame
    checks: pd.DataFrame
    dense: pd.DataFrame
    meta: Mapping[str, Any]
    curves: pd.DataFrame = field(default_factory=partial(empty, schema.CURVES))
    alignment: pd.DataFrame = field(default_factory=partial(empty, schema.ALIGNMENT))
    units: pd.DataFrame = field(default_factory=partial(empty, schema.UNITS))
    recorded: tuple[Method, ...] = ()

    @property
    def methods(self) -> tuple[Method, ...]:
        """Records of methods: the study's own or, where it has none, those of the catalogue at that time."""
        return self.recorded or earlier_methods()


def read_database(folder: Path, profile: str | None = None) -> StudyData:
    """Read the evidence of the study that was run last in `folder`, or of one of its profiles.

    Raises
    ------
    UserError
        If nothing was run there, or not with that profile.
    """
    with closing(open_store(folder)) as store:
        with store.transaction() as connection:
            study = pick_study(connection, folder, profile)
            frame = _read_rows(store, connection, study["study_hash"])
            checks = _read(store, connection, CHECKS, schema.CHECKS).sort_values(["cell", "kind"])
            dense = _read(store, connection, DENSE, schema.DENSE)
            recorded = read_methods(connection, study["study_hash"])
        settings = json.loads(store.meta("settings") or "{}")
        registration = json.loads(store.meta(REGISTRATION) or "null")
    meta = {name: study[name] for name in ("name", "description", "profile", "study_hash", "claims_hash", "registered")}
    meta |= {name: json.loads(study[name] or "{}") for name in ("study", "provenance", "counters")}
    meta["schema"] = store.schema
    compact = [one.model_dump(mode="json") for one in read_compact(folder) if one.cell in set(frame["cell"])]
    meta |= {"compact": compact} if compact else {}
    meta |= {REGISTRATION: registration} if registration is not None else {}
    return StudyData(
        rows=frame,
        checks=checks[checks["cell"].isin(frame["cell"])].reset_index(drop=True),
        dense=dense[dense["group"].isin(frame["group"])]
        .sort_values(["dataset", "model", "train_seed"], ignore_index=True),
        meta={**meta, "settings": settings},
        recorded=recorded,
    )  # fmt: skip


def read_tables(folder: Path, kind: str, study_hash: str, groups: Iterable[str]) -> Iterator[tuple[str, pa.Table]]:
    """Read the tables of one kind that runs of a study wrote, each with the place where it lies.

    Parameters
    ----------
    folder : Path
        Study folder.
    kind : str
        ``curves``, ``alignment`` or ``units``.
    study_hash : str
        Its table is ``KIND/STUDY_HASH.parquet``.
    groups : iterable of str
        Their tables are ``KIND/STUDY_HASH/GROUP.parquet``.

    Raises
    ------
    UserError
        If a table is damaged, or the artifacts cannot be reached.
    """
    artifacts = Artifacts.of(folder)
    there = set(artifacts.names(kind))
    for name in (f"{kind}/{study_hash}.parquet", *(f"{kind}/{study_hash}/{group}.parquet" for group in groups)):
        if name in there:
            yield artifacts.where(name), artifacts.read_table(name)


def _read_rows(store: Store, connection: sa.Connection, study_hash: str) -> pd.DataFrame:
    """Join the rows with the plan; a planned cell without a row keeps its axes and a null state."""
    planned = sa.select(PLAN.c.position, PLAN.c.axes).where(PLAN.c.study_hash == study_hash)
    axes = _read_plan(store, connection, planned)
    columns = tuple(column for column in schema.ROWS if column.name == "cell" or column in schema.OUTCOME)
    outcome = _read(store, connection, ROWS, columns)
    frame = axes.merge(outcome, on="cell", how="left")[[column.name for column in schema.ROWS]]
    return derive(typed(frame, schema.ROWS))


def _read(store: Store, connection: sa.Connection, table: sa.Table, columns: tuple[schema.Column, ...]) -> pd.DataFrame:
    names = [column.name for column in schema.known(columns, store.schema)]
    found = store.fetch(connection, sa.select(*(table.c[name] for name in names)))
    frame = pd.DataFrame(found, columns=names, dtype="object")
    return typed(frame.reindex(columns=[column.name for column in columns]), columns)


def _read_plan(store: Store, connection: sa.Connection, planned: sa.Select[Any]) -> pd.DataFrame:
    """Return the columns of `schema.AXES` in the order of the plan; Arrow parses the JSON of all cells at once."""
    found = sorted(store.fetch(connection, planned))
    lines = "\n".join(axes for _, axes in found).encode()
    options = pj.ParseOptions(explicit_schema=_AXES, unexpected_field_behavior="ignore")
    table = pj.read_json(pa.BufferReader(lines), parse_options=options) if found else _AXES.empty_table()
    table = with_newer_axes(table)
    return pd.DataFrame(table.to_pandas(integer_object_nulls=True)).assign(position=[place for place, _ in found])


def with_newer_axes(table: pa.Table, axes: Iterable[Axis] = AXES) -> pa.Table:
    """Return the rows of an earlier version with the axes that were added since, at their default.

    Examples
    --------
    >>> axis = Axis("noise", "noises", "evaluation", "-", "standard deviation", "real", default=(0.0,), newer=True)
    >>> with_newer_axes(pa.table({"cell": ["a", "b"]}), [axis])["noise"].to_pylist()
    [0.0, 0.0]
    >>> with_newer_axes(pa.table({"noise": pa.array([None, 0.5])}), [axis])["noise"].to_pylist()
    [0.0, 0.5]
    """
    for axis in axes:
        if axis.newer and axis.default:
            default = pa.scalar(axis.default[0], pa.type_for_alias(schema.TYPES[axis.kind].arrow))
            if axis.name in table.column_names:
                place = table.column_names.index(axis.name)
                table = table.set_column(place, axis.name, pc.fill_null(table[axis.name], default))
            else:
                table = table.append_column(axis.name, pa.repeat(default, len(table)))
    return table


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
    dense = rows[done & rows[list(BASELINE)].eq(pd.Series(BASELINE)).all(axis=1)]
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
    shown = {str(search): search_label(str(search), notes) for search, notes in own.groupby("search")["notes"]}
    search = rows["search"].map(lambda label: shown.get(label, label))
    return rows["scorer"].where(~searched, rows["scorer"] + " + " + search)
