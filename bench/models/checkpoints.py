"""Reading and writing weights, by content hash, without unpickling anything."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from bench.errors import UserError
from bench.identity import canonical_json
from bench.store.artifacts import write_artifact

METADATA_KEY = "prunebench"  # one key: safetensors writes several in no fixed order
NESTED = ("state_dict", "model")
OPTIONAL = "num_batches_tracked"  # a counter that older checkpoints lack and inference ignores
SHOWN = 4


def state_digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over the names, types, shapes and values of the tensors, whatever their order.

    Examples
    --------
    >>> state = {"a": torch.zeros(2), "b": torch.ones(1)}
    >>> state_digest(state) == state_digest(dict(reversed(state.items())))
    True
    >>> state_digest(state) == state_digest({**state, "b": torch.zeros(1)})
    False
    """
    sha = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def save_checkpoint(state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, Any]) -> None:
    """Write a safetensors file that is either complete or not there.

    Parameters
    ----------
    state : mapping of str to Tensor
        As from ``model.state_dict()``.
    path : Path
        Its folder is made if missing; a file there is replaced.
    metadata : mapping
        JSON values kept in the header; see `read_metadata`.

    Raises
    ------
    UserError
        If it cannot be written (no space, no permission).
    """
    # clones, since safetensors refuses tensors that share memory
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}
    content = safetensors.torch.save(tensors, {METADATA_KEY: canonical_json(metadata)})
    write_artifact(path, content)


def read_metadata(path: Path) -> dict[str, Any]:
    """Return what `save_checkpoint` was given as metadata; empty for a file from elsewhere.

    Raises
    ------
    UserError
        If the file is not safetensors.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error
    found: dict[str, Any] = json.loads(header.get(METADATA_KEY, "{}"))
    return found


def load_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read the weights of a checkpoint onto the CPU.

    Parameters
    ----------
    path : Path
        ``.safetensors``, or ``.pt`` / ``.pth``, which are read with ``weights_only=True``. A dict nested
        under ``state_dict`` or ``model`` is taken out and the prefix ``module.`` of data-parallel
        training removed.

    Raises
    ------
    UserError
        If the file is missing, damaged, or holds no dict of tensors.
    """
    if not path.is_file():
        raise UserError(f"checkpoint {path}: there is no such file")
    try:
        if path.suffix in (".pt", ".pth"):
            found = torch.load(path, map_location="cpu", weights_only=True)
        else:
            found = safetensors.torch.load_file(path)
    except Exception as error:  # torch's restricted unpickler raises anything on damaged bytes
        raise _unreadable(path, error) from error
    for key in NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise UserError(f"checkpoint {path}: holds no dict of tensors; save model.state_dict()")
    return {str(name).removeprefix("module."): tensor for name, tensor in found.items()}


def load_into(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Copy weights into a model.

    Parameters
    ----------
    model : nn.Module
        Changed in place.
    state : mapping of str to Tensor
        Every tensor of the model, and no other; BatchNorm's batch counter may be missing.
    path : Path
        Where `state` comes from, for messages.

    Raises
    ------
    UserError
        Naming the first tensors that are missing, unexpected or of another shape.
    """
    own = model.state_dict()
    missing = [name for name in own if name not in state and not name.endswith(OPTIONAL)]
    unexpected = [name for name in state if name not in own]
    shapes = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    faults = [
        f"{len(names)} {what} ({_few(names)})"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if names
    ]
    if faults:
        raise UserError(
            f"checkpoint {path}: does not fit {type(model).__name__}: tensors {'; '.join(faults)}; "
            "check the model's name and args"
        )
    model.load_state_dict(state, strict=False)


def _few(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:SHOWN]) + (", ..." if len(listed) > SHOWN else "")


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = str(error).strip().split("\n")[0]
    return UserError(f"checkpoint {path}: cannot be read: {reason or type(error).__name__}")
