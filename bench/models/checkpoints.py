"""Reading and writing weights, by content hash, without unpickling anything."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from bench.errors import UserError
from bench.identity import canonical_json
from bench.store.artifacts import BLANK, is_altered, read_file, sealed, write_file

METADATA_KEY = "prunebench"  # one key: safetensors writes several in no fixed order
SEAL_KEY = "sha256"  # beside the metadata: the file's own hash
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


def save_checkpoint(state: Mapping[str, Tensor], place: str | Path, metadata: Mapping[str, Any]) -> None:
    """Write a safetensors file that is either complete or not there, and that tells when it was altered.

    Parameters
    ----------
    state : mapping of str to Tensor
        As from ``model.state_dict()``.
    place : str or Path
        A path, or a URL that fsspec knows. Its folder is made if missing; a file there is replaced.
    metadata : mapping
        JSON values kept in the header; see `read_metadata`.

    Raises
    ------
    UserError
        If it cannot be written (no space, no permission).
    """
    # clones, since safetensors refuses tensors that share memory
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}
    content = safetensors.torch.save(tensors, {METADATA_KEY: canonical_json({**metadata, SEAL_KEY: BLANK})})
    write_file(place, sealed(content))


def read_metadata(content: bytes, place: str | Path) -> dict[str, Any]:
    """Return what `save_checkpoint` was given as metadata; empty for a file from elsewhere.

    Parameters
    ----------
    content : bytes
        Of a safetensors file.
    place : str or Path
        Where it lies, for messages.

    Raises
    ------
    UserError
        If the file is not safetensors.
    """
    try:
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        found = json.loads(header.get("__metadata__", {}).get(METADATA_KEY, "{}"))
        return {key: value for key, value in found.items() if key != SEAL_KEY}
    except Exception as error:  # the header may hold anything
        raise _unreadable(place, error) from error


def load_checkpoint(place: str | Path) -> dict[str, Tensor]:
    """Read the weights of a checkpoint onto the CPU; see `parse_checkpoint`."""
    return parse_checkpoint(read_file(place), place)


def parse_checkpoint(content: bytes, place: str | Path) -> dict[str, Tensor]:
    """Return the weights in a checkpoint, on the CPU.

    Parameters
    ----------
    content : bytes
        Of the whole file. A dict nested under ``state_dict`` or ``model`` is taken out and the prefix
        ``module.`` of data-parallel training removed.
    place : str or Path
        Path or URL, whose ending tells the format: ``.pt`` and ``.pth`` are read with
        ``weights_only=True``, anything else is safetensors.

    Raises
    ------
    UserError
        If the file is damaged, or holds no dict of tensors.
    """
    if is_altered(content):
        raise UserError(f"checkpoint {place}: cannot be read: it was altered after it was written")
    try:
        if re.search(r"\.pth?(\?|$)", str(place)):
            found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        else:
            found = safetensors.torch.load(content)
    except Exception as error:  # torch's restricted unpickler raises anything on damaged bytes
        raise _unreadable(place, error) from error
    for key in NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise UserError(f"checkpoint {place}: holds no dict of tensors; save model.state_dict()")
    return {str(name).removeprefix("module."): tensor for name, tensor in found.items()}


def load_into(model: nn.Module, state: Mapping[str, Tensor], place: str | Path) -> None:
    """Copy weights into a model.

    Parameters
    ----------
    model : nn.Module
        Changed in place.
    state : mapping of str to Tensor
        Every tensor of the model, and no other; BatchNorm's batch counter may be missing.
    place : str or Path
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
            f"checkpoint {place}: does not fit {type(model).__name__}: tensors {'; '.join(faults)}; "
            "check the model's name and args"
        )
    model.load_state_dict(state, strict=False)


def _few(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:SHOWN]) + (", ..." if len(listed) > SHOWN else "")


def _unreadable(place: str | Path, error: Exception) -> UserError:
    reason = str(error).strip().split("\n")[0]
    return UserError(f"checkpoint {place}: cannot be read: {reason or type(error).__name__}")
