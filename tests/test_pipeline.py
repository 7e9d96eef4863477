"""One group, stage by stage, on the real digits."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch

from bench.data.dataset import ImageSet
from bench.data.load import load_dataset
from bench.models.checkpoints import state_digest
from bench.models.dense import DenseModel, obtain_dense
from bench.pipeline import Pipeline
from bench.session import open_session
from bench.types import Settings

SETTINGS = Settings(precision="float32", memory_format="contiguous", batch=512, device="cpu", threads=1)


@pytest.fixture(scope="module")
def session(tmp_path_factory, write_tiny):
    return open_session(write_tiny(tmp_path_factory.mktemp("pipeline") / "tiny"))


@pytest.fixture(scope="module")
def dataset(session):
    return load_dataset(session.study.file.data[0], session.study.folder)


@pytest.fixture(scope="module")
def dense(session, dataset) -> DenseModel:
    folder = session.study.folder
    return obtain_dense(
        session.study.file.models[0],
        dataset,
        0,
        session.registry,
        folder,
        folder / "artifacts",
        torch.device("cpu"),
    )


def pipeline(session, dataset, dense, settings=SETTINGS):
    counters = Counter()
    group = session.plan.groups[0]
    return Pipeline(group, dense, dataset, ("head",), session.registry, settings, counters), counters


@pytest.fixture(scope="module")
def outcomes(session, dataset, dense):
    made, counters = pipeline(session, dataset, dense)
    found = list(made.run({cell.id for cell in session.plan.groups[0].cells}))
    return found, counters


def test_every_cell_has_one_outcome_in_plan_order(session, outcomes):
    found, _ = outcomes
    assert [o.cell.id for o in found] == [c.id for c in session.plan.groups[0].cells]
    assert Counter(o.state for o in found) == {"done": 90, "skipped": 8}


def test_one_score_pass_and_one_sort_serve_all_sparsities(outcomes):
    _, counters = outcomes
    # 4 scorers for weights, 5 for channels; magnitude's own order once more per granularity
    assert counters["score_passes"] == 4 + 5
    assert counters["sorts"] == 4 + 5 + 2


def test_a_mask_set_is_evaluated_once_per_repair(outcomes):
    found, counters = outcomes
    evaluations = {o.values["evaluation"] for o in found if o.state == "done"}
    assert counters["evaluations"] == len(evaluations) < counters["cells"]
    assert counters["shared"] == counters["cells"] - counters["evaluations"]
    by_mask = {(o.cell.scorer.name, o.cell.granularity, o.cell.allocation and o.cell.allocation.name, o.cell.sparsity):
               o.values["mask"] for o in found if o.state == "done"}  # fmt: skip
    for (scorer, *rest), mask in by_mask.items():
        if scorer == "exp_magnitude":
            assert mask == by_mask["magnitude", *rest]


def test_the_dense_rows_are_the_dense_model(outcomes, dense, dataset):
    found, _ = outcomes
    with torch.no_grad():
        images = dataset.test.images.float() / 255
        mean, std = (torch.tensor(v) for v in (dense.normalisation.mean, dense.normalisation.std))
        hits = dense.model((images - mean) / std).argmax(1) == dataset.test.labels
    assert found[0].cell.is_dense
    assert found[0].values["accuracy"] == pytest.approx(float(hits.double().mean()))
    assert found[0].values["sparsity_achieved"] == 0


def test_the_dense_model_is_left_as_it_was(outcomes, dense):
    assert state_digest(dense.model.state_dict()) == dense.checkpoint


def test_test_images_reach_nothing_but_the_accuracy(session, dataset, dense, outcomes):
    """Poison the test split: masks, seeds and repairs stay, accuracies do not."""
    found, _ = outcomes
    poisoned = replace(dataset, test=ImageSet(255 - dataset.test.images, dataset.test.labels.roll(1)))
    made, _ = pipeline(session, poisoned, dense)
    again = list(made.run({cell.id for cell in session.plan.groups[0].cells}))
    for before, after in zip(found, again, strict=True):
        for name in ("mask", "evaluation", "seeds", "identity_ratio", "magnitude_overlap", "speedup"):
            assert before.values.get(name) == after.values.get(name)
    assert any(a.values.get("correct") != b.values.get("correct") for a, b in zip(found, again, strict=True))


def test_what_is_known_is_not_evaluated_again(session, dataset, dense, outcomes):
    found, _ = outcomes
    made, counters = pipeline(session, dataset, dense)
    made.remember(o.values for o in found if o.state == "done")
    wanted = {c.id for c in session.plan.groups[0].cells if c.scorer.name == "taylor"}
    again = {o.cell.id: o for o in made.run(wanted)}
    assert counters["evaluations"] == 0
    for outcome in found:
        if outcome.cell.id in wanted and outcome.state == "done":
            assert again[outcome.cell.id].values["accuracy"] == outcome.values["accuracy"]


def test_checks_evaluate_shared_cells_again_and_find_the_same(session, dataset, dense, outcomes):
    found, _ = outcomes
    made, counters = pipeline(session, dataset, dense)
    rows = {o.cell.id: o.values for o in found if o.state == "done"}
    checks = list(made.checks(rows, groups=2, finished=set()))
    assert len(checks) == counters["checks"] == 10
    assert {check.kind for check in checks} == {"shared"}
    assert [check.mismatches for check in checks] == [0] * 10
    done = {(checks[0].cell.id, "shared")}
    assert len(list(made.checks(rows, groups=2, finished=done))) == 9


def test_a_check_would_notice_another_result(session, dataset, dense, outcomes):
    found, _ = outcomes
    made, _ = pipeline(session, dataset, dense)
    rows = {o.cell.id: dict(o.values) for o in found if o.state == "done"}
    for row in rows.values():
        row["correct"] = bytes(50)
    checks = list(made.checks(rows, groups=2, finished=set()))
    assert all(check.mismatches == round(check.accuracy * 400) for check in checks)
    assert any(check.mismatches for check in checks)


def test_bfloat16_rows_are_checked_in_float32(session, dataset, dense):
    made, _ = pipeline(session, dataset, dense, replace(SETTINGS, precision="bfloat16"))
    cells = [replace(c, precision="bfloat16") for c in session.plan.groups[0].cells if c.granularity != "channel"]
    made.group = replace(made.group, cells=tuple(cells))
    rows = {o.cell.id: o.values for o in made.run({c.id for c in cells}) if o.state == "done"}
    checks = [c for c in made.checks(rows, groups=20, finished=set()) if c.kind == "float32"]
    judged = [c for c in checks if c.cell.recalibration.name == "cumulative" and c.cell.scorer.name == "magnitude"]
    assert len(judged) == 2 * 2 * 2  # allocations x sparsities x corrections
    by_block = {}
    for check in judged:
        by_block.setdefault((check.cell.allocation.name, check.cell.sparsity), []).append(check.accuracy)
    assert all(max(values) - min(values) <= 1 / 400 for values in by_block.values())
