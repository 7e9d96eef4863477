"""What is read from a store: frames and counts agree."""

from __future__ import annotations

import pandas as pd

from bench.store import reader, schema
from bench.store.database import open_store
from bench.store.status import read_status


def cell_id(number: int) -> str:
    return f"{number:x}" * 8


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
