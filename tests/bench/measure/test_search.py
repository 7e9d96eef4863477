"""Searched feature scorers through the pipeline, on the real digits."""

from __future__ import annotations

import copy
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.data.dataset import ImageSet
from bench.data.load import load_dataset
from bench.masks.build import build_masks
from bench.masks.order import keep_order
from bench.measure.evaluator import Evaluator
from bench.measure.pipeline import Pipeline
from bench.models.dense import obtain_dense
from bench.models.masking import apply_masks
from bench.models.view import Calibration, ModelView
from bench.run.open_study import open_study
from bench.scorers.features.classes import v1
from bench.store.files import Artifacts

STUDY = """\
name: searched
data: [digits]
models:
  - {name: digits_cnn, recipe: {epochs: 3}}
train_seeds: 1
granularities: [channel]
scorers: [magnitude, v1, v1b_var, gaussian_bump]
searches:
  - equal
  - {name: dbo, evaluations: 40}
  - {name: random_search, evaluations: 20, recalibration: cumulative}
sparsities: [0.5]
recalibrations: [none, cumulative]
"""


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("searched")
    (folder / "study.yaml").write_text(STUDY)
    return open_study(folder, device="cpu")


@pytest.fixture(scope="module")
def dataset(session):
    return load_dataset(session.study.file.data[0], session.study.folder)


@pytest.fixture(scope="module")
def dense(session, dataset):
    folder = session.study.folder
    return obtain_dense(
        session.study.file.models[0], dataset, 0, session.registry, folder, Artifacts.at(folder), torch.device("cpu")
    )


def make(session, dataset, dense) -> tuple[Pipeline, Counter[str]]:
    counters: Counter[str] = Counter()
    group = session.plan.groups[0]
    return Pipeline(group, dense, dataset, ("head",), session.registry, session.settings, counters), counters


def run(pipeline: Pipeline):
    outcomes = list(pipeline.run({cell.id for cell in pipeline.group.cells}))
    assert {o.state for o in outcomes} == {"done"}, [o.reason for o in outcomes]
    return outcomes


@pytest.fixture(scope="module")
def outcomes(session, dataset, dense):
    return run(make(session, dataset, dense)[0])


def search_of(outcome):
    return json.loads(outcome.values["notes"]).get("search")


def test_only_feature_scorers_are_searched_and_by_every_search(outcomes):
    seen = Counter((o.cell.scorer.name, o.cell.search.name) for o in outcomes)
    searched = {(s, k): 2 for s in ("v1", "v1b_var", "gaussian_bump") for k in ("equal", "dbo", "random_search")}
    assert seen == {("dense", "none"): 2, ("magnitude", "none"): 2, **searched}
    assert all((search_of(o) is None) == (o.cell.search.name == "none") for o in outcomes)


def test_a_row_holds_what_its_search_found(outcomes):
    for outcome in outcomes:
        found = search_of(outcome)
        if outcome.cell.search.name == "dbo":
            assert found["evaluations"] == found["budget"] == 40
            assert [point[0] for point in found["history"]] == [30, 36, 40]
            assert found["history"][-1][1] == found["search_accuracy"] == max(p[1] for p in found["history"])
            assert found["masks"] <= 40
            assert len(found["weights"]) == len(found["features"])
        if outcome.cell.search.name == "equal":
            assert set(found["weights"]) == {1.0}
            assert found["search_accuracy"] == found["search_accuracy_equal"]
            assert found["test_accuracy"] == found["test_accuracy_equal"]
        if found and outcome.cell.recalibration.name == "none":
            assert found["test_accuracy"] == outcome.values["accuracy"]


def test_all_repairs_of_a_block_share_one_search(outcomes):
    for name in ("dbo", "random_search"):
        for scorer in ("v1", "v1b_var", "gaussian_bump"):
            block = [o for o in outcomes if (o.cell.scorer.name, o.cell.search.name) == (scorer, name)]
            assert len(block) == 2
            assert search_of(block[0]) == search_of(block[1])
            assert block[0].values["mask"] == block[1].values["mask"]


def test_the_accuracies_of_the_found_weights_are_those_of_a_computation_by_hand(session, dataset, dense, outcomes):
    """Curves, fusion, masks and evaluation once more, without the pipeline."""
    made, _ = make(session, dataset, dense)
    units = made.shared.units("channel")
    view = ModelView(dense.model, units)
    features = v1(view, Calibration(torch.zeros(0), torch.zeros(0), 1), torch.Generator())
    (outcome,) = [
        o for o in outcomes
        if (o.cell.scorer.name, o.cell.search.name, o.cell.recalibration.name) == ("v1", "dbo", "none")
    ]  # fmt: skip
    found = search_of(outcome)
    scores = features.fuse(found["weights"])
    budget = session.registry.get("allocation", "uniform").function(units, scores, 0.5, view)
    masks = build_masks(units, keep_order(units, scores, view.magnitudes()), budget)
    assert masks.digest() == outcome.values["mask"]
    pruned = copy.deepcopy(dense.model)
    apply_masks(pruned, units, masks)
    for split, expected in ((dataset.search, "search_accuracy"), (dataset.test, "test_accuracy")):
        evaluator = Evaluator(dense.model, split, dense.normalisation, session.settings)
        assert evaluator.evaluate(pruned).accuracy == found[expected]


def test_the_test_split_cannot_reach_a_search(session, dataset, dense, outcomes):
    """Poison the test split: every search finds the same weights; only test accuracies move."""
    poisoned = replace(dataset, test=ImageSet(255 - dataset.test.images, dataset.test.labels.roll(1)))
    tested = {"test_accuracy", "test_accuracy_equal"}
    moved = 0
    for before, after in zip(outcomes, run(make(session, poisoned, dense)[0]), strict=True):
        assert before.values["mask"] == after.values["mask"]
        if search_of(before):
            ours, theirs = search_of(before), search_of(after)
            assert {k: v for k, v in ours.items() if k not in tested} == {
                k: v for k, v in theirs.items() if k not in tested
            }
            moved += ours["test_accuracy"] != theirs["test_accuracy"]
    assert moved


def test_a_poisoned_search_split_does_reach_it(session, dataset, dense, outcomes):
    """The test above can fail: the split that is meant to reach the search changes what it reports."""
    poisoned = replace(dataset, search=ImageSet(dataset.search.images, dataset.search.labels.roll(1)))
    again = run(make(session, poisoned, dense)[0])
    assert any(
        search_of(a)["search_accuracy"] != search_of(b)["search_accuracy"]
        for a, b in zip(outcomes, again, strict=True)
        if search_of(a)
    )


def test_a_search_that_a_row_holds_is_not_repeated(session, dataset, dense, outcomes):
    made, counters = make(session, dataset, dense)
    made.remember(o.values for o in outcomes)
    again = run(made)
    assert counters["search_evaluations"] == counters["evaluations"] == 0
    assert [o.values["notes"] for o in again] == [o.values["notes"] for o in outcomes]


def test_a_search_is_better_than_the_candidates_it_saw(outcomes):
    for outcome in outcomes:
        found = search_of(outcome)
        if outcome.cell.search.name == "random_search":
            assert found["evaluations"] == 20
            assert 0 <= found["search_accuracy"] <= 1
            assert np.abs(found["weights"]).max() <= 1


def test_a_repair_under_which_candidates_are_compared_must_exist(tmp_path, command):
    (tmp_path / "study.yaml").write_text(STUDY.replace("recalibration: cumulative", "recalibration: cumulativ"))
    result = command("plan", tmp_path)
    assert result.code == 2
    assert "line 11, column" in result.err
    assert "did you mean 'cumulative'?" in result.err
