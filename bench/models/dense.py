"""Dense models: given as a checkpoint, found among the artifacts, or trained and stored there."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.errors import UserError
from bench.core.identity import digest, named_seed
from bench.core.registry import Registry
from bench.data.dataset import Dataset
from bench.models.build import build_model, resolve_recipe, version_of
from bench.models.checkpoints import (
    parse_checkpoint,
    read_metadata,
    save_checkpoint,
    state_digest,
)
from bench.models.load_weights import load_into
from bench.models.train import Progress, guessing_warning, train
from bench.store.files import Artifacts, digest_file, read_file
from bench.study.spec import ModelSpec, Normalisation, Recipe, expand_place


@dataclass(frozen=True)
class DenseModel:
    """A trained network, and where it comes from.

    Attributes
    ----------
    model : nn.Module
        Float32, eval mode, on the device.
    checkpoint : str
        Content hash of its weights (`state_digest`).
    normalisation : Normalisation
        Of its inputs.
    train_overlap : str
        Whether it saw the held-out splits: ``no``, ``yes`` or ``unknown``.
    recipe : mapping
        How it was trained, or the ``checkpoint`` that the study names. Its key ``memory_format`` is absent for
        ``contiguous``.
    history : mapping
        ``loss``: mean training loss of every epoch in nats; ``lr``: learning rate of its last step, absent from
        models that an earlier version trained. Empty for a given checkpoint.
    seconds : float
        Time that training took, or loading a given checkpoint.
    file : str or None
        Content hash of a given checkpoint's file, which `model_identity` takes.
    warning : str or None
        Why the training is not to be trusted.
    """

    model: nn.Module
    checkpoint: str
    normalisation: Normalisation
    train_overlap: str
    recipe: Mapping[str, Any]
    history: Mapping[str, list[float]]
    seconds: float
    file: str | None = None
    warning: str | None = None


def dense_key(
    spec: ModelSpec, dataset_hash: str, recipe: Recipe, seed: int, version: int | str = 1,
    memory_format: str = "contiguous",
) -> str:  # fmt: skip
    """Identity of a dense model that we train: SHA-256 of all that its weights depend on.

    Threads and device class are left out: they are execution settings, fixed once per study.

    Parameters
    ----------
    spec : ModelSpec
        Its name, arguments and normalisation matter.
    dataset_hash : str
        `Dataset.hash`, which covers the division into splits and the default normalisation.
    recipe : Recipe
        Fully resolved.
    seed : int
        Train seed.
    version : int or str
        Of the model's plug-in.
    memory_format : str
        In which it is trained. ``contiguous`` is left out of the hash, so that models of earlier versions, all
        trained so, keep their key.
    """
    return digest(
        {
            "dataset": dataset_hash,
            "model": _architecture(spec, version),
            "normalisation": spec.given_normalisation.model_dump() if spec.given_normalisation else None,
            "recipe": recipe.model_dump() | _unusual(memory_format),
            "seed": seed,
        }
    )


def dense_file(
    spec: ModelSpec, dataset_hash: str, seed: int, registry: Registry, memory_format: str = "contiguous"
) -> str:
    """Return the name, among the artifacts, of the dense model that a study trains; parameters as for `dense_key`."""
    recipe, version = resolve_recipe(spec, registry), version_of(spec, registry)
    return f"dense/{dense_key(spec, dataset_hash, recipe, seed, version, memory_format)}.safetensors"


def checkpoint_place(spec: ModelSpec, seed: int | None, folder: Path) -> str:
    """Return the path or URL of a given checkpoint, ``{seed}`` and ``${VAR}`` expanded.

    Raises
    ------
    UserError
        If the entry names none, or a variable is not set.
    """
    if spec.checkpoint is None:
        raise UserError(f"model {spec.name!r} has no checkpoint")
    return expand_place(spec.checkpoint.replace("{seed}", str(seed)), folder)


def model_identity(
    spec: ModelSpec,
    seed: int | None,
    dataset_hash: str,
    registry: Registry,
    folder: Path,
    digest_of: Callable[[str], str] = digest_file,
    memory_format: str = "contiguous",
) -> dict[str, Any]:
    """Return what of a dense model makes up the identity of its cells.

    Parameters
    ----------
    spec : ModelSpec
        Entry of study.yaml.
    seed : int or None
        Train seed; None for a single given checkpoint.
    dataset_hash : str
        Of the data set that it is trained on.
    registry : Registry
        Plug-ins of this process.
    folder : Path
        Study folder, where relative paths start.
    digest_of : callable, optional
        Content hash of the file at a path or URL: `digest_file`, or one that remembers.
    memory_format : str
        In which the study trains models (`Settings.memory_format`).

    Raises
    ------
    UserError
        If a given checkpoint is missing or cannot be reached.
    """
    version = version_of(spec, registry)
    if seed is not None and spec.checkpoint is None:
        dense = dense_key(spec, dataset_hash, resolve_recipe(spec, registry), seed, version, memory_format)
    else:
        normalisation = spec.given_normalisation.model_dump() if spec.given_normalisation else None
        # the first version of a network of ours goes without saying; a user's is the hash of its source
        name = spec.name if version == 1 else [spec.name, version]
        content = digest_of(checkpoint_place(spec, seed, folder))
        dense = digest([content, name, spec.args, normalisation])
    return {"dense": dense, "exclude": spec.exclude}


def obtain_dense(
    spec: ModelSpec,
    dataset: Dataset,
    seed: int | None,
    registry: Registry,
    folder: Path,
    artifacts: Artifacts,
    device: torch.device,
    progress: Progress | None = None,
    cache: Artifacts | None = None,
    memory_format: str = "contiguous",
) -> DenseModel:
    """Return a dense model, training it only where it is neither given nor stored.

    Parameters
    ----------
    spec : ModelSpec
        Entry of study.yaml.
    dataset : Dataset
        Its fit split trains.
    seed : int or None
        Train seed; None for a single given checkpoint.
    registry : Registry
        Plug-ins of this process.
    folder : Path
        Study folder, where relative paths start.
    artifacts : Artifacts
        A trained model is kept there as `dense_file`.
    device : torch.device
        Where it is trained and left.
    progress : callable, optional
        Called after every epoch of training.
    cache : Artifacts, optional
        Place that several studies share, laid out like `artifacts`.
    memory_format : str
        In which the study trains models (`Settings.memory_format`).

    Raises
    ------
    UserError
        If a checkpoint is missing, damaged or does not fit, or a stored model was altered or cannot be reached.
    CellError
        If training diverges.
    """
    if spec.checkpoint is not None:
        return _given(spec, dataset, seed, registry, folder, device)
    if seed is None:
        raise UserError(f"model {spec.name!r}: training needs a seed; set train_seeds, or give a checkpoint")
    recipe, version = resolve_recipe(spec, registry), version_of(spec, registry)
    file = dense_file(spec, dataset.hash, seed, registry, memory_format)
    places = {place: place.exists(file) for place in (artifacts, cache) if place is not None}
    stream = (dataset.hash, _architecture(spec, version), seed)
    normalisation = _normalisation(spec, dataset)
    model = build_model(spec, registry, dataset, named_seed("initial weights", *stream))
    stored = next((place for place, there in places.items() if there), None)
    if stored is not None:
        state, metadata = _read_artifact(stored, file)
        load_into(model, state, stored.where(file))
    else:
        start = time.perf_counter()
        history = train(
            model, dataset.fit, normalisation, recipe, named_seed("train", *stream), device, progress, memory_format
        )
        state = model.state_dict()
        metadata = {
            "checkpoint": state_digest(state),
            "file": file,
            "recipe": recipe.model_dump() | _unusual(memory_format),
            "history": history,
            "seconds": time.perf_counter() - start,
        }
    for place, there in places.items():
        if not there:
            save_checkpoint(state, place.where(file), {**metadata, **normalisation.model_dump()})
    losses = metadata["history"]["loss"]
    return DenseModel(
        model.to(device), metadata["checkpoint"], normalisation, "no",
        metadata["recipe"], metadata["history"], metadata["seconds"],
        warning=guessing_warning(losses[-1], recipe, dataset.fit.labels, dataset.num_classes) if losses else None,
    )  # fmt: skip


def _given(
    spec: ModelSpec,
    dataset: Dataset,
    seed: int | None,
    registry: Registry,
    folder: Path,
    device: torch.device,
) -> DenseModel:
    start = time.perf_counter()
    place = checkpoint_place(spec, seed, folder)
    content = read_file(place)
    state = parse_checkpoint(content, place)
    model = build_model(spec, registry, dataset, seed=0)  # every weight is replaced
    state = load_into(model, state, place)
    return DenseModel(
        model.to(device), state_digest(state), _normalisation(spec, dataset), spec.train_overlap or "unknown",
        {"checkpoint": spec.checkpoint}, {}, time.perf_counter() - start, hashlib.sha256(content).hexdigest(),
    )  # fmt: skip


def _read_artifact(artifacts: Artifacts, file: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    place, content = artifacts.where(file), artifacts.read(file)
    try:
        state, metadata = parse_checkpoint(content, place), read_metadata(content, place)
    except UserError as error:
        raise UserError(f"{error}; delete it, and the model is trained again") from error
    if state_digest(state) != metadata.get("checkpoint"):
        raise UserError(
            f"{place}: its weights are not those that were stored; delete it, and the model is trained again"
        )
    if metadata.get("file", file) != file:  # files of earlier versions do not name themselves
        raise UserError(
            f"{place}: is a copy of {metadata['file']}, a model of another seed, recipe or study; delete it, and the "
            f"model is trained again"
        )
    return state, metadata


def _normalisation(spec: ModelSpec, dataset: Dataset) -> Normalisation:
    found = spec.given_normalisation or dataset.normalisation
    if not len(found.mean) == len(found.std) == dataset.in_chans:
        raise UserError(
            f"model {spec.name!r}: normalisation has {len(found.mean)} means and {len(found.std)} deviations "
            f"for the {dataset.in_chans} channels of {dataset.name}"
        )
    return found


def _architecture(spec: ModelSpec, version: int | str) -> dict[str, Any]:
    return {"name": spec.name, "args": spec.args, "version": version}


def _unusual(memory_format: str) -> dict[str, str]:
    return {} if memory_format == "contiguous" else {"memory_format": memory_format}
