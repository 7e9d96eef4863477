"""The evidence: filters, labels, chance, and the models of a look."""

from __future__ import annotations

import dataclasses
import math

import pandas as pd
import pytest

from analysis.evidence import frames
from analysis.evidence.evidence import Evidence
from analysis.evidence.fusion import searches
from bench.data.load import data_facts
from bench.study.spec import DataSpec


@pytest.fixture(scope="module")
def data(study):
    return Evidence.of(study(seeds=3, models=("cnn",), scorers=("magnitude", "taylor"), recalibrations=("none",)))


def test_evidence_of_evidence_is_itself(study, data):
    plain = study(seeds=1, models=("cnn",), scorers=("magnitude",))
    assert Evidence.of(data) is data
    wrapped = Evidence.of(plain)
    assert wrapped.rows is plain.rows
    assert wrapped.meta == plain.meta


def test_rows_meet_every_condition(data):
    found = data.select({"granularity": ("weight",), "scorer": ("taylor",)}, (0.8,))
    rows = data.rows
    expected = rows["granularity"].eq("weight") & rows["scorer"].eq("taylor") & rows["sparsity"].eq(0.8)
    assert found.index.tolist() == rows.index[expected].tolist()
    assert len(data.select({})) == int(rows["scorer"].ne("dense").sum())
    assert data.select({"scorer": ("absent",)}).empty


@pytest.mark.parametrize(
    ("sparsities", "between", "found"),
    [((0.8,), False, {0.8}), ((0.6, 0.9), True, {0.8}), ((0.5, 0.8), True, {0.5, 0.8}), ((0.7,), False, set()),
     ((0.8 + 1e-12,), False, {0.8}), ((0.5, 0.8), False, {0.5, 0.8})],
)  # fmt: skip
def test_sparsities_are_named_or_lie_between_limits(data, sparsities, between, found):
    assert set(data.select({}, sparsities, between)["sparsity"]) == found


def test_a_filter_is_computed_once_whatever_the_order_of_its_columns(data):
    first = data.select({"granularity": ("weight",), "scorer": ("taylor",)})
    assert data.select({"scorer": ("taylor",), "granularity": ("weight",)}) is first


def test_labels_of_the_plan(data):
    assert data.planned_labels["scorer"] == ["magnitude", "taylor"]
    assert data.labels("correction", ("asr", "absent")) == ["asr"]


@pytest.mark.parametrize(
    ("facts", "chance"),
    [
        ({"num_classes": 10, "chance": 0.3}, 0.3),
        ({"num_classes": 10}, 0.1),  # evidence from before the share was stored
        ({"num_classes": 10, "chance": 0.0}, 0.1),
        ({}, math.nan),
    ],
)
def test_chance_is_the_share_of_the_largest_test_class(data, facts, chance):
    meta = {**data.meta, "provenance": {"datasets": {"digits": facts}}}
    assert dataclasses.replace(data, meta=meta).chance("digits") == pytest.approx(chance, nan_ok=True)
    assert math.isnan(dataclasses.replace(data, meta=meta).chance("cifar10"))


def test_models_of_a_look_are_the_first_of_the_plan(data):
    first = data.first_models(2)
    assert sorted(first.rows["train_seed"].unique()) == [0, 1]
    reversed_plan = data.rows.assign(position=data.rows["position"].max() - data.rows["position"])
    assert sorted(data.with_rows(reversed_plan).first_models(2).rows["train_seed"].unique()) == [1, 2]
    assert (data.models_per_architecture, first.models_per_architecture) == (3, 2)


def test_a_model_is_complete_when_all_of_its_cells_have_run(study):
    both = Evidence.of(study(seeds=3, scorers=("magnitude",), repairs=False, recalibrations=("none",)))
    rows = both.rows

    def complete(*lost, state=None):
        states = rows["state"].copy()
        for model, seed in lost:
            place = rows.index[rows["model"].eq(model) & rows["train_seed"].eq(seed)][-1]
            states[place] = state
        return both.with_rows(rows.assign(state=states)).complete_models

    assert complete() == 3
    assert complete(("cnn", 2)) == 2
    assert complete(("cnn", 2), ("vit", 0)) == 0  # the models count in the order of the plan
    assert complete(("cnn", 2), state="running") == 2
    assert complete(("cnn", 2), state="failed") == 3


def test_an_architecture_with_fewer_planned_models_holds_back_nothing(study):
    both = Evidence.of(study(seeds=3, scorers=("magnitude",), repairs=False, recalibrations=("none",)))
    fewer = both.rows[both.rows["model"].ne("vit") | both.rows["train_seed"].eq(0)]
    assert both.with_rows(fewer).complete_models == 3


def test_rows_can_be_exchanged_and_the_rest_is_kept(data):
    part = data.with_rows(data.rows.iloc[5:])
    assert (len(part.rows), part.rows.index[0]) == (len(data.rows) - 5, 0)
    assert part.dense is data.dense
    assert len(part.pruned) < len(data.pruned)


def test_the_share_of_the_largest_class_is_stored_with_a_study(tmp_path):
    facts = data_facts(DataSpec(name="digits"), tmp_path)
    stored = dataclasses.asdict(facts)
    meta = {"provenance": {"datasets": {"digits": stored}}}
    evidence = Evidence(rows=None, checks=None, dense=None, meta=meta)
    assert evidence.chance("digits") == facts.chance
    assert 0.1 <= facts.chance < 0.15


def test_a_filter_is_computed_once_and_gives_what_the_pure_function_gives(fused):
    data = Evidence.of(fused(seeds=2))
    expected = {
        "pruned": frames.pruned(data.rows),
        "evaluated": frames.done(frames.pruned(data.rows)),
        "main": frames.main_rows(data.rows),
        "plain": frames.done(frames.unrepaired(frames.unsearched(frames.main_rows(data.rows)))),
        "unrepaired": frames.unrepaired(data.rows),
        "searched": frames.searched(data.rows),
        "searches": searches(data.rows),
        "escapes": frames.escape(frames.unrepaired(data.rows)),
        "dense_evaluated": frames.done(data.rows[data.rows["scorer"].eq("dense")]),
    }
    for name, frame in expected.items():
        assert len(frame) > 0
        pd.testing.assert_frame_equal(getattr(data, name), frame)
        assert getattr(data, name) is getattr(data, name)
