"""What plan says of a study before it is run."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from bench.core.errors import CellError, UserError
from bench.data.load import load_dataset
from bench.models.build import build_model
from bench.models.train import train
from bench.run import forecast
from bench.run.forecast import forecast_model, group_work, summarise_plan
from bench.run.open_study import open_study
from bench.run.settings import apply_settings
from bench.study.spec import ModelSpec, Recipe


def test_numbers_are_those_of_the_plan(tiny):
    session = open_study(tiny)
    summary = summarise_plan(session)
    cells = list(session.plan.cells())
    assert summary["cells"] == summary["todo"] == len(cells) == 2 * 98
    assert summary["lines"]["excluded"] == "128: corrections only for magnitude"
    assert summary["lines"]["skipped"] == "16: scorer l2 is defined for granularity channel only"
    assert json.dumps(summary)


def test_a_finished_study_has_nothing_to_do(finished_tiny):
    summary = summarise_plan(open_study(finished_tiny))
    assert summary["todo"] == 0
    assert summary["seconds"] == 0
    assert summary["lines"]["already there"] == "180 done, 16 skipped"


def test_a_larger_model_needs_more(tiny):
    session = open_study(tiny)
    facts, cells = session.facts["digits"], session.plan.groups[0].cells
    small = forecast_model(ModelSpec(name="digits_cnn"), session, facts, cells)
    large = forecast_model(ModelSpec(name="resnet10t"), session, facts, cells)
    assert large.largest[1] > 5 * small.largest[1]
    assert large.images_per_second < small.images_per_second
    assert small.dominant == "features.9"


def test_more_workers_are_forecast_up_to_one_per_group(tiny):
    summary = summarise_plan(open_study(tiny))
    assert summary["lines"]["on more workers"].startswith("2: ")
    assert "4: " not in summary["lines"]["on more workers"]  # two groups
    alone = summarise_plan(open_study(tiny, "one"))
    assert alone["lines"]["on more workers"] == "no shorter: a group is worked on as a whole"


def test_the_work_of_a_group_counted_by_hand(tiny):
    (tiny / "study.yaml").write_text(
        "name: s\ndata: [digits]\nmodels: [{name: digits_cnn, recipe: {epochs: 2}}]\ntrain_seeds: 1\n"
        "granularities: [weight]\nscorers: [magnitude]\nsparsities: [0.5]\n"
        "recalibrations: [none, cumulative]\ncalibration: {images: 32}\n"
    )
    session = open_study(tiny)
    [group] = session.plan.groups
    todo = {cell.id for cell in group.cells}
    facts = session.facts["digits"]
    assert len(todo) == 4  # dense and pruned, each as it is and recalibrated
    images = 4 * facts.test + 2 * 32 + 2 * 3 * facts.fit  # two epochs, a step as dear as three forward passes
    macs = group_work(session, todo)[group.id] / images
    first = next(cell.id for cell in group.cells)
    assert group_work(session, todo - {first})[group.id] == macs * (3 * facts.test + 2 * 32)  # its model is there
    assert group_work(session, set()) == {group.id: 0}
    assert macs == 9 * (64 * 16 + 16 * 16 * 32 + 16 * 32 * 64 + 4 * 64 * 64) + 64 * 10  # positions x weights


# ---------------------------------------------------------------- training


@pytest.fixture
def timed_steps(monkeypatch):
    """Replace training by a clock that a step moves by so many seconds an image; return the batches timed."""

    def make(seconds_per_image, error_above=None, error=None, seconds_per_step=0.0):
        clock, batches = SimpleNamespace(now=0.0), []

        def step(_model, images, _scale, recipe, _seed, _device, progress, _format):
            batches.append(len(images))
            if error is not None and len(images) > error_above:
                raise error
            for epoch in range(recipe.epochs):
                clock.now += seconds_per_step + len(images) * seconds_per_image
                progress(epoch + 1, recipe.epochs, 2.3, recipe.lr)

        monkeypatch.setattr(forecast, "train", step)
        monkeypatch.setattr(forecast, "time", SimpleNamespace(perf_counter=lambda: clock.now))
        # forward passes take no time on this clock
        monkeypatch.setattr(forecast, "_images_per_second", lambda *_: 1e6)
        return batches

    return make


def training_of(session, **recipe):
    cells = session.plan.groups[0].cells
    spec = ModelSpec(name="digits_cnn", recipe=recipe)
    return forecast_model(spec, session, session.facts["digits"], cells).training


def test_an_epoch_is_forecast_from_a_step_of_the_whole_batch_where_that_is_quick(tiny, timed_steps):
    session = open_study(tiny)
    batches = timed_steps(1e-3)
    found = training_of(session, batch=64, epochs=7)
    assert batches == [2, 8, 32, 64]
    fit = session.facts["digits"].fit
    assert found.epoch_seconds == pytest.approx(1e-3 * 64 * (fit // 64))
    assert (found.epochs, found.seconds) == (7, pytest.approx(7 * found.epoch_seconds))


@pytest.mark.parametrize(
    ("per_step", "per_image", "counts"), [(0.0, 0.15, [2, 8]), (1.0, 0.01, [2, 8]), (0.0, 1.5, [2])]
)
def test_a_slow_network_is_timed_on_few_images(tiny, timed_steps, per_step, per_image, counts):
    session = open_study(tiny)
    batches = timed_steps(per_image, seconds_per_step=per_step)
    found = training_of(session, batch=64)
    assert batches == counts
    steps = session.facts["digits"].fit // 64
    assert found.epoch_seconds == pytest.approx((per_step + 64 * per_image) * steps)


def test_a_batch_that_does_not_fit_is_extrapolated_from_one_that_does(tiny, timed_steps):
    session = open_study(tiny)
    batches = timed_steps(1e-3, 8, torch.OutOfMemoryError("2.00 GiB"))
    found = training_of(session, batch=64)
    assert batches == [2, 8, 32]
    assert found.epoch_seconds == pytest.approx(1e-3 * 64 * (session.facts["digits"].fit // 64))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError("2.00 GiB"), "a training step on 2 images fails: OutOfMemoryError: 2.00 GiB"),
        (TypeError("two\nlines"), "model 'digits_cnn': a training step on 2 images fails: TypeError: two lines"),
        (CellError("training diverged"), "its training loss on 2 images of noise is NaN or infinite"),
    ],
)
def test_a_step_that_fails_is_one_line(tiny, timed_steps, error, message):
    timed_steps(1e-3, 0, error)
    with pytest.raises(UserError, match=message):
        training_of(open_study(tiny))


def test_a_network_that_fails_in_training_mode_alone_is_found_by_plan(tiny, command):
    (tiny / "net.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.layers = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))\n\n"
        "    def forward(self, x):\n        y = self.layers(x.flatten(1))\n"
        "        return y.no_such_attribute if self.training else y\n\n\n"
        "def net(num_classes, in_chans):\n    return Net()\n"
    )
    text = (tiny / "study.yaml").read_text()
    (tiny / "study.yaml").write_text(text.replace("name: digits_cnn,", "name: './net.py:net',"))
    result = command("plan", tiny)
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert "it fails in training mode: 'Tensor' object has no attribute 'no_such_attribute'" in result.err


def test_the_forecast_of_an_epoch_is_near_its_time(tiny):
    session = open_study(tiny)
    apply_settings(session.settings)
    dataset = load_dataset(session.study.file.data[0], tiny)
    recipe = Recipe(epochs=3, batch=64)
    model = build_model(ModelSpec(name="digits_cnn"), session.registry, dataset, seed=0)
    ends: list[float] = []
    train(model, dataset.fit, dataset.normalisation, recipe, 0, torch.device("cpu"),
          lambda *_: ends.append(time.perf_counter()))  # fmt: skip
    taken = min(ends[1] - ends[0], ends[2] - ends[1])
    assert 1 / 4 < training_of(session, batch=64, augmentation="none").epoch_seconds / taken < 4


def test_what_is_to_be_trained_is_shown(tiny, finished_tiny, command):
    summary = summarise_plan(open_study(tiny))
    [one] = summary["training"]
    assert (one["model"], one["models"], one["epochs"]) == ("digits_cnn", 2, 3)
    assert one["model_seconds"] == pytest.approx(3 * one["epoch_seconds"])
    # images, weights with their gradients, two moments and the step, and activations: some MiB
    assert 2**20 < one["memory"] < 2**28
    line = summary["lines"]["training"]
    assert line.startswith("digits_cnn on digits: ")
    assert " s per epoch, 3 epochs, " in line
    assert " per model, 2 models, peak memory " in line
    assert summary["seconds"] > 2 * one["model_seconds"]
    finished = summarise_plan(open_study(finished_tiny))
    assert finished["training"] == []
    assert finished["lines"]["training"] == "nothing: every model is given, or trained already"


def test_the_gain_of_bfloat16_is_shown_until_the_first_run(tiny, finished_tiny, monkeypatch):
    calls = []

    def gain(settings, model, shape):
        calls.append((isinstance(model, nn.Module), shape))
        return 2.9

    monkeypatch.setattr(forecast, "bfloat16_gain", gain)
    summary = summarise_plan(open_study(tiny))
    assert calls == [(True, (1, 8, 8))]
    assert summary["bfloat16_gain"] == 2.9
    assert (
        "bfloat16 would evaluate 2.9 times as fast: write `execution: {precision: bfloat16}`"
        in (summary["lines"]["precision"])
    )
    monkeypatch.setattr(forecast, "bfloat16_gain", lambda *_: 0.8)
    assert "bfloat16 would not be faster" in summarise_plan(open_study(tiny))["lines"]["precision"]
    finished = summarise_plan(open_study(finished_tiny))  # its precision is fixed
    assert finished["bfloat16_gain"] is None
    assert "precision" not in finished["lines"]
