"""Export a pruned network with all that its use outside prunebench requires, and verify such a file."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.core.errors import CellError, UserError
from bench.core.provenance import package_versions
from bench.core.types import Cell, Settings
from bench.data.dataset import Dataset, ImageSet
from bench.data.load import load_dataset
from bench.measure.evaluator import Evaluator
from bench.measure.pipeline import Pipeline
from bench.models.build import build_model, constructor_of
from bench.models.checkpoints import load_checkpoint, parse_checkpoint, read_metadata, save_checkpoint
from bench.models.dense import obtain_dense
from bench.models.given import stored_normalisation
from bench.models.load_weights import load_into
from bench.run.open_study import OpenStudy
from bench.run.settings import apply_settings
from bench.store.database import open_store
from bench.store.files import Artifacts, read_file
from bench.study.plan import axis_values
from bench.study.spec import DataSpec, ModelSpec, Normalisation

#: Code that builds the network of a row without prunebench, by the kind of its architecture.
BUILD = {
    "timm": (
        "import json, safetensors, timm, torch",
        'model = timm.create_model(about["architecture"]["name"], **about["architecture"]["args"])',
    ),
    "module": (
        "import importlib, json, safetensors, torch",
        'module = importlib.import_module(about["architecture"]["module"])',
        'model = getattr(module, about["architecture"]["function"])(**about["architecture"]["args"])',
    ),
    "source": (
        "import json, safetensors, torch",
        'exec(about["architecture"]["source"], defined := {})',
        'model = defined[about["architecture"]["function"]](**about["architecture"]["args"])',
    ),
}
EXAMPLE = """\
# images: uint8, shape (n, channels, height, width); labels: int64, shape (n,)
{imports}
with safetensors.safe_open({file!r}, "pt") as file:
    about = {{key: json.loads(text) for key, text in file.metadata().items()}}
    state = {{name: file.get_tensor(name) for name in file.keys()}}
{build}
model.eval().load_state_dict(state)
mean, std = (torch.tensor(about[key]).view(1, -1, 1, 1) for key in ("mean", "std"))
with torch.inference_mode():
    logits = torch.cat([model((part / 255 - mean) / std) for part in images.split({batch})])
accuracy = (logits.argmax(dim=1) == labels).double().mean().item()
"""


@dataclass(frozen=True)
class Verification:
    """Outcome of evaluating an exported file.

    Attributes
    ----------
    cell : str
        Id of the cell.
    row, file : float
        Accuracy of the row, and of the file under the settings of the study, as fractions.
    float32 : float
        Accuracy of the file in float32, contiguous, as the example in the file computes it.
    settings : str
        Precision and memory format of the row.
    differing : int
        Test images that only one of the file and the row classifies correctly.
    images : int
        Number of test images.
    """

    cell: str
    row: float
    file: float
    float32: float
    settings: str
    differing: int
    images: int


@dataclass(frozen=True)
class FinishedRow:
    """A finished cell with its stored values, its model and its data set."""

    cell: Cell
    values: Mapping[str, Any]
    model: ModelSpec
    dataset: Dataset


def export_cell(opened: OpenStudy, name: str, output: Path) -> Verification:
    """Save the network of one cell, and verify that the reloaded file reproduces the row.

    Parameters
    ----------
    opened : OpenStudy
        The study.
    name : str
        Beginning of the id of the cell, or its position in the plan.
    output : Path
        The ``.safetensors`` file to write; docs/CHECKPOINTS.md describes its metadata.

    Returns
    -------
    Verification
        Of the reloaded file.

    Raises
    ------
    UserError
        If the cell is not done, or the reloaded model differs from the row on any test image.
    """
    if output.suffix != ".safetensors":
        raise UserError(f"{output}: name a .safetensors file (or, with --compact, a .pt2 file)")
    cell = opened.find_cell(name)
    row = finished_row(opened, cell)
    pruned, normalisation = repaired_network(opened, row)
    about = {
        **row_facts(row, normalisation, opened.settings),
        "accuracy_float32": _plain_accuracy(pruned, row.dataset.test, normalisation, opened.settings),
        "architecture": _architecture(row, opened),
    }
    about["example"] = _example(about["architecture"]["kind"], output.name, opened.settings.batch)
    unverified = output.with_name(f"{output.stem}.unverified.safetensors")
    save_checkpoint(pruned.state_dict(), unverified, {}, about)
    load_into(pruned, load_checkpoint(unverified), unverified)
    found = _verified(pruned, row, normalisation, opened.settings)
    describe_verification(unverified, found)
    unverified.replace(output)
    return found


def verify_file(opened: OpenStudy, place: Path, name: str | None = None) -> Verification:
    """Evaluate an exported file on the test split, with its own normalisation and the settings of the study.

    Parameters
    ----------
    opened : OpenStudy
        The study that the file was exported from.
    place : Path
        The exported file.
    name : str, optional
        Beginning of the id of the expected cell, or its position in the plan.

    Raises
    ------
    UserError
        If the file was not exported from this study, was altered, or belongs to another cell or data set.
    """
    content = read_file(place)
    state = parse_checkpoint(content, place)
    normalisation = stored_normalisation(content, str(place))
    about = read_metadata(content, place) if normalisation is not None else {}
    if normalisation is None or not isinstance(about.get("cell"), str):
        raise UserError(f"{place}: `prunebench prune` did not write this file; give one that it wrote")
    cell = next((cell for cell in opened.plan.cells() if cell.id == about["cell"]), None)
    if cell is None:
        raise UserError(f"{place}: its cell is not in the plan of {opened.study.folder}; give the study it is from")
    if name is not None and opened.find_cell(name).id != cell.id:
        raise UserError(f"{place}: holds cell {cell.id[:12]}, not {opened.find_cell(name).id[:12]}")
    row = finished_row(opened, cell)
    if not len(normalisation.mean) == len(normalisation.std) == row.dataset.in_chans:
        raise UserError(f"{place}: its mean and std are not of the {row.dataset.in_chans} channels of {cell.dataset}")
    network = build_model(row.model, opened.registry, row.dataset, seed=0)
    load_into(network, state, place)
    return _verified(network, row, normalisation, opened.settings)


def describe_verification(place: Path, found: Verification) -> str:
    """Return the outcome of a verification in one line.

    Raises
    ------
    UserError
        With that line, if the file and the row differ.
    """
    line = (
        f"{place}: cell {found.cell[:12]}, {found.settings}: accuracy {100 * found.file:.2f} %, the row has "
        f"{100 * found.row:.2f} %"
    )
    if found.differing:
        raise UserError(
            f"{line}; {found.differing} of {found.images} test images differ: the file does not hold its network, "
            f"or the settings or library versions are not those of the run; export it again"
        )
    return f"{line}; the example in the file (float32, contiguous) gives {100 * found.float32:.2f} %"


def split_hash(split: ImageSet) -> str:
    """Return the SHA-256 of a split: the bytes of its images (uint8, in order), then of its labels (int64).

    Examples
    --------
    >>> empty = ImageSet(torch.zeros(0, 1, 1, 1, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64))
    >>> split_hash(empty) == hashlib.sha256().hexdigest()
    True
    """
    sha = hashlib.sha256(split.images.contiguous().numpy().tobytes())
    sha.update(split.labels.contiguous().numpy().astype("<i8").tobytes())
    return sha.hexdigest()


def finished_row(opened: OpenStudy, cell: Cell) -> FinishedRow:
    """Return the row of a cell with its data; the settings of the study are applied to this process.

    Raises
    ------
    UserError
        If the cell is skipped or not done.
    """
    study = opened.study
    with closing(open_store(study.folder)) as store:
        values = store.row(cell.id)
    if values is not None and values["state"] == "skipped":
        raise UserError(f"cell {cell.id[:12]} is skipped: {values['reason']}; choose another cell")
    if values is None or values["state"] != "done":
        state = values["state"] if values else "not run"
        raise UserError(f"cell {cell.id[:12]} is {state}; `prunebench run {study.folder} --only cell={cell.id}` first")
    apply_settings(opened.settings)
    data: DataSpec = next(d for d in study.file.data if d.title == cell.dataset)
    model = next(m for m in study.file.models if m.title == cell.model)
    return FinishedRow(cell, values, model, load_dataset(data, study.folder))


def repaired_network(opened: OpenStudy, row: FinishedRow) -> tuple[nn.Module, Normalisation]:
    """Return the masked, repaired network of a row, in eval mode, and the normalisation of its inputs."""
    cell = row.cell
    group = next(g for g in opened.plan.groups if g.id == cell.group)
    dense = obtain_dense(
        row.model, row.dataset, cell.train_seed, opened.registry, folder=opened.study.folder,
        artifacts=Artifacts.of(opened.study.folder), device=torch.device(opened.settings.device),
        memory_format=opened.settings.memory_format,
    )  # fmt: skip
    pipeline = Pipeline(group, dense, row.dataset, row.model.exclude, opened.registry, opened.settings, Counter())
    pipeline.remember([row.values])
    return pipeline.repaired_model(cell), dense.normalisation


def _verified(model: nn.Module, row: FinishedRow, normalisation: Normalisation, settings: Settings) -> Verification:
    """Evaluate a network in the precision of its row, and in float32."""
    try:
        found = Evaluator(
            model, row.dataset.test, normalisation, replace(settings, precision=row.cell.precision)
        ).evaluate(model)
        plain = _plain_accuracy(model, row.dataset.test, normalisation, settings)
    except CellError as error:
        raise UserError(f"cell {row.cell.id[:12]}: the network cannot be evaluated: {error}") from error
    ours, stored = (np.unpackbits(np.frombuffer(bits, np.uint8)) for bits in (found.correct, row.values["correct"]))
    return Verification(
        row.cell.id, row.values["accuracy"], found.accuracy, plain,
        f"{row.cell.precision}, {settings.memory_format}",
        int((ours != stored).sum()), found.images,
    )  # fmt: skip


def _plain_accuracy(model: nn.Module, test: ImageSet, normalisation: Normalisation, settings: Settings) -> float:
    """Return the accuracy in float32, contiguous, as PyTorch computes it by default."""
    plain = replace(settings, precision="float32", memory_format="contiguous")
    return Evaluator(model, test, normalisation, plain).evaluate(model).accuracy


def row_facts(row: FinishedRow, normalisation: Normalisation, settings: Settings) -> dict[str, Any]:
    """Return what an exported file records of its row."""
    values = row.values
    return {
        "mean": normalisation.mean,
        "std": normalisation.std,
        "dataset": row.dataset.name,
        "dataset_hash": row.dataset.hash,
        "split_hash": split_hash(row.dataset.test),
        "classes": row.dataset.classes,
        "cell": row.cell.id,
        "axes": axis_values(row.cell),
        "sparsity": {
            "requested": row.cell.sparsity,
            "achieved": values["sparsity_achieved"],
            "parameters": values["sparsity_parameters"],
            "speedup": values["speedup"] if math.isfinite(values["speedup"]) else None,  # JSON has no infinity
        },
        "accuracy": values["accuracy"],
        "n_test": values["n_test"],
        "precision": row.cell.precision,
        "memory_format": settings.memory_format,
        "versions": package_versions(),
    }


def _architecture(row: FinishedRow, opened: OpenStudy) -> dict[str, Any]:
    """Return how the network is built: by timm, by an installed module, or by source code, which is included."""
    spec = row.model
    function, args = constructor_of(spec, opened.registry, row.dataset)
    found: dict[str, Any] = {"name": spec.name, "args": args}
    if opened.registry.find("model", spec.name) is None:
        unused = ("model_name", "pretrained")
        return {**found, "kind": "timm", "args": {key: value for key, value in args.items() if key not in unused}}
    module, colon, name = spec.name.rpartition(":")
    if colon and not module.endswith(".py"):
        return {**found, "kind": "module", "module": module, "function": name}
    source = Path(str(inspect.getsourcefile(function))).read_text(encoding="utf-8")
    return {**found, "kind": "source", "function": name or function.__name__, "source": source}


def _example(kind: str, file: str, batch: int) -> str:
    imports, *build = BUILD[kind]
    return EXAMPLE.format(imports=imports, build="\n".join(build), file=file, batch=batch)
