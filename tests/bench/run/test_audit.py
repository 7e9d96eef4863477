"""Tests of `bench.run.audit`: recomputed cells are equal to their rows, and altered rows are found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bench.core.errors import UserError
from bench.core.registry import KINDS, Registry
from bench.run.audit import choose_cells, default_count, differences, open_as_run, recompute
from bench.run.row_checks import check_rows
from bench.store.files import Artifacts
from bench.store.reader import read_database


@pytest.fixture(scope="module")
def evidence(finished_small):
    return read_database(finished_small)


@pytest.fixture(scope="module")
def opened(finished_small, evidence):
    return open_as_run(finished_small, evidence.meta)


def altered(rows, cell, **values):
    """Rows in which one cell has other values."""
    rows = rows.copy()
    place = rows.index[rows["cell"].eq(cell)][0]
    for name, value in values.items():
        rows.at[place, name] = value
    return rows


def with_another_image(row):
    """Accuracy and correctness bits of a row in which one image is classified otherwise, so that both agree."""
    bits = np.unpackbits(np.frombuffer(row["correct"], np.uint8), count=row["n_test"])
    bits[0] ^= 1
    return {"accuracy": int(bits.sum()) / row["n_test"], "correct": np.packbits(bits).tobytes()}


def all_files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != "__pycache__"}


def test_every_recomputed_row_is_equal_and_nothing_is_written(finished_small, evidence, opened):
    before = all_files(finished_small)
    cells = choose_cells(evidence.rows, 99)
    found = list(recompute(opened, evidence.rows, cells, [Artifacts.of(finished_small)]))
    assert len(cells) == 28
    assert {one.cell for one in found} == set(cells)
    assert not [one for one in found if one.problems]
    assert all_files(finished_small) == before


def test_dense_models_are_trained_again_and_equal(finished_small, evidence, opened):
    lines = []
    cells = choose_cells(evidence.rows, 2)
    found = list(recompute(opened, evidence.rows, cells, show=lines.append))
    assert [one.problems for one in found] == [(), ()]
    assert any("dense model trained again" in line for line in lines)


def test_a_row_that_was_altered_consistently_is_found_by_recomputing_all(finished_small, evidence, opened):
    row = evidence.rows.iloc[5]
    rows = altered(evidence.rows, row["cell"], **with_another_image(row))
    assert not check_rows(rows, opened.plan)
    found = recompute(opened, rows, choose_cells(rows, 99), [Artifacts.of(finished_small)])
    (different,) = (one for one in found if one.problems)
    assert different.cell == row["cell"]
    assert "accuracy" in different.problems[0]
    assert different.problems[1] == f"1 of {row['n_test']} test images differ"


def test_missing_bits_are_found(finished_small, evidence, opened):
    cell = evidence.rows["cell"].iloc[5]
    rows = altered(evidence.rows, cell, correct=None)
    (found,) = recompute(opened, rows, [cell], [Artifacts.of(finished_small)])
    assert found.problems == ("no correctness bits of these test images",)


def test_another_mask_is_found(finished_small, evidence, opened):
    cell = evidence.rows["cell"].iloc[5]
    rows = altered(evidence.rows, cell, mask="0" * 64)
    (found,) = recompute(opened, rows, [cell], [Artifacts.of(finished_small)])
    assert found.problems == ("other mask",)


def test_another_dense_model_is_reported(finished_small, evidence, opened):
    rows = evidence.rows.assign(checkpoint="0" * 64)
    lines = []
    list(recompute(opened, rows, choose_cells(rows, 1), [Artifacts.of(finished_small)], lines.append))
    assert any("other dense model" in line for line in lines)


def test_a_cell_that_fails_when_it_is_recomputed_is_different(finished_small, evidence, opened):
    def broken(view, calibration, generator):
        raise ValueError("not on this machine")

    plugins = [
        replace(plugin, source=broken) if plugin.name == "exp_magnitude" else plugin
        for kind in KINDS
        for plugin in opened.registry.of_kind(kind)
    ]
    here = replace(opened, registry=Registry(plugins, finished_small))
    cells = evidence.rows.loc[evidence.rows["scorer"].isin(["magnitude", "exp_magnitude"]), ["cell", "scorer"]]
    found = recompute(here, evidence.rows, list(cells["cell"]), [Artifacts.of(finished_small)])
    scorers = dict(cells.itertuples(index=False))
    different = [one for one in found if one.problems]
    assert {scorers[one.cell] for one in different} == {"exp_magnitude"}
    assert different[0].problems == ("recomputed, the cell is failed: ValueError: not on this machine",)


def test_the_choice_depends_on_the_evidence_and_on_the_salt(evidence):
    rows = evidence.rows
    changed = altered(rows, rows["cell"].iloc[5], accuracy=0.123)
    chosen = choose_cells(rows, 10)
    assert choose_cells(rows.sample(frac=1, random_state=0), 10) == chosen
    assert choose_cells(changed, 10) != chosen
    assert choose_cells(rows, 10, "mine") != chosen
    assert len(choose_cells(rows, 10, "\udcff")) == 10  # any argument of a command line


def test_only_done_rows_are_chosen(evidence):
    rows = altered(evidence.rows, evidence.rows["cell"].iloc[0], state="failed")
    assert set(choose_cells(rows, 99)) == set(rows["cell"].iloc[1:])
    assert default_count(rows) == 5
    assert default_count(pd.concat([rows] * 100)) == 27


def test_settings_and_profile_are_those_of_the_evidence(finished_small, evidence):
    stored = {**evidence.meta["settings"], "batch": 77, "threads": 1}
    opened = open_as_run(finished_small, {**evidence.meta, "settings": stored})
    assert opened.settings.batch == 77


def test_rows_of_a_gpu_are_audited_on_the_cpu_with_a_note(finished_small, evidence, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    stored = {**evidence.meta["settings"], "device": "cuda", "device_class": "NVIDIA H200", "passes": "graph"}
    ran = {**evidence.meta["provenance"], "device": "NVIDIA H200"}
    theirs = replace(evidence, meta={**evidence.meta, "settings": stored, "provenance": ran})
    opened = open_as_run(finished_small, theirs.meta)
    assert (opened.settings.device, opened.settings.passes) == ("cpu", "single")
    assert "device: NVIDIA H200 when it was run, cpu here" in differences(opened, theirs)


def test_versions_and_studies_that_differ_are_stated(finished_small, evidence, opened):
    assert not [line for line in differences(opened, evidence) if "torch" in line or "study.yaml" in line]
    ran = evidence.meta["provenance"]
    ran = {**ran, "packages": {**ran["packages"], "torch": "1.0"}, "git": {"commit": "a" * 40}, "later_runs": [ran]}
    lines = differences(opened, replace(evidence, meta={**evidence.meta, "provenance": ran, "study_hash": "0"}))
    assert any(line.startswith("torch: 1.0 when it was run, ") for line in lines)
    assert any(line.startswith(f"prunebench: commit {'a' * 12} when") for line in lines)
    assert "study.yaml is not the one that was run" in lines
    assert any(line.startswith("later runs continued it") for line in lines)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"schema": 1}, "schema 1"),
        ({"settings": {"batch": 512}}, "settings of the evidence are damaged"),
        ({"settings": "x"}, "settings of the evidence are damaged"),
    ],
)
def test_evidence_that_cannot_be_audited_is_refused(changed, words, finished_small, evidence):
    with pytest.raises(UserError, match=words):
        open_as_run(finished_small, {**evidence.meta, **changed})


@pytest.mark.parametrize("name", ["batch", "threads"])
def test_settings_below_one_are_refused(name, finished_small, evidence):
    stored = {**evidence.meta["settings"], name: 0}
    with pytest.raises(UserError, match="below 1"):
        open_as_run(finished_small, {**evidence.meta, "settings": stored})
