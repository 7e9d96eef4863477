"""Records of methods in the store, and the snapshot for studies without them."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from bench.core.method import Method
from bench.store.database import open_store
from bench.store.methods import earlier_methods, read_methods, write_methods
from bench.store.reader import read_database

FIRST, SECOND = Method("scorer", "z", family="inputs"), Method("search", "a", colour="#000000", marker="o")


def test_records_are_read_in_their_order_and_replaced(tmp_path):
    with closing(open_store(tmp_path, create=True)) as store, store.transaction() as connection:
        write_methods(connection, "h", (FIRST, SECOND))
        write_methods(connection, "other", (SECOND,))
        assert read_methods(connection, "h") == (FIRST, SECOND)
        write_methods(connection, "h", (SECOND,))
        assert read_methods(connection, "h") == read_methods(connection, "other") == (SECOND,)
        assert read_methods(connection, "unknown") == ()


def test_a_run_stores_the_records_of_the_methods_that_it_uses(finished_tiny):
    data = read_database(finished_tiny)
    used = {("scorer", name) for name in data.rows["scorer"].unique() if name != "dense"}
    for kind in ("search", "allocation", "correction", "recalibration"):
        used |= {(kind, label.partition("(")[0]) for label in data.rows[kind].dropna().unique()}
    assert {(method.kind, method.name) for method in data.recorded} == used
    assert data.methods == data.recorded


def test_a_store_without_records_is_read_with_the_snapshot(finished_tiny, tmp_path):
    old = Path(shutil.copytree(finished_tiny, tmp_path / "old"))
    with closing(sqlite3.connect(old / "results.db")) as connection:
        connection.execute("DROP TABLE methods")
        connection.commit()
    data = read_database(old)
    assert data.recorded == ()
    assert data.methods == earlier_methods()
    open_store(old, create=True).close()  # a run that goes on adds the table
    with closing(sqlite3.connect(old / "results.db")) as connection:
        assert connection.execute("SELECT count(*) FROM methods").fetchone() == (0,)


def test_the_snapshot_has_what_was_typed_into_the_analysis_before():
    found = {(method.kind, method.name): method for method in earlier_methods()}
    assert found["scorer", "taylor"].family == "gradients"
    assert found["scorer", "a5"].complexity == 2
    assert found["search", "dbo"].marker == "s"
    assert set(found["allocation", "emp"].terms) == {"N_eff", "s_eff"}
    assert found["recalibration", "exact"].complete
