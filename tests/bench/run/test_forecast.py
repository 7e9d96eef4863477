"""Tests of `bench.run.forecast`."""

from __future__ import annotations

import time

import pytest
import torch

from bench.core.errors import CellError, UserError
from bench.data.load import load_dataset
from bench.models.build import build_model
from bench.models.train import train
from bench.run.forecast import forecast_epoch, forecast_model, group_work
from bench.run.open_study import open_study
from bench.run.settings import apply_settings
from bench.study.spec import ModelSpec, Recipe


def test_a_larger_model_needs_more(tiny):
    session = open_study(tiny)
    facts, cells = session.facts["digits"], session.plan.groups[0].cells
    small = forecast_model(ModelSpec(name="digits_cnn"), session, facts, cells)
    large = forecast_model(ModelSpec(name="resnet10t"), session, facts, cells)
    assert large.largest[1] > 5 * small.largest[1]
    assert large.images_per_second < small.images_per_second
    assert small.dominant == "features.9"


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


def training_of(session, **recipe):
    cells = session.plan.groups[0].cells
    spec = ModelSpec(name="digits_cnn", recipe=recipe)
    return forecast_model(spec, session, session.facts["digits"], cells).training


def times_of(seconds_per_image, seconds_per_step=0.0, error_above=10**9, error=None):
    """Return a training step that takes so long, or fails on more images; and the numbers of images it was given."""
    counts: list[int] = []

    def time_step(count: int) -> float:
        counts.append(count)
        if count > error_above:
            raise error
        return seconds_per_step + count * seconds_per_image

    return time_step, counts


def test_an_epoch_is_forecast_from_a_step_of_the_whole_batch_where_that_is_quick():
    time_step, counts = times_of(1e-3)
    assert forecast_epoch("net", time_step, 64, 997) == pytest.approx(1e-3 * 64 * 15)
    assert counts == [2, 8, 32, 64]


@pytest.mark.parametrize(
    ("per_step", "per_image", "expected"), [(0.0, 0.15, [2, 8]), (1.0, 0.01, [2, 8]), (0.0, 1.5, [2])]
)
def test_a_slow_network_is_timed_on_few_images(per_step, per_image, expected):
    time_step, counts = times_of(per_image, per_step)
    assert forecast_epoch("net", time_step, 64, 997) == pytest.approx((per_step + 64 * per_image) * 15)
    assert counts == expected


def test_a_batch_that_does_not_fit_is_extrapolated_from_one_that_does():
    time_step, counts = times_of(1e-3, error_above=8, error=torch.OutOfMemoryError("2.00 GiB"))
    assert forecast_epoch("net", time_step, 64, 997) == pytest.approx(1e-3 * 64 * 15)
    assert counts == [2, 8, 32]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError("2.00 GiB"), "a training step on 2 images fails: OutOfMemoryError: 2.00 GiB"),
        (TypeError("two\nlines"), "model 'net': a training step on 2 images fails: TypeError: two lines"),
        (CellError("training diverged"), "its training loss on 2 images of noise is NaN or infinite"),
    ],
)
def test_a_step_that_fails_is_one_line(error, message):
    time_step, _ = times_of(1e-3, error_above=0, error=error)
    with pytest.raises(UserError, match=message):
        forecast_epoch("net", time_step, 64, 997)


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
