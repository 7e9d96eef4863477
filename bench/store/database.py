"""The store: one database per study, written by one run at a time.

Every write is one transaction, so a kill loses at most the cell in work. Others may read at any time.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa

from bench.core.errors import Held, UserError
from bench.store import schema
from bench.store.places import (
    DATABASE_FILE,
    PLACES_FILE,
    Places,
    is_begun,
    keep_places,
    read_places,
    refuse_other_places,
)
from bench.store.postgresql import PostgreSQL, study_url
from bench.store.sqlite import Sqlite
from bench.store.tables import (
    CHECKS,
    DENSE,
    HOLDER,
    META,
    METADATA,
    PLAN,
    ROWS,
    RUNS,
    STUDIES,
    NothingRun,
    after_all_rows,
    is_registered_first,
    join_provenance,
    now,
    read_states,
    replace_plan,
    replace_row,
)

_LOG = logging.getLogger(__name__)

#: Seconds that a run waits for a server that went away, and between two tries.
PATIENCE, PAUSE = 60.0, 0.5

P = ParamSpec("P")
T = TypeVar("T")


def _whole(method: Callable[Concatenate[Store, sa.Connection, P], T]) -> Callable[Concatenate[Store, P], T]:
    """Give a method its connection in one transaction (`Store.repeat`)."""

    @wraps(method)
    def repeated(self: Store, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.repeat(lambda connection: method(self, connection, *args, **kwargs))

    return repeated


def open_store(folder: Path, *, create: bool = False) -> Store:
    """Open the store of a study folder, in the place that its ``places.json`` names or in the folder.

    Parameters
    ----------
    folder : Path
        Study folder.
    create : bool
        Make the store if there is none; otherwise that is an error.

    Raises
    ------
    NothingRun
        If there is none.
    UserError
        If it cannot be reached, is no store or one of another schema number, or may not lie there.
    """
    url = read_places(folder).store
    return Store(Sqlite(folder / DATABASE_FILE) if url is None else PostgreSQL(url), folder, create=create)


def fix_places(folder: Path, requested: Places, study: str, study_hash: str) -> None:
    """Keep where a study's rows and artifacts shall lie, once its store could be made there.

    Parameters
    ----------
    folder : Path
        Study folder.
    requested : Places
        What the command line names.
    study : str
        The study's name, after which its schema in a database is named.
    study_hash : str
        The study's; it distinguishes studies of one name.

    Raises
    ------
    UserError
        If the study was begun elsewhere, the store cannot be made, or another study of that name is there.
    """
    if requested.store is not None:
        requested = replace(requested, store=study_url(requested.store, study))
        refuse_other_places(folder, requested)
        with closing(Store(PostgreSQL(str(requested.store)), folder, create=True)) as store:
            there, place = store.study_hashes(), store.place
        if there and study_hash not in there and not is_begun(folder):
            raise UserError(
                f"{place}: holds another study named {study!r}: set another `name` in study.yaml, or copy "
                f"{PLACES_FILE} from the folder of that study if this is the same one"
            )
    keep_places(folder, requested)


class Store:
    """Read and write a study's rows.

    Parameters
    ----------
    database : Sqlite or PostgreSQL
        Where they lie.
    folder : Path
        Study folder, for messages.
    create : bool
        Make the tables if absent; otherwise that is an error.

    Raises
    ------
    NothingRun
        If nothing was ever written there.
    UserError
        If it cannot be reached, is no store or one of another schema number, or is on a network file system.
    """

    def __init__(self, database: Sqlite | PostgreSQL, folder: Path, *, create: bool = False) -> None:
        self.database, self.place = database, database.place
        with ExitStack() as stack:
            stack.callback(self.close)
            with self._friendly_errors():
                if create:
                    self._create()
                there = create or database.exists()
            if not there:
                raise NothingRun(f"{self.place}: nothing has been run yet; `prunebench run {folder}` starts")
            self.schema = self._check_schema(writing=create)
            stack.pop_all()

    def _create(self) -> None:
        self.database.prepare()
        with self.database.engine.begin() as connection:
            self.database.begin_creation(connection)
            METADATA.create_all(connection)
            if connection.execute(sa.select(META).where(META.c.key == "schema")).first() is None:
                connection.execute(sa.insert(META).values(key="schema", value=str(schema.SCHEMA_VERSION)))

    def _check_schema(self, *, writing: bool) -> int:
        """Return the schema that the store was written with."""
        found = self.meta("schema") or "none"
        if found not in [str(number) for number in schema.READABLE]:
            raise UserError(
                f"{self.place}: has store schema {found}, this prunebench reads {schema.SCHEMA_VERSION}; "
                f"use the prunebench that wrote it, or move it away to start anew"
            )
        if writing and found != str(schema.SCHEMA_VERSION):
            raise UserError(self.outdated(found))
        return int(found)

    def outdated(self, found: str | int) -> str:
        """Explain why no rows can be added to a store of an older schema, and what to do."""
        return (
            f"{self.place}: was written with store schema {found}, whose rows have another definition of the speed-up, "
            f"so no rows can be added; `report`, `claims`, `status` and `show` still read it; run the study in a new "
            f"folder, or move {self.place} away"
        )

    def close(self) -> None:
        """Close all connections."""
        self.database.engine.dispose()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the study for this run; others may read.

        Raises
        ------
        UserError
            If another run holds it, naming that run; also where one took it while the server was away.
        """
        holder = f"process {os.getpid()} on {socket.gethostname()} since {now()}"
        try:
            with self._friendly_errors(), self.database.lock(holder):
                self.set_meta(HOLDER, holder)
                yield
        except Held:
            raise UserError(
                f"{self.place}: locked by {self.meta(HOLDER) or 'another process'}; wait for it or stop it "
                f"(reading with status is safe)"
            ) from None

    @contextmanager
    def _friendly_errors(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            remedy = self.database.remedy(error)
            if remedy is None:
                raise
            reason = " ".join(str(error.orig).split())
            raise UserError(f"{self.place}: {reason}: {remedy}") from error

    def repeat(self, work: Callable[[sa.Connection], T]) -> T:
        """Do `work` in one transaction; where a run's server goes away, wait for it and do it again, whole.

        A connection may be lost after the commit and before its answer, so `work` done twice must be as done once.

        Raises
        ------
        UserError
            For what a user can fix; where the server is away, after `PATIENCE`.
        """
        deadline = None
        with self._friendly_errors():
            while True:
                try:
                    with self.database.engine.begin() as connection:
                        return work(connection)
                except sa.exc.DBAPIError as error:
                    if not self.database.lost(error) or (deadline is not None and time.monotonic() > deadline):
                        raise
                    if deadline is None:
                        deadline = time.monotonic() + PATIENCE
                        _LOG.warning("%s: connection lost; trying again for up to %g s", self.place, PATIENCE)
                    time.sleep(PAUSE)

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """One transaction, done once; database errors that a user can fix become a `UserError`."""
        with self._friendly_errors(), self.database.engine.begin() as connection:
            yield connection

    def fetch(self, connection: sa.Connection, query: sa.Select[Any]) -> list[tuple[Any, ...]]:
        """Return a query's rows as the driver gives them: the fastest way to many."""
        return self.database.fetch(connection, query)

    @_whole
    def meta(self, connection: sa.Connection, key: str) -> str | None:
        """Return one value of the meta table."""
        value: str | None = connection.execute(sa.select(META.c.value).where(META.c.key == key)).scalar()
        return value

    @_whole
    def set_meta(self, connection: sa.Connection, key: str, value: str) -> None:
        """Store one value in the meta table."""
        replace_row(connection, META, {"key": key, "value": value}, ("key",))

    @_whole
    def register(
        self, connection: sa.Connection, study: Mapping[str, Any], plan: Sequence[tuple[str, int, Mapping[str, Any]]]
    ) -> None:
        """Register a study and its claims before its first cell, or note that it runs again.

        Claims hash, time of registration and provenance are those of the first run. A later run under
        other versions or on other hardware is added to the provenance, never put in its place. A study
        that shares finished cells with an earlier one has its claims registered only if they were, with
        the same hash, before the oldest of these cells: otherwise its claims hash is null.
        A new plan of the same study (an edited plug-in) replaces the old one.
        """
        study_hash = study["study_hash"]
        replace_plan(connection, study_hash, [(cell, position, json.dumps(axes)) for cell, position, axes in plan])
        mine = STUDIES.c.study_hash == study_hash
        known = connection.execute(sa.select(STUDIES).where(mine)).mappings().first()
        values = {**study, "last_run": now()}
        if known is None:
            if not is_registered_first(connection, study_hash, study["claims_hash"]):
                values["claims_hash"] = None
            connection.execute(sa.insert(STUDIES).values(**values, registered=after_all_rows(connection)))
        else:
            values.pop("claims_hash")
            values["provenance"] = join_provenance(known["provenance"], study.get("provenance"))
            connection.execute(sa.update(STUDIES).where(mine).values(**values))

    @_whole
    def start_run(self, connection: sa.Connection, study_hash: str, pid: int, host: str) -> int:
        """Note a run and forget the cells that a killed run left in work."""
        connection.execute(sa.delete(ROWS).where(ROWS.c.state == "running"))
        finished = ROWS.c.state.in_(("done", "skipped")) & (PLAN.c.study_hash == study_hash)
        joined = PLAN.join(ROWS, ROWS.c.cell == PLAN.c.cell)
        before = connection.execute(sa.select(sa.func.count()).select_from(joined).where(finished)).scalar_one()
        result = connection.execute(
            sa.insert(RUNS).values(study_hash=study_hash, pid=pid, host=host, started=now(), before=before)
        )
        key = result.inserted_primary_key
        return int(key[0]) if key else 0

    def add_counters(self, study_hash: str, counters: Mapping[str, float]) -> None:
        """Add to the study's counters: what all its runs together have computed."""
        total = Counter(self._counters(study_hash))
        total.update(counters)
        self._set_counters(study_hash, json.dumps(total))  # the sum, not what to add: it may be written twice

    @_whole
    def _counters(self, connection: sa.Connection, study_hash: str) -> dict[str, float]:
        found = connection.execute(sa.select(STUDIES.c.counters).where(STUDIES.c.study_hash == study_hash)).scalar()
        counters: dict[str, float] = json.loads(found or "{}")
        return counters

    @_whole
    def _set_counters(self, connection: sa.Connection, study_hash: str, counters: str) -> None:
        connection.execute(sa.update(STUDIES).where(STUDIES.c.study_hash == study_hash).values(counters=counters))

    @_whole
    def end_run(self, connection: sa.Connection, run: int) -> None:
        """Note the end of a run."""
        connection.execute(sa.update(RUNS).where(RUNS.c.run == run).values(ended=now()))

    @_whole
    def last_run(self, connection: sa.Connection) -> dict[str, Any] | None:
        """Return the newest run: pid, host, started, ended."""
        found = connection.execute(sa.select(RUNS).order_by(RUNS.c.run.desc())).mappings().first()
        return dict(found) if found else None

    @_whole
    def studies(self, connection: sa.Connection) -> list[dict[str, Any]]:
        """Return every registered study as it was resolved."""
        return [json.loads(text) for (text,) in connection.execute(sa.select(STUDIES.c.study))]

    @_whole
    def study_hashes(self, connection: sa.Connection) -> set[str]:
        """Return the hashes of all registered studies."""
        return set(connection.execute(sa.select(STUDIES.c.study_hash)).scalars())

    @_whole
    def dense_models(self, connection: sa.Connection) -> list[dict[str, Any]]:
        """Return what is known of every dense model that cells were computed from."""
        columns = [DENSE.c[column.name] for column in schema.known(schema.DENSE, self.schema)]
        return [dict(row) for row in connection.execute(sa.select(*columns)).mappings()]

    @_whole
    def states(self, connection: sa.Connection) -> dict[str, str]:
        """Cell id -> state, of every cell that has a row."""
        return read_states(connection)

    @_whole
    def rows_of_group(self, connection: sa.Connection, group: str) -> list[dict[str, Any]]:
        """Return the done rows of one group: what a resume may share."""
        query = sa.select(ROWS).where(ROWS.c.group == group, ROWS.c.state == "done")
        return [dict(row) for row in connection.execute(query).mappings()]

    @_whole
    def row(self, connection: sa.Connection, cell: str) -> dict[str, Any] | None:
        """Return one row, or None."""
        found = connection.execute(sa.select(ROWS).where(ROWS.c.cell == cell)).mappings().first()
        return dict(found) if found else None

    @_whole
    def checks_of(self, connection: sa.Connection, cells: Collection[str]) -> set[tuple[str, str]]:
        """Return the (cell, kind) pairs already checked among `cells`."""
        wanted = set(cells)
        return {(c, k) for c, k in connection.execute(sa.select(CHECKS.c.cell, CHECKS.c.kind)) if c in wanted}

    @_whole
    def write_rows(self, connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows, each in place of the one of its cell, in one transaction.

        Parameters
        ----------
        rows : sequence of mapping
            Columns of `schema.ROWS` and their values, NULL where one is missing; not empty, each cell once. The plan
            has the axes, so they are not stored again.
        """
        names = [column.name for column in ROWS.columns]
        connection.execute(
            sa.delete(ROWS).where(ROWS.c.cell == sa.bindparam("old")), [{"old": r["cell"]} for r in rows]
        )
        connection.execute(sa.insert(ROWS), [{name: row.get(name) for name in names} for row in rows])

    @_whole
    def write_check(self, connection: sa.Connection, values: Mapping[str, Any]) -> None:
        """Write the outcome of one cell evaluated again."""
        replace_row(connection, CHECKS, values, ("cell", "kind"))

    @_whole
    def write_dense(self, connection: sa.Connection, values: Mapping[str, Any]) -> None:
        """Write what is known of one dense model."""
        replace_row(connection, DENSE, values, ("group",))
