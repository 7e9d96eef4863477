"""The store: one SQLite database (WAL) per study folder, written by one run at a time.

Every write is one transaction, so a kill loses at most the cell in work. A second process may
read at any time.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa

from bench.errors import UserError
from bench.store import schema

DATABASE_FILE = "results.db"
NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb", "smb3", "smbfs", "afs", "lustre", "beegfs", "gpfs"})

_TYPES: dict[str, type[sa.types.TypeEngine[Any]]] = {
    "text": sa.Text, "integer": sa.BigInteger, "real": sa.Double, "boolean": sa.Boolean, "bytes": sa.LargeBinary,
}  # fmt: skip


def _table(metadata: sa.MetaData, name: str, columns: Iterable[schema.Column], keys: tuple[str, ...]) -> sa.Table:
    return sa.Table(name, metadata, *(sa.Column(c.name, _TYPES[c.kind](), primary_key=c.name in keys) for c in columns))


METADATA = sa.MetaData()
ROWS = _table(METADATA, "rows", [c for c in schema.ROWS if c.name != "position"], ("cell",))
CHECKS = _table(METADATA, "checks", schema.CHECKS, ("cell", "kind"))
DENSE = _table(METADATA, "dense", schema.DENSE, ("group",))
META = sa.Table("meta", METADATA, sa.Column("key", sa.Text, primary_key=True), sa.Column("value", sa.Text))
STUDIES = sa.Table(
    "studies", METADATA,
    sa.Column("study_hash", sa.Text, primary_key=True),
    *(sa.Column(name, sa.Text) for name in ("name", "description", "profile", "study", "claims_hash", "registered")),
    *(sa.Column(name, sa.Text) for name in ("last_run", "provenance", "counters")),
)  # fmt: skip
#: Which cells a study consists of, in which order: known from the first run on, so that `status` needs no models.
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


def now() -> str:
    """UTC time, ISO 8601, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Store:
    """Read and write a study's rows.

    Parameters
    ----------
    path : Path
        Database file.
    create : bool
        Make it if absent; otherwise an absent file is an error.

    Raises
    ------
    UserError
        If the file is absent, not a database, of another schema, or on a network file system.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        if not create and not path.exists():
            raise UserError(f"{path}: nothing has been run yet; `prunebench run {path.parent}` starts")
        if create:
            refuse_network_file_system(path)
        self.engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": 30})
        sa.event.listen(self.engine, "connect", _set_pragmas)
        with self._friendly_errors():
            if create:
                self._create()
            self._check_schema()

    def _create(self) -> None:
        METADATA.create_all(self.engine)
        with self.engine.begin() as connection:
            if connection.execute(sa.select(META).where(META.c.key == "schema")).first() is None:
                connection.execute(sa.insert(META).values(key="schema", value=str(schema.SCHEMA_VERSION)))

    def _check_schema(self) -> None:
        found = self.meta("schema")
        if found != str(schema.SCHEMA_VERSION):
            raise UserError(
                f"{self.path}: has store schema {found}, this prunebench reads {schema.SCHEMA_VERSION}; "
                f"use the prunebench that wrote it, or move the file away to start anew"
            )

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def _friendly_errors(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DatabaseError as error:
            reason = str(error.orig)
            if "full" in reason or "disk I/O error" in reason:
                mend = "free some space and run again; all finished cells are kept"
            elif "locked" in reason:
                mend = "another process is writing to it; wait or stop that process"
            elif "readonly" in reason or "unable to open" in reason:
                mend = "check the permissions of the folder"
            elif "not a database" in reason or "malformed" in reason or "no such table" in reason:
                mend = "it is not a prunebench store; move it away to start anew"
            else:
                raise
            raise UserError(f"{self.path}: {reason}: {mend}") from error

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """One transaction; database errors that a user can mend become a `UserError`."""
        with self._friendly_errors(), self.engine.begin() as connection:
            yield connection

    def meta(self, key: str) -> str | None:
        """Return one value of the meta table."""
        with self.transaction() as connection:
            value: str | None = connection.execute(sa.select(META.c.value).where(META.c.key == key)).scalar()
        return value

    def set_meta(self, key: str, value: str) -> None:
        """Store one value in the meta table."""
        with self.transaction() as connection:
            replace_row(connection, META, {"key": key, "value": value}, ("key",))

    def register(self, study: Mapping[str, Any], plan: Iterable[tuple[str, int, Mapping[str, Any]]]) -> None:
        """Register a study and its claims before its first cell, or note that it runs again.

        Claims hash, time of registration and provenance are those of the first run. A later run under
        other versions or on other hardware is added to the provenance, never put in its place. A study
        that shares finished cells with an earlier one has its claims registered only if they were, with
        the same hash, before the oldest of these cells: otherwise its claims hash is null.
        A new plan of the same study (an edited plug-in) replaces the old one.
        """
        study_hash = study["study_hash"]
        mine = STUDIES.c.study_hash == study_hash
        with self.transaction() as connection:
            connection.execute(sa.delete(PLAN).where(PLAN.c.study_hash == study_hash))
            rows = [
                {"study_hash": study_hash, "cell": cell, "position": position, "axes": json.dumps(axes)}
                for cell, position, axes in plan
            ]
            if rows:
                connection.execute(sa.insert(PLAN), rows)
            known = connection.execute(sa.select(STUDIES).where(mine)).mappings().first()
            values = {**study, "last_run": now()}
            if known is None:
                if not _registered_first(connection, study_hash, study["claims_hash"]):
                    values["claims_hash"] = None
                connection.execute(sa.insert(STUDIES).values(**values, registered=now()))
            else:
                values.pop("claims_hash")
                values["provenance"] = join_provenance(known["provenance"], study.get("provenance"))
                connection.execute(sa.update(STUDIES).where(mine).values(**values))

    def start_run(self, study_hash: str, pid: int, host: str) -> int:
        """Note a run and forget the cells that a killed run left in work."""
        with self.transaction() as connection:
            connection.execute(sa.delete(ROWS).where(ROWS.c.state == "running"))
            before = connection.execute(sa.select(sa.func.count()).select_from(ROWS)).scalar_one()
            result = connection.execute(
                sa.insert(RUNS).values(study_hash=study_hash, pid=pid, host=host, started=now(), before=before)
            )
            key = result.inserted_primary_key
        return int(key[0]) if key else 0

    def add_counters(self, study_hash: str, counters: Mapping[str, float]) -> None:
        """Add to the study's counters: what all its runs together have computed."""
        mine = STUDIES.c.study_hash == study_hash
        with self.transaction() as connection:
            old = connection.execute(sa.select(STUDIES.c.counters).where(mine)).scalar()
            total = Counter(json.loads(old) if old else {})
            total.update(counters)
            connection.execute(sa.update(STUDIES).where(mine).values(counters=json.dumps(total)))

    def end_run(self, run: int) -> None:
        """Note the end of a run."""
        with self.transaction() as connection:
            connection.execute(sa.update(RUNS).where(RUNS.c.run == run).values(ended=now()))

    def last_run(self) -> dict[str, Any] | None:
        """Return the newest run: pid, host, started, ended."""
        with self.transaction() as connection:
            found = connection.execute(sa.select(RUNS).order_by(RUNS.c.run.desc())).mappings().first()
        return dict(found) if found else None

    def studies(self) -> list[dict[str, Any]]:
        """Return every registered study as it was resolved."""
        with self.transaction() as connection:
            return [json.loads(text) for (text,) in connection.execute(sa.select(STUDIES.c.study))]

    def states(self) -> dict[str, str]:
        """Cell id -> state, of every cell that has a row."""
        with self.transaction() as connection:
            return {row.cell: row.state for row in connection.execute(sa.select(ROWS.c.cell, ROWS.c.state))}

    def rows_of_group(self, group: str) -> list[dict[str, Any]]:
        """Return the done rows of one group: what a resume may share."""
        query = sa.select(ROWS).where(ROWS.c.group == group, ROWS.c.state == "done")
        with self.transaction() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def row(self, cell: str) -> dict[str, Any] | None:
        """Return one row, or None."""
        with self.transaction() as connection:
            found = connection.execute(sa.select(ROWS).where(ROWS.c.cell == cell)).mappings().first()
        return dict(found) if found else None

    def checks_of(self, cells: Iterable[str]) -> set[tuple[str, str]]:
        """Return the (cell, kind) pairs already checked among `cells`."""
        wanted = set(cells)
        with self.transaction() as connection:
            return {(c, k) for c, k in connection.execute(sa.select(CHECKS.c.cell, CHECKS.c.kind)) if c in wanted}

    def write_row(self, values: Mapping[str, Any], running: Mapping[str, Any] | None = None) -> None:
        """Write one finished row and, in the same transaction, mark the next cell as running."""
        with self.transaction() as connection:
            replace_row(connection, ROWS, values, ("cell",))
            if running is not None:
                replace_row(connection, ROWS, running, ("cell",))

    def write_check(self, values: Mapping[str, Any]) -> None:
        """Write the outcome of one cell evaluated again."""
        with self.transaction() as connection:
            replace_row(connection, CHECKS, values, ("cell", "kind"))

    def write_dense(self, values: Mapping[str, Any]) -> None:
        """Write what is known of one dense model."""
        with self.transaction() as connection:
            replace_row(connection, DENSE, values, ("group",))


def _registered_first(connection: sa.Connection, study_hash: str, claims_hash: str | None) -> bool:
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
    connection.execute(sa.insert(table).values(**values))


def _set_pragmas(connection: Any, _record: Any) -> None:
    # WAL lets a second process read; NORMAL survives any kill of the process (rule 6).
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL"):
        connection.execute(f"PRAGMA {pragma}")


def refuse_network_file_system(path: Path) -> None:
    """Raise `UserError` where `path` lies on a network file system, on which WAL can lose rows."""
    folder = path.resolve().parent
    mounts = {Path(p.mountpoint): p.fstype for p in psutil.disk_partitions(all=True)}
    for parent in (folder, *folder.parents):
        if parent in mounts:
            if mounts[parent].lower() in NETWORK_FILE_SYSTEMS or "sshfs" in mounts[parent].lower():
                raise UserError(
                    f"{folder}: is on a network file system ({mounts[parent]}), where SQLite can lose rows; "
                    f"put the study on a local disk"
                )
            return
