"""``audit``: exit code 0 if all rows are confirmed, 1 if one differs, 2 if the study cannot be audited."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

import pytest

from analysis.evidence.load import load, write_parquet
from bench.run.audit import choose_cells
from bench.store.reader import read_database


def sql(folder, text, *values):
    with closing(sqlite3.connect(folder / "results.db")) as connection, connection:
        return connection.execute(text, values).fetchall()


@pytest.fixture
def reported(finished, tmp_path):
    """A folder that holds the study and the data of its report, as a reader receives it."""
    folder = tmp_path / "reported"
    (folder / "report").mkdir(parents=True)
    shutil.copy(finished / "study.yaml", folder)
    write_parquet(load(finished), folder / "report" / "data.parquet")
    return folder


def test_the_rows_of_a_store_are_confirmed(finished, command):
    done = command("audit", finished)
    assert done.code == 0, done.out + done.err
    assert "5 of 5 recomputed rows are equal to the stored ones" in done.out
    assert "196 cells: 180 done, 16 skipped, 0 without a row; 0 rows disagree" in done.out
    assert "dense model taken from" in done.out


def test_the_data_of_a_report_suffice(reported, command):
    done = command("audit", reported, "--cells", "2")
    assert done.code == 0, done.out + done.err
    assert "2 of 2 recomputed rows are equal" in done.out
    assert "dense model trained again" in done.out
    assert not (reported / "artifacts").exists()
    assert not (reported / "results.db").exists()


def test_retrain_uses_no_stored_model(finished, command):
    done = command("audit", finished, "--cells", "1", "--retrain")
    assert done.code == 0, done.out + done.err
    assert "dense model trained again" in done.out
    assert "taken from" not in done.out


def test_an_updated_accuracy_is_found(finished, command):
    ((cell, accuracy),) = sql(finished, "SELECT cell, accuracy FROM rows WHERE state = 'done' ORDER BY cell LIMIT 1")
    sql(finished, "UPDATE rows SET accuracy = ? WHERE cell = ?", accuracy + 0.01, cell)
    done = command("audit", finished, "--cells", "1")
    assert done.code == 1
    assert f"different  {cell[:12]}  accuracy is" in done.out


def test_exchanged_rows_are_found(finished, command):
    """The outcomes of two cells are exchanged as a whole, so that each agrees with itself."""
    sql(finished, "DELETE FROM rows WHERE mask IS NULL")
    sql(finished, "DELETE FROM rows WHERE cell NOT IN (SELECT cell FROM rows ORDER BY cell LIMIT 9)")
    found = sql(finished, "SELECT cell FROM rows ORDER BY accuracy")
    (first,), (second,) = found[0], found[-1]
    sql(finished, "UPDATE rows SET cell = 'x' WHERE cell = ?", first)
    sql(finished, "UPDATE rows SET cell = ? WHERE cell = ?", first, second)
    sql(finished, "UPDATE rows SET cell = ? WHERE cell = 'x'", second)
    done = command("audit", finished, "--cells", "99")
    assert done.code == 1
    assert "7 of 9 recomputed rows are equal" in done.out
    assert f"different  {first[:12]}" in done.out
    assert f"different  {second[:12]}" in done.out


def test_missing_rows_are_counted(finished, command):
    sql(finished, "DELETE FROM rows WHERE cell IN (SELECT cell FROM rows WHERE state = 'done' LIMIT 7)")
    done = command("audit", finished, "--cells", "1")
    assert "173 done, 16 skipped, 7 without a row" in done.out


def test_the_salt_enters_the_choice(finished, command):
    done = command("audit", finished, "--cells", "3", "--salt", "mine")
    confirmed = {line.split()[1] for line in done.out.splitlines() if line.startswith("equal")}
    rows = read_database(finished).rows
    assert confirmed == {cell[:12] for cell in choose_cells(rows, 3, "mine")}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "results.db").unlink(), "results.db"),
        (lambda folder: (folder / "study.yaml").unlink(), "study.yaml"),
        (lambda folder: (folder / "study.yaml").write_text("data: [digits"), "study.yaml"),
    ],
)
def test_a_study_that_cannot_be_audited_is_refused(change, words, finished, command):
    change(finished)
    done = command("audit", finished)
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert words in done.err


def test_a_study_that_was_changed_since_is_refused(finished, edit_study, command):
    edit_study(finished, "epochs: 3", "epochs: 2")
    done = command("audit", finished)
    assert done.code == 2
    assert "none of the rows is in the plan of study.yaml" in done.err
    assert "its recipe, code or checkpoint changed" in done.out
