"""The baselines of the speed measurement: bare forward passes, and a pruning loop as users write it.

The loop follows the tutorials, but avoids their usual waste: images are normalised beforehand, and a process loads
images and weights as tensors from one file.
"""

from __future__ import annotations

import copy
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.utils.data import DataLoader, TensorDataset

from bench.models.unit_space import UnitSpace
from bench.models.units import find_units
from bench.models.view import Calibration, ModelView
from bench.run.settings import synchronise

REPOSITORY = Path(__file__).parents[2]
Scorer = Callable[[ModelView, Calibration, torch.Generator], Mapping[str, Tensor]]


@dataclass(frozen=True)
class LoopCell:
    """One cell of the loop.

    Attributes
    ----------
    scorer : str
        ``package.module:function``; empty for magnitude, which `torch.nn.utils.prune` computes itself.
    sparsity : float
        Share of the prunable weights to zero; 0: the dense model.
    seed : int
        Seed of the scorer's generator.
    """

    scorer: str
    sparsity: float
    seed: int


@dataclass(frozen=True)
class LoopInputs:
    """Inputs that all cells share: tensors on the CPU, float32, images normalised.

    Attributes
    ----------
    images, labels : Tensor
        Test split.
    calibration : Calibration
        For the scorers.
    units : UnitSpace
        The prunable weights.
    batch : int
        Test images in a batch.
    """

    images: Tensor
    labels: Tensor
    calibration: Calibration
    units: UnitSpace
    batch: int


def loop_accuracy(dense: nn.Module, cell: LoopCell, inputs: LoopInputs, device: torch.device) -> float:
    """Copy the dense model, score, prune it with `torch.nn.utils.prune`, and evaluate it in float32."""
    model = copy.deepcopy(dense).to(device).eval()
    if cell.sparsity > 0:
        _prune(model, cell, inputs, device)
    hits = 0
    with torch.inference_mode():
        for images, labels in DataLoader(TensorDataset(inputs.images, inputs.labels), batch_size=inputs.batch):
            hits += int((model(images.to(device)).argmax(dim=1) == labels.to(device)).sum())
    return hits / len(inputs.images)


def _prune(model: nn.Module, cell: LoopCell, inputs: LoopInputs, device: torch.device) -> None:
    parameters = {layer.name: (model.get_submodule(layer.name), "weight") for layer in inputs.units.layers}
    importance = None
    if cell.scorer:
        draw = inputs.calibration
        draw = Calibration(draw.images.to(device), draw.labels.to(device), draw.batch)
        scorer: Scorer = _named(cell.scorer)
        scores = scorer(ModelView(model, inputs.units), draw, torch.Generator().manual_seed(cell.seed))
        importance = {parameter: scores[name] for name, parameter in parameters.items()}
    prune.global_unstructured(
        list(parameters.values()), prune.L1Unstructured, importance_scores=importance, amount=cell.sparsity
    )
    for module, name in parameters.values():
        prune.remove(module, name)  # type: ignore[no-untyped-call]


def forward_seconds(network: nn.Module, states: Iterable[Mapping[str, Tensor]], batches: Sequence[Tensor]) -> float:
    """Time the forward passes of a network over prepared images for each state, excluding loading the state."""
    seconds = 0.0
    with torch.inference_mode():
        for state in states:
            network.load_state_dict(state)
            synchronise(batches[0].device)
            start = time.perf_counter()
            for images in batches:
                network(images)
            synchronise(batches[0].device)
            seconds += time.perf_counter() - start
    return seconds


# -------------------------------------------------------------------- a process per cell


@dataclass(frozen=True)
class LoopProcess:
    """Arguments of a process that evaluates one cell."""

    file: str
    model: str
    arguments: Mapping[str, Any]
    exclude: tuple[str, ...]
    batch: int
    calibration_batch: int
    threads: int
    device: str


def write_inputs(path: Path, state: Mapping[str, Tensor], inputs: LoopInputs) -> None:
    """Write the weights and inputs that a process per cell loads."""
    tensors = {"images": inputs.images, "labels": inputs.labels,
               "calibration images": inputs.calibration.images, "calibration labels": inputs.calibration.labels,
               **{f"state {name}": tensor for name, tensor in state.items()}}  # fmt: skip
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def process_accuracy(process: LoopProcess, cell: LoopCell) -> tuple[float, float, float]:
    """Evaluate a cell in a process of its own; return accuracy, seconds, and the seconds until its imports end."""
    start = time.perf_counter()
    words = [sys.executable, "-m", "tests.speed.loops", json.dumps(asdict(process)), json.dumps(asdict(cell))]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    accuracy, imported = json.loads(done.stdout)
    return accuracy, seconds, imported


def main() -> None:
    """Evaluate the cell given on the command line; print its accuracy and the seconds until the imports ended."""
    process, cell = LoopProcess(**json.loads(sys.argv[1])), LoopCell(**json.loads(sys.argv[2]))
    constructor = _named(process.model)
    imported = time.time() - psutil.Process().create_time()
    torch.set_num_threads(process.threads)
    tensors = load_file(process.file)
    model = constructor(**process.arguments)
    model.load_state_dict({k.removeprefix("state "): v for k, v in tensors.items() if k.startswith("state ")})
    draw = Calibration(tensors["calibration images"], tensors["calibration labels"], process.calibration_batch)
    units = find_units(model, "weight", tuple(process.exclude), draw.images[:2])
    inputs = LoopInputs(tensors["images"], tensors["labels"], draw, units, process.batch)
    print(json.dumps([loop_accuracy(model, cell, inputs, torch.device(process.device)), imported]))


def _named(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


if __name__ == "__main__":
    main()
