"""Measure the built-in training of ResNet-20: images per second and core by precision and memory format."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from bench.core.freed_memory import keep_freed_memory
from bench.core.provenance import provenance
from bench.core.types import DataFacts
from bench.data.dataset import ImageSet
from bench.models.build import build_model, resolve_recipe
from bench.models.train import train
from bench.plugins.catalogue import make_registry
from bench.run.settings import choose_device, device_class, has_fast_bfloat16
from bench.study.spec import ModelSpec, Normalisation, Recipe

#: Limit of goal F10: images per second and core of a processor that multiplies bfloat16.
F10_LEAST = 500.0
#: What the goal is about.
F10_KIND = "bfloat16", "channels_last"
#: Images of an epoch: ten steps.
IMAGES = 1280
#: Operations that the profile lists.
TOP = 5
FACTS = DataFacts("-", (32, 32), 3, 10, 50_000, 2_000, 10_000, 1_024, 128, 5_000)
SCALE = Normalisation(mean=(0.5,) * 3, std=(0.25,) * 3)


def measure_training(
    device: str = "auto", repetitions: int = 3, images: int | None = None, model: str = "cifar_resnet20",
    *, fast_bfloat16: bool | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Measure goal F10: train a network on noise, every precision and memory format in turn.

    Parameters
    ----------
    device : str
        ``auto``, ``cpu`` (one thread) or ``cuda``.
    repetitions : int
        Number of times that everything is timed, in turn.
    images : int, optional
        Images of an epoch, `IMAGES` by default.
    model : str
        Name of a network for images of 32x32; it is trained by its own recipe, and once more without augmentation.
    fast_bfloat16 : bool, optional
        Whether the hardware multiplies bfloat16; found out by default. Otherwise only float32 is timed.

    Returns
    -------
    dict
        Plain JSON values. ``rates``: for every augmentation, precision and memory format the images per second of
        each repetition, by processor time on a CPU and by wall time on a GPU; ``profile``: share of the time of the
        largest operations; ``goal``: whether the median of `F10_KIND` reaches `F10_LEAST`, absent on a GPU and
        without fast bfloat16.

    Raises
    ------
    UserError
        If the device is not available.
    """
    chosen = choose_device(device)
    if fast_bfloat16 is None:
        fast_bfloat16 = has_fast_bfloat16(chosen)
    own = resolve_recipe(ModelSpec(name=model), make_registry())
    kinds = list(itertools.product(
        dict.fromkeys((own.augmentation, "none")),
        ("float32", "bfloat16") if fast_bfloat16 else ("float32",),
        ("contiguous", "channels_last"),
    ))  # fmt: skip
    noise = _noise(images or IMAGES)
    rates: dict[tuple[str, str, str], list[float]] = {kind: [] for kind in kinds}
    with _one_thread():
        for _ in range(repetitions):
            for kind in kinds:
                rates[kind].append(len(noise) / _epoch_seconds(model, noise, own, chosen, kind))
        profiled = (own.augmentation, *F10_KIND) if fast_bfloat16 else kinds[0]
        shares = _profile(model, noise, own, chosen, profiled)
    found = {
        "model": model, "images": len(noise), "batch": min(own.batch, len(noise)), "repetitions": repetitions,
        "machine": {**provenance(device_class(chosen)), "load": round(os.getloadavg()[0], 1)},
        "rates": [
            {"augmentation": augmentation, "precision": precision, "memory_format": memory_format, "rates": values}
            for (augmentation, precision, memory_format), values in rates.items()
        ],
        "profile": {"kind": list(profiled), "shares": shares},
    }  # fmt: skip
    if chosen == "cpu" and fast_bfloat16:
        reached = median(rates[own.augmentation, *F10_KIND])
        found["goal"] = {"goal": "F10", "median": reached, "least": F10_LEAST, "met": reached >= F10_LEAST}
    return found


def training_lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield the result of `measure_training` as lines of text; tables are in Markdown."""
    machine = found["machine"]
    yield (
        f"training of {found['model']}: {found['images']} images of 32x32 in batches of {found['batch']}, "
        f"{found['repetitions']} repetitions, everything timed in turn"
    )
    yield (
        f"machine: {machine['processor']}, device {machine['device']}, torch {machine['packages']['torch']}; "
        f"load average {machine['load']} at the end"
    )
    yield "| augmentation | precision | memory format | images/s, median | range | relative speed |"
    yield "|---|---|---|---|---|---|"
    first: dict[str, float] = {}
    for row in found["rates"]:
        middle = median(row["rates"])
        relative = middle / first.setdefault(row["augmentation"], middle)
        yield (
            f"| {row['augmentation']} | {row['precision']} | {row['memory_format']} | {middle:.0f} | "
            f"{min(row['rates']):.0f} - {max(row['rates']):.0f} | {relative:.2f} |"
        )
    yield f"| operation ({', '.join(found['profile']['kind'])}) | share of the time, % |"
    yield "|---|---|"
    for name, share in found["profile"]["shares"].items():
        yield f"| {name} | {100 * share:.1f} |"
    if "goal" in found:
        goal = found["goal"]
        yield (
            f"{goal['goal']}: {goal['median']:.0f} images per second and core, at least {goal['least']:.0f}: "
            f"{'met' if goal['met'] else 'missed'}"
        )


def _noise(count: int) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, FACTS.in_chans, *FACTS.image_size), generator=generator, dtype=torch.uint8)
    return ImageSet(pixels, torch.randint(FACTS.num_classes, (count,), generator=generator))


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_freed_memory()  # as a run does
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _epoch_seconds(model: str, images: ImageSet, own: Recipe, device: str, kind: tuple[str, str, str]) -> float:
    """Return the time of the second of two epochs; each ends with the loss read, so a GPU has finished its work."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    ends: list[float] = []
    _train(model, images, own, device, kind, lambda *_: ends.append(clock()))
    return ends[1] - ends[0]


def _profile(model: str, images: ImageSet, own: Recipe, device: str, kind: tuple[str, str, str]) -> dict[str, float]:
    """Return the share of the second epoch's time that each of the `TOP` largest operations takes by itself."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
    profiler = profile(activities=activities)

    def switch(epoch: int, *_: float) -> None:
        if epoch == 1:
            profiler.start()
        else:
            profiler.stop()

    _train(model, images, own, device, kind, switch)
    field = "self_cpu_time_total" if device == "cpu" else "self_device_time_total"
    times = {event.key: float(getattr(event, field)) for event in profiler.key_averages()}
    largest = sorted(times, key=lambda name: -times[name])[:TOP]
    return {name: times[name] / sum(times.values()) for name in largest}


def _train(model: str, images: ImageSet, own: Recipe, device: str, kind: tuple[str, str, str], progress: Any) -> None:
    augmentation, precision, memory_format = kind
    network = build_model(ModelSpec(name=model), make_registry(), FACTS, seed=0)
    recipe = own.model_copy(update={"epochs": 2, "precision": precision, "augmentation": augmentation})
    train(network, images, SCALE, recipe, 0, torch.device(device), progress, memory_format)
