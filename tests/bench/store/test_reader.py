"""What is read from a store: frames, counts and single cells agree."""

from __future__ import annotations

import subprocess
import sys

import pandas as pd
import pytest

from bench.core.errors import UserError
from bench.store import reader, schema
from bench.store.database import open_store
from bench.store.status import read_status

AXES = {c.name: None for c in schema.AXES if c.name != "position"} | {"group": "g", "scorer": "l1", "search": "none"}
REASONS = ["slow", "wide", "wide", "slow", "narrow", "wide"]


def cell_id(number: int) -> str:
    return f"{number:x}" * 8


@pytest.fixture
def folder(tmp_path):
    """A study of ten cells: six failed, two done that share an evaluation, one in work, one never begun."""
    plan = [AXES | {"cell": cell_id(number)} for number in range(10)]
    plan[6] |= {"scorer": "dense", "recalibration": "none"}
    plan[7] |= {"scorer": 'l"2\n\u2028ü', "sparsity": 0.1 + 0.2, "train_seed": 2**53 + 1}
    plan[8] |= {"scorer": "v1", "search": "dbo"}
    store = open_store(tmp_path, create=True)
    study = {"study_hash": "h", "name": "n", "claims_hash": None, "study": "{}", "profile": None}
    store.register(study, [(axes["cell"], position, axes) for position, axes in enumerate(plan)])
    store.register({**study, "study_hash": "other"}, [("f" * 8, 0, AXES | {"cell": "f" * 8})])
    store.register(study, [(axes["cell"], position, axes) for position, axes in enumerate(plan)])
    for number in (5, 4, 3, 2, 1, 0):
        store.write_row(plan[number] | {"state": "failed", "reason": REASONS[number]})
    for number in (7, 6):
        store.write_row(
            plan[number] | {"state": "done", "evaluation": "e", "accuracy": 0.75, "correct": b"\x01", "n_test": 8}
        )
    store.write_row(AXES | {"cell": "f" * 8, "state": "done"}, running=plan[8] | {"state": "running"})
    store.close()
    return tmp_path


def test_status_counts_what_the_rows_say(folder):
    rows, status = reader.read_database(folder).rows, read_status(folder)
    counted = rows["state"].value_counts()
    assert {state: status[state] for state in ("done", "failed")} == {"done": 2, "failed": 6} == {
        state: counted[state] for state in ("done", "failed")
    }  # fmt: skip
    assert (status["cells"], status["running"], status["todo"]) == (10, 0, 2)  # no run is there to finish the ninth
    assert status["failures"] == [
        {"reason": "wide", "count": 3, "cell": cell_id(1)},
        {"reason": "slow", "count": 2, "cell": cell_id(0)},
        {"reason": "narrow", "count": 1, "cell": cell_id(4)},
    ]
    assert status["skips"] == []


def test_a_cell_shown_is_its_row_of_the_frame(folder):
    rows = reader.read_database(folder).rows
    assert rows["shared_with"][7] == cell_id(6)
    assert rows["dense_accuracy"].eq(0.75).all()
    for position, row in enumerate(rows.drop(columns="correct").astype("object").to_dict("records")):
        expected = {name: None if pd.isna(value) else value for name, value in row.items()}
        for name in (str(position), cell_id(position)):
            assert reader.read_cell(folder, name) == expected


@pytest.mark.parametrize("name", ["10", "ffffff", "00000g", ""])
def test_a_cell_that_is_not_there_says_what_to_give(folder, name):
    with pytest.raises(UserError, match=r"no cell begins with .* a position from 0 to 9"):
        reader.read_cell(folder, name)


def test_the_plan_comes_back_as_it_was_written(folder):
    rows = reader.read_database(folder).rows
    assert rows["position"].tolist() == list(range(10))
    row = rows.loc[7]
    assert (row["scorer"], row["sparsity"], row["train_seed"]) == ('l"2\n\u2028ü', 0.1 + 0.2, 2**53 + 1)
    assert rows["search"].tolist() == ["none"] * 8 + ["dbo", "none"]
    assert [str(rows[c.name].dtype) for c in schema.ROWS] == [c.type.pandas for c in schema.ROWS]


def test_a_plan_of_no_cells_has_the_columns(tmp_path):
    store = open_store(tmp_path, create=True)
    store.register({"study_hash": "h", "name": "n", "claims_hash": None, "study": "{}", "profile": None}, [])
    store.close()
    rows = reader.read_database(tmp_path).rows
    assert rows.empty
    assert rows.columns.tolist() == [c.name for c in schema.ROWS + schema.DERIVED]
    assert read_status(tmp_path)["cells"] == 0


def test_axes_parsed_at_once_are_those_parsed_one_by_one(tmp_path):
    values = {
        "text": ["a", None, "\\u00e9 'q' \"d\"", ""],
        "integer": [0, None, -1, 2**62],
        "real": [0.1, None, 1e-300, 1],
    }
    columns = [column for column in schema.AXES if column.name not in ("position", "cell", "group")]
    plan = [
        (str(number), number, {"cell": str(number), "group": "g"} | {c.name: values[c.kind][number] for c in columns})
        for number in range(4)
    ]
    store = open_store(tmp_path, create=True)
    store.register({"study_hash": "h", "name": "n", "claims_hash": None, "study": "{}", "profile": None}, plan)
    store.close()
    frame = reader.read_database(tmp_path).rows.astype("object")
    for _, number, axes in plan:
        found = {name: None if pd.isna(frame[name][number]) else frame[name][number] for name in axes}
        assert found == axes


def test_counting_needs_no_frames():
    code = "import sys; import bench.store.status; assert not {'pandas', 'pyarrow', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
