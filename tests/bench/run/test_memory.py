"""Tests of `bench.run.memory`: the forecast of memory."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import torch
from small_networks import STUDY, seeded_net, view_of
from torch import nn

from bench.core.types import Settings
from bench.models.units import find_units
from bench.models.view import ModelView
from bench.plugins.catalogue import make_registry
from bench.run.memory import measure_sizes, memory_stages
from bench.run.open_study import open_study
from bench.study.spec import Recipe

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
