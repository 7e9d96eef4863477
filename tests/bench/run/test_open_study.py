"""Tests of `bench.run.open_study`."""

from __future__ import annotations

from contextlib import closing

import pytest

from bench.core.errors import UserError
from bench.run.open_study import changed_inputs, largest_model, open_study, widest_data
from bench.store.database import open_store
from bench.study.registration import read_record, register


def test_a_study_is_opened_without_writing_to_its_folder(tiny):
    before = sorted(path.name for path in tiny.iterdir())
    opened = open_study(tiny)
    assert sorted(path.name for path in tiny.iterdir()) == before
    assert set(opened.facts) == {"digits"}
    assert set(opened.networks) == {("digits", "digits_cnn")}
    assert opened.settings.precision == "float32"


def test_a_cell_is_found_by_its_position_and_by_the_beginning_of_its_id(tiny):
    opened = open_study(tiny)
    cells = list(opened.plan.cells())
    assert opened.find_cell(cells[7].id[:16]) == cells[7]
    assert opened.find_cell(str(cells[7].position)) == cells[7]
    with pytest.raises(UserError, match="no such cell"):
        opened.find_cell("no such cell")


def test_a_profile_has_the_cells_of_its_axes(tiny):
    whole, one = open_study(tiny), open_study(tiny, "one")
    assert len(one.plan.groups) == 1
    assert {cell.id for cell in one.plan.cells()} < {cell.id for cell in whole.plan.cells()}


def test_an_unchanged_study_has_no_changed_inputs(finished_tiny):
    with closing(open_store(finished_tiny)) as store:
        assert changed_inputs(store, open_study(finished_tiny)) == []


def test_another_recipe_is_a_changed_input(finished_tiny, tiny):
    text = (tiny / "study.yaml").read_text()
    (tiny / "study.yaml").write_text(text.replace("epochs: 3", "epochs: 4"))
    with closing(open_store(finished_tiny)) as store:
        assert changed_inputs(store, open_study(tiny)) == [
            "digits, digits_cnn: its recipe, code or checkpoint changed since an earlier run: its cells are new"
        ]


def test_the_largest_model_has_the_most_parameters(tiny):
    text = (tiny / "study.yaml").read_text()
    (tiny / "study.yaml").write_text(text.replace("train_seeds", "  - resnet10t\ntrain_seeds", 1))
    opened = open_study(tiny)
    data = widest_data(opened.facts)
    sizes = {title: network.parameters for (_, title), network in opened.networks.items()}
    largest = largest_model(opened.study, opened.registry, data)
    assert sum(p.numel() for p in largest.parameters()) == sizes["resnet10t"] > sizes["digits_cnn"]


def test_the_design_of_a_study_does_not_depend_on_its_registration(tiny):
    before = open_study(tiny)
    assert before.record is None
    register(tiny, before.design, "0" * 64, name="tiny")
    after = open_study(tiny)
    assert after.design == before.design
    assert after.record == read_record(tiny)
    assert not {cell.id for cell in before.plan.cells()} & {cell.id for cell in after.plan.cells()}
    assert open_study(tiny, "one").record is None  # another profile is another study
