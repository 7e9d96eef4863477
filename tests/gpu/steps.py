"""What `tests/gpu/measure.py` times on a device: ``python -m tests.gpu.steps speed|training ...``.

CIFAR-10 is used where PRUNEBENCH_DATA has it, and images of noise of the same size and number elsewhere: weights are
random anyway, and no time depends on the pixels.
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from rich.console import Console

from bench.core.types import DataFacts
from bench.data.dataset import ImageSet
from bench.models.build import build_model, resolve_recipe
from bench.models.checkpoints import save_checkpoint
from bench.models.train import train
from bench.plugins.catalogue import make_registry
from bench.run.settings import apply_settings, synchronise
from bench.study.spec import ModelSpec, Normalisation
from tests.gpu.networks import settings_of
from tests.speed.measure import Grid, measure
from tests.speed.tables import print_result

#: Name in the output -> name in study.yaml.
MODELS = {
    "resnet20": "cifar_resnet20", "resnet18": "tests.gpu.models:resnet18", "vit_small4": "tests.gpu.models:vit_small4",
}  # fmt: skip
SIZE, CHANNELS, CLASSES = 32, 3, 10
#: CIFAR-10's number of images that are trained on.
EPOCH = 50_000
HALF = {"mean": [0.5] * CHANNELS, "std": [0.25] * CHANNELS}


def speed(model: str, device: str, images: int, candidates: int, *, smoke: bool) -> None:
    """Time the engine, bare forward passes and plain loops on one grid, and print the tables of the speed command."""
    with tempfile.TemporaryDirectory(prefix="prunebench-gpu-") as name:
        folder = Path(name)
        spec = ModelSpec(name=MODELS[model])
        network = build_model(spec, make_registry(), _facts(), seed=0)
        save_checkpoint(network.state_dict(), folder / "weights.safetensors", {})
        entry = {"name": spec.name, "checkpoint": str(folder / "weights.safetensors"), "normalisation": HALF}
        study = {"data": [_data(folder, images, smoke=smoke)], "models": [entry]}
        small = {"scorers": ("magnitude", "taylor"), "sparsities": (0.5, 0.8), "processes": 1} if smoke else {}
        found = measure(model, device, 1, images, Grid(study, candidates, **small))
        print_result(found, Console(highlight=False, markup=False, emoji=False, width=160))


def training(models: list[str], device: str, images: int) -> None:
    """Time an epoch of training, after one to warm up, and print images per second and seconds for an epoch."""
    apply_settings(settings_of(device))
    generator = torch.Generator().manual_seed(0)
    noise = ImageSet(
        torch.randint(256, (images, CHANNELS, SIZE, SIZE), generator=generator, dtype=torch.uint8),
        torch.randint(CLASSES, (images,), generator=generator),
    )
    for model in models:
        for precision in ("float32", "bfloat16"):
            seconds = _epoch_seconds(model, precision, noise, device)
            print(
                f"{model}, {precision}, channels_last: {images / seconds:.0f} images/s, "
                f"{EPOCH * seconds / images:.2f} s for an epoch of {EPOCH} images",
                flush=True,
            )


def _epoch_seconds(model: str, precision: str, images: ImageSet, device: str) -> float:
    spec = ModelSpec(name=MODELS[model])
    network = build_model(spec, make_registry(), _facts(), seed=0)
    recipe = resolve_recipe(spec, make_registry()).model_copy(
        update={"epochs": 2, "precision": precision, "augmentation": "crop_flip", "shift": 4, "lr": 1e-4}
    )
    ends: list[float] = []

    def end_of_epoch(*_: object) -> None:
        synchronise(torch.device(device))
        ends.append(time.perf_counter())

    train(
        network, images, Normalisation(**HALF), recipe, seed=0, device=torch.device(device), progress=end_of_epoch,
        memory_format="channels_last",
    )  # fmt: skip
    return ends[1] - ends[0]


def _facts() -> DataFacts:
    return DataFacts("-", (SIZE, SIZE), CHANNELS, CLASSES, EPOCH, 2_000, 10_000, 1_024, 128, 5_000)


def _data(folder: Path, test: int, *, smoke: bool) -> dict[str, Any]:
    """Return the entry of a data set in study.yaml: CIFAR-10, or noise that is written into `folder`."""
    if "PRUNEBENCH_DATA" in os.environ and not smoke:
        return {"name": "cifar10", "path": "${PRUNEBENCH_DATA}/cifar10", "limit": {"train": 8_000}}
    splits = {"calibration": 64, "search": 64} if smoke else {"calibration": 5_000, "search": 2_000}
    generator = np.random.default_rng(0)
    for part, count in (("train", sum(splits.values()) + 100), ("test", test)):
        pixels = generator.integers(0, 256, (count, SIZE, SIZE, CHANNELS), dtype=np.uint8)
        encoded = pa.array([{"bytes": _png(image), "path": None} for image in pixels])
        table = pa.table({"img": encoded, "label": pa.array(np.arange(count) % CLASSES)})
        pq.write_table(table, folder / f"{part}-00000-of-00001.parquet")
    return {"name": f"parquet:{folder}", **splits}


def _png(image: np.ndarray[Any, Any]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="png", compress_level=0)
    return stream.getvalue()


def main() -> None:
    """Read the command line and run one step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=["speed", "training"])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["resnet20"])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--candidates", type=int, default=300)
    parser.add_argument("--smoke", action="store_true")
    given = parser.parse_args()
    if given.step == "training":
        training(given.models, given.device, given.images)
    for model in given.models if given.step == "speed" else ():
        speed(model, given.device, given.images, given.candidates, smoke=given.smoke)


if __name__ == "__main__":
    main()
