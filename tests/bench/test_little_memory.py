"""Memory that does not suffice: smaller parts where the result is the same, a clear failure otherwise."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
import torch
from small_networks import STUDY, seeded_net, view_of

from bench.core.errors import CellError
from bench.data.load import load_dataset
from bench.measure.pipeline import Pipeline
from bench.models.dense import DenseModel
from bench.models.digits import DigitsCNN
from bench.models.units import find_units
from bench.models.view import Calibration
from bench.repairs import recalibration
from bench.repairs.statistics import batch_moments
from bench.run.open_study import open_study
from bench.scorers.activation import activation
from bench.scorers.fisher import fisher
from bench.scorers.gradient import gradient, snip, taylor
from bench.scorers.grasp import grasp
from bench.scorers.obs import obs
from bench.scorers.wanda import wanda
from bench.store.reader import read_database

#: Images that fit: at least those of the probe for layers that no recalibration covers.
FITTING = 8


class LittleMemory(DigitsCNN):
    """A network that takes `FITTING` images at once, and fails with more."""

    def forward(self, x):
        if len(x) > FITTING:
            raise torch.OutOfMemoryError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        return super().forward(x)


@pytest.fixture
def draw() -> Calibration:
    generator = torch.Generator().manual_seed(1)
    return Calibration(torch.randn(40, 1, 8, 8, generator=generator), torch.arange(40) % 10, 16)


@pytest.fixture
def finished(tmp_path):
    """Outcomes of a small study: with all memory, and with little."""
    (tmp_path / "study.yaml").write_text(STUDY)
    session = open_study(tmp_path)
    data = load_dataset(session.study.file.data[0], tmp_path)

    def outcomes(net):
        dense = DenseModel(net, "hash", data.normalisation, "no", {}, {}, 0.0)
        group = session.plan.groups[0]
        made = Pipeline(group, dense, data, ("head",), session.registry, session.settings, Counter())
        found = list(made.run({cell.id for cell in group.cells}))
        rows = {o.cell.id: o.values for o in found if o.state == "done"}
        return found, list(made.checks(rows, 1, set())), made.alignment(rows)

    return outcomes(seeded_net()), outcomes(seeded_net(kind=LittleMemory))


@pytest.mark.parametrize("scorer", [gradient, taylor, snip, grasp, fisher, wanda, obs, activation])
def test_scores_do_not_depend_on_the_parts(scorer, draw):
    granularity = "channel" if scorer is activation else "weight"
    whole = scorer(view_of(seeded_net(), granularity), draw, torch.Generator())
    little = view_of(seeded_net(kind=LittleMemory), granularity)
    parts = scorer(little, replace(draw, part=FITTING), torch.Generator())
    for name, scores in whole.items():
        torch.testing.assert_close(parts[name], scores, rtol=1e-4, atol=1e-6 * float(scores.abs().max()))


def test_channel_taylor_keeps_its_batches_of_32(draw):
    whole = taylor(view_of(seeded_net(), "channel"), draw, torch.Generator())
    little = view_of(seeded_net(kind=LittleMemory), "channel")
    parts = taylor(little, replace(draw, part=FITTING), torch.Generator())
    for name, scores in whole.items():
        torch.testing.assert_close(parts[name], scores, rtol=1e-4, atol=1e-6 * float(scores.abs().max()))


def test_moments_stay_those_of_whole_batches(draw):
    net = seeded_net()
    layers = find_units(net, "weight", ("head",), draw.images[:1]).layers[:2]
    whole = batch_moments(net, layers, draw)
    parts = batch_moments(seeded_net(kind=LittleMemory), layers, replace(draw, part=FITTING))
    for name, moments in whole.items():
        assert [m.count for m in parts[name]] == [m.count for m in moments]
        for ours, theirs in zip(parts[name], moments, strict=True):
            torch.testing.assert_close(ours.variance, theirs.variance, rtol=1e-6, atol=0)


def test_a_batch_in_training_mode_is_not_cut(draw):
    with pytest.raises(CellError, match=r"calibration batch of 16 images.*smaller `calibration.*`exact`.*plan"):
        recalibration.cumulative(seeded_net(kind=LittleMemory), replace(draw, part=FITTING))


@pytest.mark.trains
def test_a_study_goes_on_in_parts_and_says_so(finished):
    (whole, checks, tables), (parts, checks_again, tables_again) = finished
    assert {o.state for o in whole} == {"done"}
    assert all("calibration_part" not in json.loads(o.values["notes"]) for o in whole)
    for ours, theirs in zip(parts, whole, strict=True):
        if ours.cell.recalibration.name == "cumulative":
            assert (ours.state, "calibration batch of 16 images" in ours.reason) == ("failed", True)
        else:
            assert ours.state == "done", ours.traceback
            assert ours.values["loss"] == pytest.approx(theirs.values["loss"], rel=0.02)
    noted = [json.loads(o.values["notes"]).get("calibration_part") for o in parts if o.state == "done"]
    assert noted[0] is None  # the dense row needs no calibration
    assert set(noted[2:]) == {FITTING}
    assert all(check.mismatches == 0 for check in (*checks, *checks_again))
    assert [len(table) for table in tables] != [0, 0]
    assert {tuple(row) for row in tables_again[0][["scorer", "layer"]].to_numpy()} == {
        tuple(row) for row in tables[0][["scorer", "layer"]].to_numpy()
    }


#: A network whose training does not fit; its evaluation would.
LARGE = """\
import torch
from bench.models.digits import DigitsCNN

class Large(DigitsCNN):
    def forward(self, x):
        if self.training and len(x) > 2:  # the check of a user's network trains on two images
            raise torch.OutOfMemoryError("tried to allocate 2.00 GiB")
        return super().forward(x)

def large(num_classes, in_chans):
    return Large(num_classes, in_chans)
"""


def test_a_dense_model_that_does_not_fit_fails_its_group_alone(tmp_path, command):
    """More cells than identical failures stop a run: a group that fails as a whole is one failure."""
    (tmp_path / "large.py").write_text(LARGE)
    models = "models: [{name: './large.py:large'}, {name: digits_cnn, recipe: {epochs: 1}}]"
    text = STUDY.replace("models: [digits_cnn]", models) + "stop_after_failures: 5\n"
    (tmp_path / "study.yaml").write_text(text)
    result = command("run", tmp_path)
    assert result.code == 2
    assert "cells failed" in result.err
    rows = read_database(tmp_path).rows
    failed = rows["model"].eq("./large.py:large")
    assert set(rows.loc[failed, "state"]) == {"failed"}
    assert set(rows.loc[~failed, "state"]) == {"done"}
    assert rows.loc[failed, "reason"].str.contains("dense model: OutOfMemoryError").all()
