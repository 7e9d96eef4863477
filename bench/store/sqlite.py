"""SQLite (WAL) in the study folder: the default store."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import sqlalchemy as sa
from filelock import FileLock, Timeout

from bench.core.errors import Held, UserError
from bench.store.places import LOCK_FILE

NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb", "smb3", "smbfs", "afs", "lustre", "beegfs", "gpfs"})


class Sqlite:
    """One database file.

    Parameters
    ----------
    path : Path
        The file; its folder exists.

    Attributes
    ----------
    place : str
        What messages call it.
    engine : sqlalchemy.Engine
        Connects to it.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.place = path, str(path)
        self.engine = sa.create_engine(_url(path), connect_args={"timeout": 30})
        sa.event.listen(self.engine, "connect", _set_pragmas)

    def exists(self) -> bool:
        """Whether anything was ever written there; a run killed at its very beginning leaves a file without tables."""
        return self.path.exists() and bool(sa.inspect(self.engine).get_table_names())

    def prepare(self) -> None:
        """Refuse a place where a store cannot be kept."""
        refuse_network_file_system(self.path)

    def begin_creation(self, connection: sa.Connection) -> None:
        """Make the tables whole or not at all; sqlite3 by itself begins no transaction before DDL."""
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    @contextmanager
    def lock(self, _holder: str) -> Iterator[None]:
        """Hold the study for this process; the lock ends with the process, however it ends."""
        lock = FileLock(self.path.with_name(LOCK_FILE))
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise Held from error
        begun = self.path.stat().st_ino

        def refuse_other_file(_connection: sa.Connection) -> None:
            if not self.path.exists() or self.path.stat().st_ino != begun:
                raise UserError(
                    f"{self.path}: was deleted or replaced while the run went on, which would lose what it writes; "
                    f"put the file in its place or leave it, and run again"
                )

        sa.event.listen(self.engine, "begin", refuse_other_file)
        try:
            yield
        finally:
            sa.event.remove(self.engine, "begin", refuse_other_file)
            lock.release()

    def is_running(self, run: Mapping[str, Any]) -> bool:
        """Whether the process of a run that has not ended is there."""
        return run["host"] == socket.gethostname() and psutil.pid_exists(run["pid"])

    def fetch(self, connection: sa.Connection, query: sa.Select[Any]) -> list[tuple[Any, ...]]:
        """Return a query's rows as sqlite3 gives them: a boolean is 0 or 1."""
        cursor = connection.execute(query).cursor
        return list(cursor.fetchall()) if cursor else []

    def lost(self, _error: sa.exc.DBAPIError) -> bool:
        """Whether to wait for the server: there is none."""
        return False

    def remedy(self, error: sa.exc.DBAPIError) -> str | None:
        """Return how to fix an error; None if a user cannot."""
        reason = str(error.orig)
        if "full" in reason or "disk I/O error" in reason:
            return "free some space and run again; all finished cells are kept"
        if "locked" in reason:
            return "another process is writing to it; wait or stop that process"
        if "readonly" in reason or "unable to open" in reason:
            return "check the permissions of the folder"
        if re.search("not a database|malformed|no such (table|column)|decode", reason):
            return "it is damaged or not a prunebench store; put a copy in its place, or move it away to start anew"
        return None


def _url(path: Path) -> sa.URL:
    """Return the URL of a file, whatever its name.

    In a folder that cannot be written SQLite has no place for its WAL: a file that no run has open is read without.
    """
    if not path.exists() or os.access(path.parent, os.W_OK) or path.with_name(f"{path.name}-wal").exists():
        return sa.URL.create("sqlite", database=str(path))
    return sa.URL.create("sqlite", database=f"file:{quote(str(path))}", query={"immutable": "1", "uri": "true"})


def _set_pragmas(connection: Any, _record: Any) -> None:
    # WAL lets a second process read; NORMAL survives any kill of the process (rule 6); the map halves `status`.
    for pragma in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL", f"PRAGMA mmap_size={2**30}"):
        connection.execute(pragma)


def refuse_network_file_system(path: Path) -> None:
    """Raise `UserError` where `path` lies on a network file system, on which WAL can lose rows."""
    folder = path.resolve().parent
    mounts = {Path(p.mountpoint): p.fstype for p in psutil.disk_partitions(all=True)}
    for parent in (folder, *folder.parents):
        if parent in mounts:
            if mounts[parent].lower() in NETWORK_FILE_SYSTEMS or "sshfs" in mounts[parent].lower():
                raise UserError(
                    f"{folder}: is on a network file system ({mounts[parent]}), where SQLite can lose rows; "
                    f"put the study on a local disk, or its rows into PostgreSQL (run --store)"
                )
            return
