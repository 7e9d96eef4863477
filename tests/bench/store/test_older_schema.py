"""Older stores: schema 1 is read, and nothing is added to it; one with a copy of the axes is read and continued."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.store import schema
from bench.store.database import open_store
from bench.store.merge import merge_study
from bench.store.reader import read_database


def make_schema_1(folder: Path) -> Path:
    """Turn the store of a folder into one that a version with schema 1 would have written."""
    with closing(sqlite3.connect(folder / "results.db")) as connection:
        connection.execute("ALTER TABLE dense DROP COLUMN network")
        connection.execute("UPDATE meta SET value = '1' WHERE key = 'schema'")
        connection.commit()
    return folder


def make_copy_of_axes(folder: Path) -> Path:
    """Turn a store into one that an earlier version would have written, which stored the axes with each row as well."""
    types = {"text": "TEXT", "integer": "BIGINT", "real": "DOUBLE"}
    with closing(sqlite3.connect(folder / "results.db")) as connection:
        plan = [json.loads(axes) for (axes,) in connection.execute("SELECT axes FROM plan")]
        for column in schema.AXES:
            if column.name not in ("cell", "group", "position"):
                connection.execute(f"ALTER TABLE rows ADD COLUMN {column.name} {types[column.kind]}")
                values = [(axes[column.name], axes["cell"]) for axes in plan]
                connection.executemany(f"UPDATE rows SET {column.name} = ? WHERE cell = ?", values)
        connection.commit()
    return folder


def test_a_store_with_a_second_copy_of_the_axes_is_read_and_continued(finished_tiny, tmp_path, command):
    older = make_copy_of_axes(Path(shutil.copytree(finished_tiny, tmp_path / "older")))
    before = read_database(older)
    assert before.rows.equals(read_database(finished_tiny).rows)
    lost = before.rows["cell"].iloc[-1]
    with closing(sqlite3.connect(older / "results.db")) as connection:
        connection.execute("DELETE FROM rows WHERE cell = ?", (lost,))
        connection.commit()
    result = command("run", older)
    assert result.code == 0, result.err
    after = read_database(older).rows
    volatile = list(schema.VOLATILE)
    assert after.drop(columns=volatile).equals(before.rows.drop(columns=volatile))


@pytest.fixture
def old(finished_tiny, tmp_path) -> Path:
    return make_schema_1(Path(shutil.copytree(finished_tiny, tmp_path / "old")))


def test_the_network_is_the_one_column_that_schema_1_lacks():
    every = (*schema.ROWS, *schema.CHECKS, *schema.DENSE)
    assert [column.name for column in every if column.since > 1] == ["network"]
    assert schema.known(schema.DENSE, schema.SCHEMA_VERSION) == schema.DENSE


def test_rows_and_dense_models_are_those_of_the_same_store_in_schema_2(old, finished_tiny):
    found, now = read_database(old), read_database(finished_tiny)
    assert found.meta == now.meta | {"schema": 1}
    assert found.rows.equals(now.rows)
    assert found.dense.drop(columns="network").equals(now.dense.drop(columns="network"))
    assert found.dense["network"].isna().all()
    assert now.dense["network"].notna().all()


@pytest.mark.parametrize(
    "words", [("report",), ("claims",), ("status",), ("show", "1"), ("power",)], ids=lambda words: words[0]
)
def test_commands_that_read_still_do(old, command, words):
    result = command(words[0], old, *words[1:])
    assert result.code == 0, result.err
    assert "Traceback" not in result.out + result.err


def test_the_claims_and_counts_are_the_same(old, finished_tiny, command):
    for words in (("claims", "--json"), ("status", "--json")):
        verb, *options = words
        assert json.loads(command(verb, old, *options).out) == json.loads(command(verb, finished_tiny, *options).out)


def test_a_report_keeps_schema_1_and_explains_its_speed_up(old, command):
    assert command("report", old).code == 0
    text = (old / "report" / "report.md").read_text()
    assert "store schema 1" in text[text.index("## Dense models") :]
    (old / "results.db").unlink()
    before = (old / "report" / "data.parquet").read_bytes()
    assert command("report", old).code == 0
    assert (old / "report" / "data.parquet").read_bytes() == before
    assert b"Conv2d and Linear layers alone" in (old / "report" / "index.html").read_bytes()


def test_a_run_is_refused_in_one_line_and_changes_nothing(old, command):
    before = (old / "results.db").read_bytes()
    result = command("run", old)
    assert result.code == 2
    [line] = result.err.strip().splitlines()
    assert "was written with store schema 1" in line
    assert "run the study in a new folder, or move" in line
    assert (old / "results.db").read_bytes() == before


def test_plan_names_it_before_a_run_is_refused(old, command):
    result = command("plan", old, "--json")
    assert result.code == 0
    [warning] = [line for line in json.loads(result.out)["warnings"] if "schema" in line]
    assert "no rows can be added" in warning


def test_its_rows_are_not_merged_into_a_study_of_today(old, finished_tiny, tmp_path):
    mine = Path(shutil.copytree(finished_tiny, tmp_path / "mine"))
    study_hash = read_database(mine).meta["study_hash"]
    with closing(open_store(mine)) as store, pytest.raises(UserError, match="store schema 1, this study with 2"):
        merge_study(mine, store, study_hash, old)
