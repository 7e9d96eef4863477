"""Rows of short cells share a transaction; a long cell's row is written at once."""

from __future__ import annotations

from contextlib import closing

import pytest

from bench.run.row_writer import RowWriter
from bench.store.database import open_store


def row(cell: str, state: str = "done", group: str = "g") -> dict[str, object]:
    return {"cell": cell, "group": group, "state": state}


@pytest.fixture
def store(tmp_path):
    with closing(open_store(tmp_path, create=True)) as store:
        yield store


def test_a_row_is_written_at_once_where_the_last_transaction_is_long_ago(store):
    writer = RowWriter(store, period=0)
    writer.add(row("a"), row("b", "running"))
    assert store.states() == {"a": "done", "b": "running"}


def test_rows_in_quick_succession_wait_for_the_next_transaction(store):
    writer = RowWriter(store, period=3600)
    writer.add(row("a"))  # the first is written at once: there was no transaction before
    writer.add(row("b"), row("c", "running"))
    writer.add(row("c"), row("d", "running"))
    assert store.states() == {"a": "done"}
    writer.flush()
    assert store.states() == {"a": "done", "b": "done", "c": "done", "d": "running"}


def test_a_row_that_took_long_does_not_wait(store):
    writer = RowWriter(store, period=100)
    writer.add(row("a"))
    writer.add(row("b") | {"seconds": 60.0})
    assert store.states() == {"a": "done"}
    writer.add(row("c") | {"seconds": 50.0})  # 110 seconds of work are not written yet
    assert store.states() == {"a": "done", "b": "done", "c": "done"}


def test_each_group_has_its_own_running_cell(store):
    writer = RowWriter(store, period=3600)
    writer.mark("g", row("a", "running"))
    writer.mark("h", row("z", "running", "h"))
    writer.flush()
    writer.add(row("a"), None)
    writer.flush()
    assert store.states() == {"a": "done", "z": "running"}


def test_nothing_is_written_where_there_is_nothing(store):
    RowWriter(store).flush()
    assert store.states() == {}
