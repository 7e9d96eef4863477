"""Taking over the rows of another store of the same study, as when two machines ran a part each."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bench.core.errors import UserError
from bench.store.database import Store, open_store
from bench.store.files import Artifacts
from bench.store.registration import REGISTRATION, Record
from bench.store.tables import (
    CHECKED,
    CHECKS,
    DENSE,
    META,
    PLAN,
    ROWS,
    STUDIES,
    join_provenance,
    read_states,
    replace_row,
)

FINISHED = ("done", "skipped")


def merge_study(folder: Path, store: Store, study_hash: str, other: Path) -> int:
    """Take over what another folder's store holds of a study and this one lacks.

    Finished cells come with their checks, dense models, counters and provenance; where the other store did not
    register the same claims before its own cells, the study counts as not registered. Merging twice adds nothing.

    Parameters
    ----------
    folder, store
        This study's, already registered.
    study_hash : str
        Of the study that was planned here; the other store must hold the same one.
    other : Path
        The other study folder.

    Returns
    -------
    int
        Cells taken over.

    Raises
    ------
    UserError
        If the other folder has no store, or one of another study, schema, other settings or other dense models.
    """
    with closing(open_store(other)) as theirs:
        if theirs.schema != store.schema:
            raise UserError(
                f"{other}: was written with store schema {theirs.schema}, this study with {store.schema}: their "
                f"speed-ups are defined differently; run the study again instead of merging"
            )
        if theirs.place == store.place or other.resolve() == folder.resolve():
            raise UserError(f"{other}: its rows lie in {store.place}, as this study's do; there is nothing to merge")
        mine_kept, kept = _settings(store), _settings(theirs)
        differing = [name for name in sorted(kept.keys() | mine_kept.keys()) if kept.get(name) != mine_kept.get(name)]
        if differing:
            named = ", ".join(f"{name} {kept.get(name)} there, {mine_kept.get(name)} here" for name in differing)
            raise UserError(
                f"{other}: ran with other execution settings than this study ({named}); the rows are not comparable"
            )
        with theirs.transaction() as source:
            taken = store.repeat(lambda target: _merge(target, source, study_hash, other))
    mine, found = Artifacts.of(folder), Artifacts.of(other)
    for name in sorted(set(found.names()) - set(mine.names())):
        mine.write(name, found.read(name))
    return taken


def _settings(store: Store) -> dict[str, Any]:
    """Return the settings that rows depend on; what was measured to choose them is the machine's own."""
    return {name: value for name, value in json.loads(store.meta("settings") or "{}").items() if name != "measured"}


def _merge(target: sa.Connection, source: sa.Connection, study_hash: str, other: Path) -> int:
    mine, found = (
        connection.execute(sa.select(STUDIES).where(STUDIES.c.study_hash == study_hash)).mappings().first()
        for connection in (target, source)
    )
    if mine is None or found is None:
        raise UserError(f"{other}: holds no rows of this study (hash {study_hash[:12]}); the studies differ")
    planned = set(target.execute(sa.select(PLAN.c.cell).where(PLAN.c.study_hash == study_hash)).scalars())
    states = read_states(target)
    begun = set(target.execute(sa.select(ROWS.c.group).distinct()).scalars())
    rows = [
        dict(row)
        for row in source.execute(sa.select(ROWS).where(ROWS.c.state.in_(FINISHED))).mappings()
        if row["cell"] in planned and states.get(row["cell"]) not in FINISHED
    ]
    _refuse_other_models(target, source, other)
    unfinished = [{"taken": row["cell"]} for row in rows if row["cell"] in states]
    if unfinished:
        target.execute(sa.delete(ROWS).where(ROWS.c.cell == sa.bindparam("taken")), unfinished)
    if rows:
        target.execute(sa.insert(ROWS), rows)
    _copy_missing(target, source, DENSE, ("group",))
    _copy_missing(target, source, CHECKS, ("cell", "kind"))
    _join_registrations(target, source)
    _copy_missing(target, source, META, ("key",))
    _forget_checks(target, {row["group"] for row in rows} & begun, study_hash)
    _update_study(target, dict(mine), dict(found), other)
    return len(rows)


def _refuse_other_models(target: sa.Connection, source: sa.Connection, other: Path) -> None:
    query = sa.select(DENSE.c.group, DENSE.c.checkpoint)
    mine = {row.group: row.checkpoint for row in target.execute(query)}
    for group, checkpoint in source.execute(query):
        if mine.get(group, checkpoint) != checkpoint:
            raise UserError(
                f"{other}: its dense model {checkpoint[:12]} is {mine[group][:12]} here: rows of two models cannot be "
                f"mixed; take its cells from one of the two"
            )


def _join_registrations(target: sa.Connection, source: sa.Connection) -> None:
    """Note in this store's registration what the other store's runs found; without one here, none is imported."""
    query = sa.select(META.c.value).where(META.c.key == REGISTRATION)
    mine, theirs = (json.loads(connection.execute(query).scalar() or "null") for connection in (target, source))
    value = "null"
    if mine is not None:
        record = Record.model_validate(mine)
        value = (record if theirs is None else record.joined(Record.model_validate(theirs))).model_dump_json()
    if mine is not None or theirs is not None:
        replace_row(target, META, {"key": REGISTRATION, "value": value}, ("key",))


def _copy_missing(target: sa.Connection, source: sa.Connection, table: sa.Table, keys: tuple[str, ...]) -> None:
    columns = [table.c[key] for key in keys]
    there = {tuple(row) for row in target.execute(sa.select(*columns))}
    missing = [
        dict(row) for row in source.execute(sa.select(table)).mappings() if tuple(row[k] for k in keys) not in there
    ]
    if missing:
        target.execute(sa.insert(table), missing)


def _forget_checks(target: sa.Connection, groups: set[str], study_hash: str) -> None:
    """Have the next run make what is missing of the checks and the alignment of groups that both stores began."""
    keys = [{"gone": f"{CHECKED}:{study_hash}:{group}"} for group in groups]
    if keys:
        target.execute(sa.delete(META).where(META.c.key == sa.bindparam("gone")), keys)


def _update_study(target: sa.Connection, mine: dict[str, Any], found: dict[str, Any], other: Path) -> None:
    """Add what the other store's runs counted since the last merge, and their provenance."""
    key = f"merged:{mine['study_hash']}:{other.resolve()}"
    before = target.execute(sa.select(META.c.value).where(META.c.key == key)).scalar()
    total, theirs = Counter(json.loads(mine["counters"] or "{}")), Counter(json.loads(found["counters"] or "{}"))
    total.update(theirs)
    total.subtract(json.loads(before or "{}"))
    replace_row(target, META, {"key": key, "value": json.dumps(theirs)}, ("key",))
    target.execute(
        sa.update(STUDIES)
        .where(STUDIES.c.study_hash == mine["study_hash"])
        .values(
            counters=json.dumps(total),
            provenance=join_provenance(mine["provenance"], found["provenance"]),
            claims_hash=mine["claims_hash"] if mine["claims_hash"] == found["claims_hash"] else None,
        )
    )
