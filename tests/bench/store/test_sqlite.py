"""SQLite as a store: where it may lie, and how an error is explained."""

from __future__ import annotations

import sqlite3
from collections import namedtuple

import psutil
import pytest
import sqlalchemy as sa

from bench.core.errors import UserError
from bench.store.sqlite import Sqlite, refuse_network_file_system

Partition = namedtuple("Partition", "mountpoint fstype")


@pytest.mark.parametrize("kind", ["nfs4", "fuse.sshfs"])
def test_a_network_file_system_is_refused(tmp_path, monkeypatch, kind):
    mounts = [Partition("/", "ext4"), Partition(str(tmp_path.resolve()), kind)]
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: mounts)
    with pytest.raises(UserError, match="network file system"):
        refuse_network_file_system(tmp_path / "study" / "results.db")


def test_a_local_disk_is_accepted(tmp_path, monkeypatch):
    mounts = [Partition("/", "nfs4"), Partition(str(tmp_path.resolve()), "ext4")]
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: mounts)
    with pytest.raises(UserError, match="network file system"):
        refuse_network_file_system(tmp_path.parent / "results.db")
    assert refuse_network_file_system(tmp_path / "results.db") is None  # the nearest mount point decides


def test_a_file_without_tables_is_no_store(tmp_path):
    database = Sqlite(tmp_path / "results.db")
    assert not database.exists()
    with database.engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (x)"))
    assert database.exists()
    database.engine.dispose()


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("database or disk is full", "free some space"),
        ("database is locked", "another process"),
        ("attempt to write a readonly database", "permissions"),
        ("file is not a database", "damaged"),
        ("near SELEC: syntax error", None),
    ],
)
def test_an_error_that_a_user_can_correct_has_a_remedy(tmp_path, reason, remedy):
    error = sa.exc.OperationalError("SELECT 1", None, sqlite3.OperationalError(reason))
    found = Sqlite(tmp_path / "results.db").remedy(error)
    assert found is None if remedy is None else remedy in str(found)
