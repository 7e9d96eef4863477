"""Memory that does not suffice: smaller parts where that is exact, a clear failure where it is not; the forecast."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import nn

from bench.core.errors import CellError
from bench.core.types import Settings
from bench.data.load import load_dataset
from bench.measure.pipeline import Pipeline
from bench.models.dense import DenseModel
from bench.models.digits import DigitsCNN, digits_cnn
from bench.models.units import find_units
from bench.models.view import Calibration, ModelView, is_out_of_memory
from bench.plugins.catalogue import make_registry
from bench.repairs import recalibration
from bench.repairs.statistics import batch_moments
from bench.run.memory import measure_sizes, memory_stages
from bench.run.open_study import open_study
from bench.scorers.activation import activation
from bench.scorers.fisher import fisher
from bench.scorers.gradient import gradient, snip, taylor
from bench.scorers.grasp import grasp
from bench.scorers.obs import obs
from bench.scorers.wanda import wanda
from bench.store.reader import read_database
from bench.study.spec import Recipe

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


# ---------------------------------------------------------------- the forecast

SETTINGS = Settings(precision="float32", memory_format="contiguous", batch=512, device="cpu", threads=1)


def test_sizes_by_hand():
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.Flatten(), nn.Linear(256, 10))
    view = ModelView(net, find_units(net, "weight", (), torch.zeros(1, 1, 8, 8)))
    sizes = measure_sizes(view, (1, 8, 8), SETTINGS)
    assert sizes.state == 4 * (36 + 2560 + 10)
    assert sizes.units == 36 + 2560
    assert sizes.hessians == (8 * 9**2, 8 * 256**2)
    assert sizes.forward == sizes.evaluation == 4 * (4 * 64 + 10)  # the feature map and the logits
    assert sizes.backward == sizes.forward + 4 * 10 + 8  # log-probabilities and the label
    bfloat16 = measure_sizes(view, (1, 8, 8), replace(SETTINGS, precision="bfloat16"))
    assert bfloat16.evaluation == sizes.evaluation // 2


@pytest.fixture
def forecast(tmp_path):
    """Bytes of a study, stage by stage."""

    def make(text: str = STUDY, net: nn.Module | None = None, **settings: object) -> dict[str, dict[str, int]]:
        (tmp_path / "study.yaml").write_text(text)
        session = open_study(tmp_path)
        used = replace(SETTINGS, **settings)
        facts = session.facts["digits"]
        sizes = measure_sizes(view_of(net or seeded_net()), (1, 8, 8), used)
        return memory_stages(sizes, facts, used, session.plan.cells(), make_registry(), None)

    return make


def test_a_training_step_holds_what_autograd_saves_and_some_gradients():
    net = seeded_net()
    sizes = measure_sizes(view_of(net), (1, 8, 8), SETTINGS, trained=True)
    assert measure_sizes(view_of(net), (1, 8, 8), SETTINGS).training == 0
    own = {tensor.untyped_storage().data_ptr() for tensor in (*net.parameters(), *net.buffers())}
    net.train()

    def saved(images: int) -> int:
        x = torch.randn(images, 1, 8, 8)
        kept = {}

        def note(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own | {x.untyped_storage().data_ptr()}:
                kept[storage.data_ptr()] = storage
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            nn.functional.cross_entropy(net(x), torch.zeros(images, dtype=torch.int64))
        return sum(storage.nbytes() for storage in kept.values())

    per_image = (saved(8) - saved(4)) / 4
    assert per_image <= sizes.training <= 1.5 * per_image


def test_the_memory_of_training_by_hand(tiny):
    session = open_study(tiny)
    facts = session.facts["digits"]
    sizes = replace(measure_sizes(view_of(seeded_net()), (1, 8, 8), SETTINGS), state=1000, training=3000)

    def stages(recipe: Recipe, **settings: str) -> dict[str, int]:
        used = replace(SETTINGS, **settings)
        return memory_stages(sizes, facts, used, session.plan.cells(), session.registry, recipe)["training"]

    step = 64 * (3000 + 64 + 4 * 64)  # with the image as a byte and as a float per pixel
    on_gpu = stages(Recipe(batch=64), device="cuda")
    assert on_gpu == {"images": facts.fit * 64, "models": 5 * 1000, "activations": step, "buffers": 0}
    assert stages(Recipe(batch=64, optimizer="sgd"), device="cuda")["models"] == 4 * 1000
    assert stages(Recipe(batch=10**6), device="cuda")["activations"] == step // 64 * facts.fit
    assert 1.5 * step < stages(Recipe(batch=64))["activations"] < 2.3 * step  # the heap of a CPU has holes


def test_a_forecast_grows_with_the_batch_the_width_and_the_method(forecast):
    one = forecast()
    assert forecast(batch=256)["evaluating"]["activations"] == 2 * forecast(batch=128)["evaluating"]["activations"]
    twice = forecast(STUDY.replace("batch: 16", "batch: 32"))
    assert twice["scoring"]["activations"] == 2 * one["scoring"]["activations"]
    wide = forecast(net=seeded_net(4))
    assert wide["building masks"]["scores and orders"] > 2 * one["building masks"]["scores and orders"]
    without_gradient = forecast(STUDY.replace(", taylor", ""))
    assert without_gradient["scoring"]["activations"] < one["scoring"]["activations"]
    features = forecast(STUDY.replace("taylor", "v1") + "searches: [equal]\n")
    assert features["evaluating"]["scores and orders"] > one["evaluating"]["scores and orders"]
    assert features["evaluating"]["images"] > one["evaluating"]["images"]  # the search split, too
    assert "Hessians" not in one["scoring"]
    assert "Hessians" in forecast(STUDY.replace("taylor", "obs"))["scoring"]
    assert "Hessians" in forecast(STUDY.replace("asr_eb", "reconstruct"))["repairing"]
    assert "training" not in one


def test_plan_names_the_largest_stage_and_its_parts(tiny, command):
    line = json.loads(command("plan", tiny, "--json").out)["lines"]["memory, about"]
    assert re.match(r"[\d.]+ MiB in addition to the libraries, [a-z ]+ \(digits_cnn\): images [\d.]+ MiB, ", line)
