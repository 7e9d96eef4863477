"""A cell read by itself has the values of its row in the frame of all."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from bench.core.errors import UserError
from bench.store.cell import pick_cell, read_cell, read_history, search_label
from bench.store.reader import read_database


def cell_id(number: int) -> str:
    return f"{number:x}" * 8


def test_a_cell_shown_is_its_row_of_the_frame(folder):
    rows = read_database(folder).rows
    assert rows["shared_with"][7] == cell_id(6)
    assert rows["dense_accuracy"].eq(0.75).all()
    for position, row in enumerate(rows.drop(columns="correct").astype("object").to_dict("records")):
        expected = {name: None if pd.isna(value) else value for name, value in row.items()}
        for name in (str(position), cell_id(position)):
            assert read_cell(folder, name) == expected


@pytest.mark.parametrize("name", ["10", "ffffff", "00000g", ""])
def test_a_cell_that_is_not_there_says_what_to_give(folder, name):
    with pytest.raises(UserError, match=r"no cell begins with .* a position from 0 to 9"):
        read_cell(folder, name)


def test_the_cells_of_a_run_are_their_rows_of_the_frame(finished_tiny):
    rows = read_database(finished_tiny).rows.drop(columns="correct").astype("object")
    assert len(rows) > 1
    for position, row in enumerate(rows.to_dict("records")):
        expected = {name: None if pd.isna(value) else value for name, value in row.items()}
        found = read_cell(finished_tiny, str(position))
        assert list(found) == list(expected)
        assert {name: (type(value), value) for name, value in found.items()} == {
            name: (type(value), value) for name, value in expected.items()
        }


def test_the_history_of_a_trained_model_has_a_loss_per_epoch(finished_tiny):
    history = read_history(finished_tiny, read_cell(finished_tiny, "0")["group"])
    assert set(history) == {"loss", "lr"}
    assert all(math.isfinite(loss) for loss in history["loss"])
    assert read_history(finished_tiny, "no such group") == {}


def test_a_beginning_that_several_cells_have_is_refused():
    with pytest.raises(UserError, match="several cells begin with 'aaaaaa'"):
        pick_cell("aaaaaa", ["aaaaaab", "aaaaaac"])


@pytest.mark.parametrize(
    ("search", "notes", "label"),
    [
        ("dbo(evaluations=60)", ["{}", '{"search": {"budget": 60}}'], "dbo (60 evaluations)"),
        ("dbo(evaluations=1, correction=asr)", ['{"search": {"budget": 1}}'], "dbo(correction=asr) (1 evaluation)"),
        ("equal", ['{"search": {"budget": 1}}'], "equal"),
        ("dbo", ['{"search": {"budget": 600}}'], "dbo"),
        ("dbo", [], "dbo"),
    ],
)
def test_a_small_budget_is_part_of_the_label(search, notes, label):
    assert search_label(search, notes) == label
