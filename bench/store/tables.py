"""The tables of a store, and what is read and written in one transaction: functions of a connection."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bench.core.errors import UserError, suggest
from bench.store import schema

#: Key of the meta table under which a run stores which process it is.
HOLDER = "holder"
#: Begins the key under which the meta table notes that a group's checks and alignment are complete.
CHECKED = "checked"


def _table(metadata: sa.MetaData, name: str, columns: Iterable[schema.Column], keys: tuple[str, ...]) -> sa.Table:
    return sa.Table(
        name, metadata, *(sa.Column(c.name, getattr(sa, c.type.database), primary_key=c.name in keys) for c in columns)
    )


METADATA = sa.MetaData()
#: The outcome of each cell, and its group, by which a resume finds its rows; the other axes are in `PLAN`. Stores of
#: earlier versions have a copy of the axes in more columns, which nothing reads.
ROWS = _table(
    METADATA, "rows", [c for c in schema.ROWS if c.name in ("cell", "group") or c in schema.OUTCOME], ("cell",)
)
CHECKS = _table(METADATA, "checks", schema.CHECKS, ("cell", "kind"))
DENSE = _table(METADATA, "dense", schema.DENSE, ("group",))
META = sa.Table("meta", METADATA, sa.Column("key", sa.Text, primary_key=True), sa.Column("value", sa.Text))
STUDIES = sa.Table(
    "studies", METADATA,
    sa.Column("study_hash", sa.Text, primary_key=True),
    *(sa.Column(name, sa.Text) for name in ("name", "description", "profile", "study", "claims_hash", "registered")),
    *(sa.Column(name, sa.Text) for name in ("last_run", "provenance", "counters")),
)  # fmt: skip
#: The cells of a study in their order, and the axes of each as JSON (labels belong to the study: two studies may share
#: a cell under two labels). Known from the first run on, so that `status` needs no models.
PLAN = sa.Table(
    "plan", METADATA,
    sa.Column("study_hash", sa.Text, primary_key=True),
    sa.Column("cell", sa.Text, primary_key=True),
    sa.Column("position", sa.Integer),
    sa.Column("axes", sa.Text),
)  # fmt: skip
RUNS = sa.Table(
    "runs", METADATA,
    sa.Column("run", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("study_hash", sa.Text),
    sa.Column("pid", sa.Integer),
    sa.Column("host", sa.Text),
    sa.Column("started", sa.Text),
    sa.Column("ended", sa.Text),
    sa.Column("before", sa.Integer),
)  # fmt: skip
#: Records of a study's methods (`bench.store.methods`).
METHODS = sa.Table(
    "methods", sa.MetaData(),
    sa.Column("study_hash", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("position", sa.Integer),
    sa.Column("record", sa.Text),
)  # fmt: skip
METHODS.to_metadata(METADATA)


def now() -> str:
    """UTC time, ISO 8601, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class NothingRun(UserError):  # noqa: N818 - no error for a first run
    """No run has written anything there yet."""


def pick_study(connection: sa.Connection, folder: Path, profile: str | None) -> dict[str, Any]:
    """Return the study that was run last, or last with a profile: the columns of `STUDIES`.

    Raises
    ------
    UserError
        If none was.
    """
    studies = list(connection.execute(sa.select(STUDIES).order_by(STUDIES.c.last_run.desc())).mappings())
    if profile is not None:
        names = [str(study["profile"]) for study in studies]
        studies = [study for study in studies if study["profile"] == profile]
        if not studies:
            raise UserError(f"{folder}: profile {profile!r} was never run: {suggest(profile, names)}")
    if not studies:
        raise NothingRun(f"{folder}: nothing has been run yet; `prunebench run {folder}` starts")
    return dict(studies[0])


def read_states(connection: sa.Connection) -> dict[str, str]:
    """Cell id -> state, of every cell that has a row."""
    return {row.cell: row.state for row in connection.execute(sa.select(ROWS.c.cell, ROWS.c.state))}


def replace_plan(connection: sa.Connection, study_hash: str, plan: list[tuple[str, int, str]]) -> None:
    """Put a plan in place of the old one, unless they are the same."""
    mine = PLAN.c.study_hash == study_hash
    known = connection.execute(sa.select(PLAN.c.cell, PLAN.c.position, PLAN.c.axes).where(mine)).all()
    if set(known) != set(plan):
        connection.execute(sa.delete(PLAN).where(mine))
        names = ("study_hash", "cell", "position", "axes")
        connection.execute(sa.insert(PLAN), [dict(zip(names, (study_hash, *row), strict=True)) for row in plan])


def is_registered_first(connection: sa.Connection, study_hash: str, claims_hash: str | None) -> bool:
    """Whether no cell of the study's plan was there before claims of this hash were registered."""
    planned = sa.select(PLAN.c.cell).where(PLAN.c.study_hash == study_hash)
    oldest = connection.execute(
        sa.select(sa.func.min(ROWS.c.written)).where(ROWS.c.cell.in_(planned), ROWS.c.state == "done")
    ).scalar()
    if oldest is None:
        return True
    earlier = sa.select(sa.func.min(STUDIES.c.registered)).where(STUDIES.c.claims_hash == claims_hash)
    registered = connection.execute(earlier).scalar()
    return registered is not None and registered <= oldest


def after_all_rows(connection: sa.Connection) -> str:
    """Return the time, but one after that of every row that is there: the clock may have been put back."""
    newest: str | None = connection.execute(sa.select(sa.func.max(ROWS.c.written))).scalar()
    if newest is None:
        return now()
    return max(now(), (datetime.fromisoformat(newest) + timedelta(milliseconds=1)).isoformat(timespec="milliseconds"))


def join_provenance(first: str | None, now_found: str | None) -> str | None:
    """Provenance of the first run, with that of a later run where it differs."""
    if first is None or now_found is None:
        return first or now_found
    kept, found = json.loads(first), json.loads(now_found)
    later = kept.pop("later_runs", [])
    if found != kept and found not in later:
        later.append(found)
    return json.dumps({**kept, "later_runs": later} if later else kept)


def replace_row(connection: sa.Connection, table: sa.Table, values: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    """Insert a row in place of the one with the same keys."""
    connection.execute(sa.delete(table).where(*(table.c[key] == values[key] for key in keys)))
    connection.execute(sa.insert(table), dict(values))  # values apart: the statement is compiled once
