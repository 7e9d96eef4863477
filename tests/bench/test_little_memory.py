"""Memory that does not suffice: smaller parts where the result is the same, a clear failure otherwise."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import nn

from bench.core.errors import CellError
from bench.data.load import load_dataset
from bench.measure.pipeline import Pipeline
from bench.models.dense import DenseModel
from bench.models.digits import DigitsCNN, digits_cnn
from bench.models.units import find_units
from bench.models.view import Calibration, ModelView, is_out_of_memory
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

FITTING = 4
STUDY = """\
name: m
data: [digits]
models: [digits_cnn]
train_seeds: 1
calibration: {images: 32, batch: 16}
scorers: [magnitude, taylor]
sparsities: [0.5]
corrections: [none, asr_eb]
recalibrations: [none, exact, cumulative]
execution: {batch: 4}
"""


def small_memory(monkeypatch, error: type[Exception] = torch.OutOfMemoryError) -> None:
    """Let the network's forward pass take `FITTING` images at once, and no more."""
    forward = DigitsCNN.forward

    def limited(self, x):
        if len(x) > FITTING:
            raise error("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        return forward(self, x)

    monkeypatch.setattr(DigitsCNN, "forward", limited)


def seeded_net(width: int = 1) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = digits_cnn()
        if width > 1:
            net.features[9] = nn.Conv2d(64, 64 * width, 3, stride=2, padding=1, bias=False)
            net.features[10], net.linear = nn.BatchNorm2d(64 * width), nn.Linear(64 * width, 10)
    return net.eval()


def view_of(net: nn.Module, granularity: str = "weight") -> ModelView:
    return ModelView(net, find_units(net, granularity, ("head",), torch.zeros(1, 1, 8, 8)))


@pytest.fixture
def draw() -> Calibration:
    generator = torch.Generator().manual_seed(1)
    return Calibration(torch.randn(40, 1, 8, 8, generator=generator), torch.arange(40) % 10, 16)


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """Outcomes of a small study: with all memory, and with little."""
    (tmp_path / "study.yaml").write_text(STUDY)
    session = open_study(tmp_path)
    data = load_dataset(session.study.file.data[0], tmp_path)
    dense = DenseModel(seeded_net(), "hash", data.normalisation, "no", {}, {}, 0.0)

    def outcomes():
        group = session.plan.groups[0]
        made = Pipeline(group, dense, data, ("head",), session.registry, session.settings, Counter())
        found = list(made.run({cell.id for cell in group.cells}))
        rows = {o.cell.id: o.values for o in found if o.state == "done"}
        return found, list(made.checks(rows, 1, set())), made.alignment(rows)

    whole = outcomes()
    small_memory(monkeypatch)
    monkeypatch.setattr("bench.repairs.cancellation.IMAGES", FITTING)
    return whole, outcomes()


@pytest.mark.parametrize("scorer", [gradient, taylor, snip, grasp, fisher, wanda, obs, activation])
def test_scores_do_not_depend_on_the_parts(scorer, draw, monkeypatch):
    view = view_of(seeded_net(), "channel" if scorer is activation else "weight")
    whole = scorer(view, draw, torch.Generator())
    small_memory(monkeypatch)
    parts = scorer(view, replace(draw, part=FITTING), torch.Generator())
    for name, scores in whole.items():
        torch.testing.assert_close(parts[name], scores, rtol=1e-4, atol=1e-6 * float(scores.abs().max()))


def test_channel_taylor_keeps_its_batches_of_32(draw, monkeypatch):
    view = view_of(seeded_net(), "channel")
    whole = taylor(view, draw, torch.Generator())
    small_memory(monkeypatch)
    parts = taylor(view, replace(draw, part=FITTING), torch.Generator())
    for name, scores in whole.items():
        torch.testing.assert_close(parts[name], scores, rtol=1e-4, atol=1e-6 * float(scores.abs().max()))


def test_moments_stay_those_of_whole_batches(draw, monkeypatch):
    net = seeded_net()
    layers = find_units(net, "weight", ("head",), draw.images[:1]).layers[:2]
    whole = batch_moments(net, layers, draw)
    small_memory(monkeypatch)
    parts = batch_moments(net, layers, replace(draw, part=FITTING))
    for name, moments in whole.items():
        assert [m.count for m in parts[name]] == [m.count for m in moments]
        for ours, theirs in zip(parts[name], moments, strict=True):
            torch.testing.assert_close(ours.variance, theirs.variance, rtol=1e-6, atol=0)


def test_a_batch_in_training_mode_is_not_cut(draw, monkeypatch):
    small_memory(monkeypatch)
    with pytest.raises(CellError, match=r"calibration batch of 16 images.*smaller `calibration.*`exact`.*plan"):
        recalibration.cumulative(seeded_net(), replace(draw, part=FITTING))


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


def test_what_counts_as_out_of_memory():
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60)
    assert is_out_of_memory(raised.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_a_dense_model_that_does_not_fit_fails_its_group_alone(tiny, command, monkeypatch):
    """More cells than identical failures stop a run: a group that fails as a whole is one failure."""
    seeds = []

    def train(*arguments, **options):
        seeds.append(arguments[4])
        if len(seeds) == 1:
            raise torch.OutOfMemoryError("tried to allocate 2.00 GiB")
        return {"loss": []}

    monkeypatch.setattr("bench.models.dense.train", train)
    text = (tiny / "study.yaml").read_text()
    (tiny / "study.yaml").write_text(text + "stop_after_failures: 5\n")
    result = command("run", tiny)
    assert result.code == 2
    assert "cells failed" in result.err
    rows = read_database(tiny).rows
    states = rows.groupby("train_seed")["state"].agg(set)
    assert (states[0], states[1]) == ({"failed", "skipped"}, {"done", "skipped"})
    assert rows.loc[rows["state"].eq("failed"), "reason"].str.contains("dense model: OutOfMemoryError").all()
