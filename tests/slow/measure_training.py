"""Time training in both memory formats and precisions, as ratios in one run.

``python tests/slow/measure_training.py [cpu|cuda] [MODEL ...]`` prints images per second, on one thread of a CPU, with
and without augmentation, and how many times as fast each is as float32, contiguous. The models are named as in
study.yaml; the default is ``cifar_resnet20`` with its own recipe. Augmentation gathers images channels-last, so that
without it alone a contiguous training is contiguous throughout.
"""

from __future__ import annotations

import itertools
import sys
import time

import torch
from torch import nn

from bench.core.types import DataFacts
from bench.data.dataset import ImageSet
from bench.models.build import build_model, resolve_recipe
from bench.models.train import train
from bench.plugins.catalogue import make_registry
from bench.study.spec import ModelSpec, Normalisation, Recipe

REPEATS = 3
KINDS = tuple(itertools.product(("float32", "bfloat16"), ("contiguous", "channels_last")))
STEPS = {"cpu": 3, "cuda": 100}
SIZE, CLASSES = 32, 10
FACTS = DataFacts("-", (SIZE, SIZE), 3, CLASSES, 50_000, 2_000, 10_000, 1_024, 128, 5_000)


def measure(name: str, recipe: Recipe, device: str) -> dict[tuple[str, str], float]:
    """Return images per second of each kind; the best of `REPEATS` in turn, after one epoch to warm up."""
    generator = torch.Generator().manual_seed(0)
    count = recipe.batch * STEPS[device]
    images = ImageSet(
        torch.randint(256, (count, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8),
        torch.randint(CLASSES, (count,), generator=generator),
    )
    found = dict.fromkeys(KINDS, 0.0)
    for _ in range(REPEATS):
        for precision, form in KINDS:
            model = build_model(ModelSpec(name=name), make_registry(), FACTS, seed=0)
            chosen = recipe.model_copy(update={"epochs": 2, "precision": precision})
            speed = count / _epoch_seconds(model, images, chosen, device, form)
            found[precision, form] = max(found[precision, form], speed)
    return found


def _epoch_seconds(model: nn.Module, images: ImageSet, recipe: Recipe, device: str, form: str) -> float:
    """Time the second epoch."""
    ends: list[float] = []
    scale = Normalisation(mean=(0.5,) * 3, std=(0.25,) * 3)
    train(
        model, images, scale, recipe, 0, torch.device(device), lambda *_: ends.append(time.perf_counter()), form
    )  # fmt: skip
    return ends[1] - ends[0]


if __name__ == "__main__":
    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    torch.set_num_threads(1)
    for name in sys.argv[2:] or ["cifar_resnet20"]:
        own = resolve_recipe(ModelSpec(name=name), make_registry())
        for augmentation in dict.fromkeys((own.augmentation, "none")):
            speeds = measure(name, own.model_copy(update={"augmentation": augmentation}), device)
            for (precision, form), speed in speeds.items():
                ratio = speed / speeds[KINDS[0]]
                print(f"{name}, augmentation {augmentation}, {precision}, {form}: {speed:.0f} images/s, {ratio:.2f}")
