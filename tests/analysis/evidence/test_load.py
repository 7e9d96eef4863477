"""Loading: old data files, curves from where they are, methods named by the reader."""

import dataclasses
import json
import shutil

import pandas as pd
import pyarrow.parquet as pq
import pytest

from analysis.errors import AnalysisError
from analysis.evidence.load import ADDITIONAL, load, read_parquet, write_additional, write_parquet
from analysis.report.render import render_report
from bench.core.errors import UserError
from bench.core.method import Method
from bench.store import schema
from bench.store.files import Artifacts
from bench.store.reader import method_names, typed


@pytest.fixture
def folder(tmp_path, fused):
    """A study folder that holds a report's data without its curves."""
    data = fused(seeds=2, models=("cnn",), sparsities=(0.5,), scorers=("magnitude", "l2"))
    (tmp_path / "report").mkdir()
    write_parquet(data, tmp_path / "report" / "data.parquet")
    return tmp_path, data


def test_a_file_written_before_methods_had_names_still_loads(folder):
    path, data = folder
    file = path / "report" / "data.parquet"
    pq.write_table(pq.read_table(file).drop_columns(["method"]), file)
    assert load(path).rows["method"].tolist() == data.rows["method"].tolist()
    assert load(path).curves.empty


def test_curves_come_from_the_artifacts_or_else_from_the_report(folder):
    path, data = folder
    write_additional(data, "curves", path / "report" / "curves.parquet")
    pd.testing.assert_frame_equal(load(path).curves, data.curves)
    name = f"curves/{data.meta['study_hash']}.parquet"
    Artifacts.of(path).write_table(name, data.curves.assign(draw=1), schema.CURVES)
    assert set(load(path).curves["draw"]) == {1}


def test_curves_of_another_study_are_not_taken(folder):
    path, data = folder
    other = type(data)(data.rows, data.checks, data.dense, {**data.meta, "study_hash": "other"}, data.curves)
    write_additional(other, "curves", path / "report" / "curves.parquet")
    assert load(path).curves.empty


@pytest.mark.parametrize("content", ["not Parquet", "lacks a column"])
def test_a_broken_file_of_curves_is_an_error_of_one_line(folder, content):
    path, data = folder
    file = path / "artifacts" / "curves" / f"{data.meta['study_hash']}.parquet"
    file.parent.mkdir(parents=True)
    if content == "not Parquet":
        file.write_text("x")
    else:
        data.curves.drop(columns="u").to_parquet(file)
    with pytest.raises((AnalysisError, UserError), match=r"cannot be read as Parquet|has no column 'u'") as error:
        load(path)
    assert "\n" not in str(error.value)
    assert "delete it" in str(error.value)


def test_equal_curves_give_equal_bytes(folder):
    path, data = folder
    for name in ("a", "b"):
        write_additional(data, "curves", path / name)
    assert (path / "a").read_bytes() == (path / "b").read_bytes()


def a_table(name, data):
    """Two rows of every group in the columns of one of `ADDITIONAL`, with nulls."""
    filled = {"text": "x", "integer": 3, "real": 0.1}
    columns = ADDITIONAL[name]
    rows = [
        {c.name: filled[c.kind] for c in columns} | {"group": group, "layer": layer, "sparsity": None}
        for group in data.rows["group"].unique() for layer in ("b", "a")
    ]  # fmt: skip
    return typed(pd.DataFrame(rows, columns=[c.name for c in columns]), columns)


def test_alignment_comes_from_the_artifacts_of_all_groups_or_else_from_the_report(folder):
    path, data = folder
    tables = {name: a_table(name, data) for name in ("alignment", "units")}
    for name, table in tables.items():
        artifacts, place = Artifacts.of(path), f"{name}/{data.meta['study_hash']}"
        for group, own in table.groupby("group"):
            artifacts.write_table(f"{place}/{group}.parquet", own, ADDITIONAL[name])
        artifacts.write_table(f"{place}/of-no-group.parquet", table, ADDITIONAL[name])
    found = load(path)
    for name, table in tables.items():
        pd.testing.assert_frame_equal(getattr(found, name), table)
    assert len(found.alignment) == 2 * 2
    render_report(path)
    shutil.rmtree(path / "artifacts")
    kept = load(path)
    for name, table in tables.items():
        pd.testing.assert_frame_equal(getattr(kept, name), table)
        assert (path / "report" / f"{name}.parquet").is_file()


def test_an_old_report_has_no_alignment(folder):
    path, _ = folder
    found = load(path)
    assert found.alignment.empty
    assert list(found.units.columns) == [c.name for c in schema.UNITS]


def test_a_budget_is_said_for_every_row_of_its_search():
    def noted(budget):
        return json.dumps({"search": {"budget": budget}})

    rows = pd.DataFrame(
        {
            "scorer": ["v1", "v1", "a5", "v1", "dense", "v1"],
            "search": ["dbo(evaluations=60, correction=asr)"] * 3 + ["dbo"] + [None, "equal(correction=asr)"],
            "notes": [noted(60), None, "{}", noted(600), None, noted(1)],
        }
    )  # fmt: skip
    assert method_names(rows).tolist() == [
        "v1 + dbo(correction=asr) (60 evaluations)", "v1 + dbo(correction=asr) (60 evaluations)",
        "a5 + dbo(correction=asr) (60 evaluations)", "v1 + dbo", "dense", "v1 + equal(correction=asr)",
    ]  # fmt: skip


def test_a_search_that_never_ran_keeps_its_label():
    rows = pd.DataFrame({"scorer": ["v1"], "search": ["dbo(evaluations=60)"], "notes": [None]})
    assert method_names(rows).tolist() == ["v1 + dbo(evaluations=60)"]


def test_methods_survive_the_file(folder):
    path, data = folder
    assert read_parquet(path / "report" / "data.parquet").rows["method"].tolist() == data.rows["method"].tolist()


def test_the_data_file_keeps_the_records_of_methods(study, tmp_path):
    records = (Method("scorer", "./mine.py:score", family="inputs"), Method("search", "none"))
    data = dataclasses.replace(study(seeds=1), recorded=records)
    write_parquet(data, tmp_path / "data.parquet")
    assert read_parquet(tmp_path / "data.parquet").recorded == records
    write_parquet(study(seeds=1), tmp_path / "plain.parquet")
    assert read_parquet(tmp_path / "plain.parquet").recorded == ()
    assert b"methods" not in pq.read_schema(tmp_path / "plain.parquet").metadata
