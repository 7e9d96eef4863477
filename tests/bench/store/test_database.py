"""The store: what it keeps, and how it refuses."""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import pytest
import sqlalchemy as sa

from bench.core.errors import UserError
from bench.store import schema
from bench.store.database import open_store
from bench.store.tables import now

ROW = {
    "cell": "c1",
    "group": "g1",
    "state": "done",
    "accuracy": 0.1 + 0.2,
    "correct": b"\x80",
    "exact_removal": True,
}


@pytest.fixture
def store(tmp_path):
    store = open_store(tmp_path, create=True)
    yield store
    store.close()


def test_values_come_back_at_full_precision(store):
    store.write_rows([ROW])
    row = store.row("c1")
    assert row is not None
    assert {key: row[key] for key in ROW} == ROW
    assert store.rows_of_group("g1")[0]["accuracy"] == 0.1 + 0.2
    assert store.row("absent") is None


def test_a_row_replaces_the_running_mark(store):
    store.write_rows([{"cell": "c1", "group": "g1", "state": "running"}])
    store.write_rows([ROW, {"cell": "c2", "group": "g1", "state": "running"}])
    assert store.states() == {"c1": "done", "c2": "running"}
    store.start_run("study", 1, "host")
    assert store.states() == {"c1": "done"}


def test_every_column_of_the_schema_is_stored(store):
    columns = {column["name"] for column in sa.inspect(store.database.engine).get_columns("rows")}
    assert columns == {"cell", "group"} | {column.name for column in schema.OUTCOME}


def test_the_axes_of_a_row_are_stored_with_the_plan_alone(store):
    store.write_rows([ROW | {"scorer": "magnitude", "sparsity": 0.5}, {"cell": "c2", "scorer": "taylor"}])
    assert not {"scorer", "sparsity"} & store.row("c1").keys()
    assert store.row("c2")["cell"] == "c2"


def test_registration_is_that_of_the_first_run(store):
    study = {"study_hash": "h", "name": "n", "claims_hash": "first", "study": "{}"}
    store.register(study, [("c1", 0, {"cell": "c1"})])
    store.register({**study, "claims_hash": "second"}, [("c2", 0, {"cell": "c2"})])
    with store.transaction() as connection:
        claims, registered = connection.execute(sa.text("SELECT claims_hash, registered FROM studies")).one()
        cells = connection.execute(sa.text("SELECT cell FROM plan")).scalars().all()
    assert claims == "first"
    assert registered is not None
    assert cells == ["c2"]


def test_counters_add_up_over_runs(store):
    store.register({"study_hash": "h", "name": "n", "claims_hash": None, "study": "{}"}, [])
    store.add_counters("h", {"sorts": 2})
    store.add_counters("h", {"sorts": 3, "cells": 1})
    with store.transaction() as connection:
        assert connection.execute(sa.text("SELECT counters FROM studies")).scalar() == '{"sorts": 5, "cells": 1}'


def test_another_schema_is_refused(tmp_path, store):
    store.set_meta("schema", "99")
    with pytest.raises(UserError, match="has store schema 99, this prunebench reads 2"):
        open_store(tmp_path)


def test_what_is_no_database_is_refused(tmp_path):
    (tmp_path / "results.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(UserError, match="not a prunebench store"):
        open_store(tmp_path)


def test_a_database_of_something_else_is_refused(tmp_path):
    connection = sqlite3.connect(tmp_path / "results.db")
    connection.execute("CREATE TABLE other (x)")
    connection.commit()
    connection.close()
    with pytest.raises(UserError, match="not a prunebench store"):
        open_store(tmp_path)


def test_an_absent_store_says_how_to_begin(tmp_path):
    with pytest.raises(UserError, match="prunebench run"):
        open_store(tmp_path)


def test_a_full_disk_keeps_what_was_written(store):
    store.write_rows([ROW])
    with store.transaction() as connection:
        pages = connection.execute(sa.text("PRAGMA page_count")).scalar()
    sa.event.listen(store.database.engine, "begin", lambda c: c.exec_driver_sql(f"PRAGMA max_page_count={pages}"))
    with pytest.raises(UserError, match="full: free some space and run again"):
        store.write_rows([{**ROW, "cell": "c2", "correct": b"\x00" * 10_000_000}])
    assert store.states() == {"c1": "done"}


WRITER = """
import sys
from pathlib import Path
from bench.store.database import open_store
store = open_store(Path(sys.argv[1]))
for i in range(200):
    store.write_rows([{"cell": f"w{i}", "group": "g", "state": "done"}])
store.close()
"""


def test_a_second_process_reads_while_one_writes(tmp_path, store):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)])
    seen = []
    while writer.poll() is None:
        seen.append(len(store.states()))
    assert writer.returncode == 0
    assert seen == sorted(seen)
    assert len(store.states()) == 200


STUDY = {"study_hash": "h", "name": "n", "claims_hash": "first", "study": "{}", "provenance": '{"torch": "1"}'}


def claims_of(store, study_hash):
    with store.transaction() as connection:
        query = sa.text("SELECT claims_hash, provenance FROM studies WHERE study_hash = :h")
        return connection.execute(query, {"h": study_hash}).one()


def test_claims_edited_after_the_data_are_not_registered(store):
    store.register(STUDY, [("c1", 0, {"cell": "c1"})])
    store.write_rows([{**ROW, "written": now()}])
    other = {**STUDY, "study_hash": "h2"}
    store.register({**other, "claims_hash": "edited"}, [("c1", 0, {"cell": "c1"})])
    assert claims_of(store, "h2").claims_hash is None
    store.register({**other, "study_hash": "h3"}, [("c1", 0, {"cell": "c1"})])
    assert claims_of(store, "h3").claims_hash == "first"
    store.register({**other, "study_hash": "h4", "claims_hash": "edited"}, [("c9", 0, {"cell": "c9"})])
    assert claims_of(store, "h4").claims_hash == "edited"


def test_provenance_of_a_later_run_is_added_never_put_in_place(store):
    for torch_version in ("1", "2", "2", "1"):
        store.register({**STUDY, "provenance": f'{{"torch": "{torch_version}"}}'}, [])
    assert claims_of(store, "h").provenance == '{"torch": "1", "later_runs": [{"torch": "2"}]}'
