"""Correction and recalibration of a masked model, against the methods called by hand."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from bench.measure.repair import Repair
from bench.measure.scoring import Scoring
from bench.measure.working_model import WorkingModel
from bench.models.masking import apply_masks
from bench.repairs.correction import RepairContext, asr
from bench.repairs.recalibration import cumulative
from bench.repairs.statistics import channel_moments


@pytest.fixture
def repair(shared) -> Repair:
    return Repair(shared, WorkingModel(shared.dense.model))


@pytest.fixture
def cell(cells):
    """Corrected and recalibrated."""
    return next(c for c in cells if c.correction.name == "asr" and c.recalibration.name == "cumulative")


def equal_states(ours, theirs):
    return all(torch.equal(tensor, theirs.state_dict()[name]) for name, tensor in ours.state_dict().items())


def test_it_is_masking_correcting_and_recalibrating_by_hand(repair, shared, cell):
    masks, draw = Scoring(shared).masked(cell, None).masks, shared.calibration(cell.calibration)
    by_hand = copy.deepcopy(shared.dense.model)
    apply_masks(by_hand, masks.units, masks)
    moments = channel_moments(shared.dense.model, masks.units.layers, draw)
    asr(RepairContext(by_hand, moments, masks.units, masks, draw, shared.dense.model))
    cumulative(by_hand, draw)
    found = repair.apply(cell, masks, compare_channels=True)
    assert equal_states(found.model, by_hand)
    assert found.identity_covered is True
    assert found.identity_ratio > 0
    assert found.channels["channels"] > 0


def test_without_a_repair_it_is_the_masked_model_and_nothing_is_measured(repair, shared, cell, session):
    none = {kind: session.registry.get(kind, "none").resolve({}) for kind in ("correction", "recalibration")}
    masks = Scoring(shared).masked(cell, None).masks
    found = repair.apply(replace(cell, **none), masks)
    masked = copy.deepcopy(shared.dense.model)
    apply_masks(masked, masks.units, masks)
    assert equal_states(found.model, masked)
    assert (found.identity_covered, found.identity_ratio, found.channels) == (None, None, None)
    assert shared.counters["forward_passes"] == 0


def test_the_order_of_repairs_changes_nothing(repair, shared, cells, cell):
    masks = Scoring(shared).masked(cell, None).masks
    same_masks = [
        c for c in cells
        if (c.scorer, c.granularity, c.allocation, c.sparsity)
        == (cell.scorer, cell.granularity, cell.allocation, cell.sparsity)
    ]  # fmt: skip
    assert len(same_masks) == 4
    forward = [copy.deepcopy(repair.apply(c, masks).model) for c in same_masks]
    backward = [copy.deepcopy(repair.apply(c, masks).model) for c in reversed(same_masks)]
    assert all(map(equal_states, forward, reversed(backward)))
    assert not equal_states(forward[0], forward[-1])
