"""One group, stage by stage, on the real digits."""

from __future__ import annotations

import copy
import json
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from scipy.stats import spearmanr

from bench.data.dataset import ImageSet
from bench.measure.scoring import Scoring
from bench.models.checkpoints import state_digest
from bench.models.masking import apply_masks
from bench.repairs.channels import channel_changes
from bench.repairs.correction import RepairContext, asr
from bench.repairs.statistics import channel_moments
from bench.scorers.rank import normalised_rank


@pytest.fixture(scope="module")
def outcomes(cells, make_pipeline):
    made, counters = make_pipeline()
    found = list(made.run({cell.id for cell in cells}))
    return found, counters


def test_every_cell_has_one_outcome_in_plan_order(session, outcomes):
    found, _ = outcomes
    assert [o.cell.id for o in found] == [c.id for c in session.plan.groups[0].cells]
    assert Counter(o.state for o in found) == {"done": 90, "skipped": 8}


def test_one_score_pass_and_one_sort_serve_all_sparsities(outcomes):
    _, counters = outcomes
    assert counters["score_passes"] == 4 + 5  # 4 scorers for weights, 5 for channels
    # magnitude's own order at both granularities, which serves magnitude and the other scorer that increases with it
    assert counters["sorts"] == (4 - 2) + (5 - 2) + 2


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


def test_test_images_reach_nothing_but_the_accuracy(session, dataset, dense, make_pipeline, outcomes):
    """Poison the test split: masks, seeds and repairs stay, accuracies do not."""
    found, _ = outcomes
    poisoned = replace(dataset, test=ImageSet(255 - dataset.test.images, dataset.test.labels.roll(1)))
    made, _ = make_pipeline(dataset=poisoned)
    again = list(made.run({cell.id for cell in session.plan.groups[0].cells}))
    for before, after in zip(found, again, strict=True):
        for name in ("mask", "evaluation", "seeds", "identity_ratio", "magnitude_overlap", "speedup"):
            assert before.values.get(name) == after.values.get(name)
    assert any(a.values.get("correct") != b.values.get("correct") for a, b in zip(found, again, strict=True))


def test_what_is_known_is_not_evaluated_again(session, dataset, dense, make_pipeline, outcomes):
    found, _ = outcomes
    made, counters = make_pipeline()
    made.remember(o.values for o in found if o.state == "done")
    wanted = {c.id for c in session.plan.groups[0].cells if c.scorer.name == "taylor"}
    again = {o.cell.id: o for o in made.run(wanted)}
    assert counters["evaluations"] == 0
    for outcome in found:
        if outcome.cell.id in wanted and outcome.state == "done":
            assert again[outcome.cell.id].values["accuracy"] == outcome.values["accuracy"]


def channels_of(outcome):
    return json.loads(outcome.values["notes"]).get("channels") if outcome.state == "done" else None


def test_every_corrected_cell_notes_how_its_channels_changed(outcomes):
    found, _ = outcomes
    corrected = [o for o in found if o.cell.correction.name != "none" and o.state == "done"]
    assert len(corrected) == 2 * 2 * 2 * 2  # granularities, allocations, sparsities, recalibrations
    assert [o for o in found if channels_of(o) is not None] == corrected
    blocks = {}
    for o in corrected:
        blocks.setdefault((o.cell.granularity, o.cell.allocation.name, o.cell.sparsity), []).append(channels_of(o))
    assert all(before == after for before, after in blocks.values())  # before recalibration, so the same in both
    assert any(block[0]["above_after"] > 0 for block in blocks.values())
    for granularity in ("weight", "channel"):
        half, most = (blocks[granularity, "global", s][0] for s in (0.5, 0.8))
        assert 0 < half["loss"] < most["loss"] < 1


def test_noted_channels_are_those_of_a_correction_by_hand(session, dataset, dense, make_pipeline, outcomes):
    outcome = next(o for o in outcomes[0] if o.cell.correction.name == "asr" and o.cell.sparsity == 0.8)
    made, _ = make_pipeline()
    draw = made.shared.calibration(outcome.cell.calibration)
    masks = Scoring(made.shared).masked(outcome.cell, None).masks
    moments = [channel_moments(dense.model, masks.units.layers, draw)]
    model = copy.deepcopy(dense.model)
    apply_masks(model, masks.units, masks)
    moments.append(channel_moments(model, masks.units.layers, draw))
    asr(RepairContext(model, moments[0], masks.units, masks, draw, dense.model))
    moments.append(channel_moments(model, masks.units.layers, draw))
    assert channels_of(outcome) == channel_changes(*moments)


def test_noted_channels_are_kept_with_their_evaluation(session, dataset, dense, make_pipeline, outcomes):
    found, _ = outcomes
    corrected = [o for o in found if channels_of(o) is not None]
    made, counters = make_pipeline()
    made.remember(o.values for o in corrected)
    again = list(made.run({o.cell.id for o in corrected}))
    assert counters["forward_passes"] == 0
    assert [o.values["notes"] for o in again] == [o.values["notes"] for o in corrected]
    made.remember([{**o.values, "notes": "{}"} for o in corrected])  # rows of an older version
    assert {o.values["notes"] for o in made.run({o.cell.id for o in corrected})} == {"{}"}


def test_corrections_and_recalibrations_of_a_mask_share_its_moments(make_pipeline):
    made, counters = make_pipeline()
    cells = [c for c in made.group.cells if c.correction.name == "asr" and c.granularity == "weight"]
    block = [c for c in cells if (c.allocation.name, c.sparsity) == ("global", 0.5)]
    assert [o.state for o in made.run({c.id for c in block})] == ["done", "done"]
    draw = block[0].calibration.images
    # dense, masked and corrected once each, one recalibration, and the test images of two evaluations
    assert counters["forward_passes"] == 4 * draw + 2 * 400
    assert counters["dense_statistics"] == 1


def test_alignment_covers_the_scores_of_all_done_cells(session, dataset, dense, make_pipeline, outcomes):
    found, _ = outcomes
    made, counters = make_pipeline()
    list(made.run({c.id for c in made.group.cells}))
    passes = counters["score_passes"]
    layers, units = made.alignment({o.cell.id for o in found if o.state == "done"})
    assert counters["score_passes"] == passes
    scored = {("weight", s) for s in ("random", "magnitude", "exp_magnitude", "taylor")}
    scored |= {("channel", s) for s in ("random", "magnitude", "exp_magnitude", "l2", "taylor")}
    assert set(zip(layers["granularity"], layers["scorer"], strict=True)) == scored
    assert set(zip(units["granularity"], units["scorer"], strict=True)) == scored
    assert len(layers) == len(scored) * 2 * len(made.shared.units("weight").layers)
    assert layers["allocation"].isna().all()
    monotone = layers[layers["scorer"].isin(["magnitude", "exp_magnitude"])]
    # not quite 1 where float32 weights are equal: u orders them, scores do not
    assert (monotone[["rho", "window_rho"]] > 1 - 1e-6).all(axis=None)
    taylor = next(c for c in made.group.cells if c.scorer.name == "taylor" and c.granularity == "channel")
    scores, magnitudes = Scoring(made.shared).scores(taylor, None), made.shared.view("channel").magnitudes()
    own = layers[layers["scorer"].eq("taylor") & layers["granularity"].eq("channel") & layers["sparsity"].eq(0.5)]
    for row in own.to_dict("records"):
        u = normalised_rank(magnitudes[row["layer"]])
        assert row["rho"] == pytest.approx(spearmanr(scores[row["layer"]], u).statistic, abs=1e-12)
    sampled = units[units["scorer"].eq("taylor") & units["granularity"].eq("channel")].to_dict("records")
    assert [row["score"] for row in sampled] == [float(scores[row["layer"]][row["unit"]]) for row in sampled]


def test_alignment_that_was_not_met_in_the_run_is_scored_anew(session, dataset, dense, make_pipeline, outcomes):
    found, _ = outcomes
    done = {o.cell.id for o in found if o.state == "done"}
    made, _ = make_pipeline()
    list(made.run(done))
    other, counters = make_pipeline()
    for mine, theirs in zip(made.alignment(done), other.alignment(done), strict=True):
        assert mine.equals(theirs)
    assert counters == {"score_passes": 9, "sorts": (4 - 2) + (5 - 2) + 2}
    assert len(other.alignment(set())[0]) == 0


def test_checks_evaluate_shared_cells_again_and_find_the_same(session, dataset, dense, make_pipeline, outcomes):
    found, _ = outcomes
    made, counters = make_pipeline()
    rows = {o.cell.id: o.values for o in found if o.state == "done"}
    checks = list(made.checks(rows, groups=2, finished=set()))
    assert len(checks) == counters["checks"] == 10
    assert {check.kind for check in checks} == {"shared"}
    assert [check.mismatches for check in checks] == [0] * 10
    done = {(checks[0].cell.id, "shared")}
    assert len(list(made.checks(rows, groups=2, finished=done))) == 9


def test_a_check_would_notice_another_result(session, dataset, dense, make_pipeline, outcomes):
    found, _ = outcomes
    made, _ = make_pipeline()
    rows = {o.cell.id: dict(o.values) for o in found if o.state == "done"}
    for row in rows.values():
        row["correct"] = bytes(50)
    checks = list(made.checks(rows, groups=2, finished=set()))
    assert all(check.mismatches == round(check.accuracy * 400) for check in checks)
    assert any(check.mismatches for check in checks)


def test_bfloat16_rows_are_checked_in_float32(session, make_pipeline, settings):
    cells = [replace(c, precision="bfloat16") for c in session.plan.groups[0].cells if c.granularity != "channel"]
    group = replace(session.plan.groups[0], cells=tuple(cells))
    made, _ = make_pipeline(group=group, settings=replace(settings, precision="bfloat16"))
    rows = {o.cell.id: o.values for o in made.run({c.id for c in cells}) if o.state == "done"}
    checks = [c for c in made.checks(rows, groups=20, finished=set()) if c.kind == "float32"]
    judged = [c for c in checks if c.cell.recalibration.name == "cumulative" and c.cell.scorer.name == "magnitude"]
    assert len(judged) == 2 * 2 * 2  # allocations x sparsities x corrections
    by_block = {}
    for check in judged:
        by_block.setdefault((check.cell.allocation.name, check.cell.sparsity), []).append(check.accuracy)
    assert all(max(values) - min(values) <= 1 / 400 for values in by_block.values())


def comparable(outcome):
    return outcome.state, outcome.reason, {k: v for k, v in outcome.values.items() if k != "seconds"}


@settings_of_hypothesis(max_examples=3)
@given(order=st.randoms(use_true_random=False))
def test_any_order_of_the_plan_gives_the_same_rows_and_costs_the_same(order, session, make_pipeline, outcomes):
    group = session.plan.groups[0]
    cells = list(group.cells)
    order.shuffle(cells)
    made, counters = make_pipeline(group=replace(group, cells=tuple(cells)))
    again = {outcome.cell.id: comparable(outcome) for outcome in made.run({cell.id for cell in cells})}
    found, before = outcomes
    assert again == {outcome.cell.id: comparable(outcome) for outcome in found}
    assert counters == before


def test_stacked_models_have_the_rows_of_single_ones(session, settings, make_pipeline, outcomes):
    pipeline, counters = make_pipeline(settings=replace(settings, passes="stacked"))
    found = list(pipeline.run({cell.id for cell in session.plan.cells()}))
    assert [outcome.cell.id for outcome in found] == [outcome.cell.id for outcome in outcomes[0]]
    for name in ("evaluations", "shared", "forward_passes", "cells"):
        assert counters[name] == outcomes[1][name]
    for stacked, single in zip(found, outcomes[0], strict=True):
        assert (stacked.state, stacked.reason) == (single.state, single.reason)
        if single.state == "done":
            assert stacked.values["loss"] == pytest.approx(single.values["loss"], rel=1e-5)
            for name in single.values.keys() - {"loss", "seconds"}:
                assert stacked.values[name] == single.values[name], name


def test_checks_of_stacked_models_find_the_bits_of_the_rows(session, settings, make_pipeline):
    pipeline, _ = make_pipeline(settings=replace(settings, passes="stacked"))
    cells = {cell.id for cell in session.plan.cells()}
    rows = {outcome.cell.id: outcome.values for outcome in pipeline.run(cells) if outcome.state == "done"}
    checks = list(pipeline.checks(rows, 1, ()))
    assert checks
    assert all(check.mismatches == 0 for check in checks)


def test_a_deadline_fails_each_cell_of_a_stack(session, settings, make_pipeline):
    pipeline, _ = make_pipeline(settings=replace(settings, passes="stacked"), cell_timeout=1e-9)
    found = list(pipeline.run({cell.id for cell in session.plan.cells()}))
    assert {outcome.state for outcome in found} <= {"failed", "skipped"}
    assert all("deadline" in outcome.reason for outcome in found if outcome.state == "failed")


def test_a_dense_model_that_a_method_changes_is_noticed(make_pipeline, dense, dataset):
    made, _ = make_pipeline()
    assert made.dense_model_change() is None
    weight = next(dense.model.parameters())
    with torch.no_grad():
        weight.mul_(2)
        assert made.dense_model_change() == "changes its weights or buffers"
        weight.div_(2)
    handle = dense.model.register_forward_hook(lambda *_: None)
    assert made.dense_model_change() == "leaves a hook on the model"
    handle.remove()
    assert made.dense_model_change() is None
