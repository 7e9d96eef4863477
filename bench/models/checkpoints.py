"""Read and write weights. Files are identified by their content, and nothing in them is executed."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from bench.core.errors import UserError
from bench.core.identity import canonical_json
from bench.store.files import BLANK, is_altered, read_file, sealed, write_file

METADATA_KEY = "prunebench"  # every safetensors file that we write has it
SEAL_KEY = "sha256"  # next to the metadata: the file's own hash
#: Entries under which training scripts keep the weights, the first that holds tensors is used; averages come last.
WRAPPERS = ("state_dict", "model", "model_state_dict", "net", "state_dict_ema", "model_ema", "ema")
#: How many wrappers may lie inside each other.
DEEPEST = 3
#: Modules that data-parallel training and `torch.compile` put around a network or a part of it.
PARALLEL = ("module", "_orig_mod")
OPTIONAL = "num_batches_tracked"  # a counter that older checkpoints lack and inference ignores
EXTRA_STATE = "_extra_state"  # of `nn.Module.get_extra_state`: not weights
SHOWN = 4
LONGEST_NAME, LONGEST_REASON = 60, 200
#: How a user reads a file that may run code.
TORCH, PICKLE = "torch.load('{name}', 'cpu', weights_only=False)", "pickle.load(open('{name}', 'rb'))"

#: The number with which `torch.save` begins its old format, as the pickle holds it.
LEGACY_MAGIC = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
#: Beginnings of files that are often given by mistake.
OTHER_FILES = (
    (b"version https://git-lfs", "it is a Git LFS pointer; run `git lfs pull` for the file itself"),
    (b"<", "it is an HTML or XML page, as a failed download leaves; download the file itself"),
    (b"\x1f\x8b", "it is compressed with gzip; decompress it"),
    (b"\x89HDF", "it is an HDF5 file, as Keras writes; convert the weights to safetensors"),
)
#: How torch's restricted unpickler names what it refuses.
REFUSED = re.compile(
    r"GLOBAL (.{1,1000}?) (?:was not an allowed global|whose module)"
    r"|(?:unrecognized (?:function|class)|add_safe_globals.{1,9}but got) (.{1,1000})",
    re.DOTALL,
)


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


def save_checkpoint(
    state: Mapping[str, Tensor], place: str | Path, metadata: Mapping[str, Any], plain: Mapping[str, Any] | None = None
) -> None:
    """Write a safetensors file atomically, with a seal that shows later changes.

    Parameters
    ----------
    state : mapping of str to Tensor
        As from ``model.state_dict()``.
    place : str or Path
        A path, or a URL that fsspec knows. Its folder is made if missing; a file there is replaced.
    metadata : mapping
        JSON values kept in the header under one key; see `read_metadata`.
    plain : mapping, optional
        JSON values that other programs read: each becomes an entry of the safetensors metadata, as JSON text.

    Raises
    ------
    UserError
        If it cannot be written (no space, no permission).
    """
    # clones, since safetensors refuses tensors that share memory
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}
    texts = {METADATA_KEY: canonical_json({**metadata, SEAL_KEY: BLANK})}
    texts |= {key: json.dumps(value) for key, value in (plain or {}).items()}
    write_file(place, sealed(_with_metadata(safetensors.torch.save(tensors), texts)))


def _with_metadata(content: bytes, metadata: Mapping[str, str]) -> bytes:
    """Put metadata into the header; safetensors itself writes several entries in no fixed order."""
    length = int.from_bytes(content[:8], "little")
    header = json.dumps({"__metadata__": dict(metadata), **json.loads(content[8 : 8 + length])}).encode()
    header += b" " * (-len(header) % 8)  # tensors begin at a multiple of 8 bytes
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def read_metadata(content: bytes, place: str | Path) -> dict[str, Any]:
    """Return the metadata that `save_checkpoint` wrote; empty for a file of another program.

    Parameters
    ----------
    content : bytes
        Content of a safetensors file; its header suffices.
    place : str or Path
        Path or URL, for messages.

    Raises
    ------
    UserError
        If the file is not safetensors.
    """
    try:
        length = int.from_bytes(content[:8], "little")
        texts = json.loads(content[8 : 8 + length]).get("__metadata__", {})
        if METADATA_KEY not in texts:
            return {}
        plain = {key: json.loads(text) for key, text in texts.items() if key != METADATA_KEY}
        return {**plain, **{key: value for key, value in json.loads(texts[METADATA_KEY]).items() if key != SEAL_KEY}}
    except Exception as error:  # the header may hold anything
        raise _unreadable(place, _reason(error)) from error


def is_safetensors(content: bytes) -> bool:
    """Whether a file begins as safetensors does: the length of a JSON object, then the object.

    Examples
    --------
    >>> is_safetensors(safetensors.torch.save({"a": torch.zeros(1)})), is_safetensors(b"PK")
    (True, False)
    """
    return content[8:9] == b"{" and int.from_bytes(content[:8], "little") <= len(content) - 8


def load_checkpoint(place: str | Path) -> dict[str, Tensor]:
    """Read the weights of a checkpoint onto the CPU, without prefixes of data-parallel training and `torch.compile`."""
    return without_parallel(parse_checkpoint(read_file(place), place))


def parse_checkpoint(content: bytes, place: str | Path) -> dict[str, Tensor]:
    """Return the weights in a checkpoint, on the CPU, under the names that the file has.

    Parameters
    ----------
    content : bytes
        Content of the whole file: safetensors, or what ``torch.save`` wrote, now or before torch 1.6. The content
        shows which; the name of the file does not matter. Weights may lie in an entry that is one of `WRAPPERS`.
    place : str or Path
        Path or URL, for messages.

    Raises
    ------
    UserError
        If the file is damaged, of another format, needs code of its own to be read, or holds no dict of tensors.
    """
    if is_altered(content):
        raise _unreadable(place, "it was altered after it was written")
    found = _parse(content, place)
    state = _find_state(found, DEEPEST)
    if state is None:
        raise UserError(
            f"checkpoint {place}: holds no dict of tensors{_contents(found)}; save the weights with "
            f"`torch.save(model.state_dict(), FILE)`"
        )
    return state


def _parse(content: bytes, place: str | Path) -> Any:
    """Return the object in a file, by the format that its first bytes show."""
    if is_safetensors(content):
        try:
            return safetensors.torch.load(content)
        except Exception as error:  # whatever damaged headers lead to
            raise _unreadable(place, _reason(error)) from error
    if content[:4] == b"PK\x03\x04":
        _refuse_other_archives(content, place)
    elif LEGACY_MAGIC not in content[:64]:
        raise _unreadable(place, _other_format(content, place))
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch's restricted unpickler raises anything on damaged bytes
        refused = REFUSED.search(str(error))
        if refused:
            needed = shown_name(refused[1] or refused[2].split("\n")[0].strip())
            raise _unreadable(
                place,
                f"it also holds objects that need the class or function {needed}, and unpickling these "
                f"could run any code; {_ways_out(place)}",
            ) from error
        raise _unreadable(place, _reason(error)) from error


def _refuse_other_archives(content: bytes, place: str | Path) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            files = {name.rpartition("/")[2] for name in archive.namelist()}
    except Exception as error:  # zipfile raises several kinds on damaged bytes
        raise _unreadable(place, f"it is a damaged or incomplete archive of torch.save: {_reason(error)}") from error
    if "constants.pkl" in files:
        raise _unreadable(
            place,
            "it is a TorchScript archive, a program with weights; save the weights alone with "
            "`torch.save(torch.jit.load(FILE).state_dict(), NEW_FILE)`",
        )
    if "data.pkl" not in files:
        raise _unreadable(place, "it is a zip archive that torch.save did not write; give the checkpoint itself")


def _other_format(content: bytes, place: str | Path) -> str:
    if not content:
        return "it is empty"
    for beginning, what in OTHER_FILES:
        if content.startswith(beginning):
            return what
    if content[:1] == b"\x80":
        return f"it is a pickle that torch.save did not write; {_ways_out(place, PICKLE)}"
    if tarfile.is_tarfile(io.BytesIO(content)):
        return f"it is a tar archive, which only torch before 0.2 wrote; {_ways_out(place)}"
    return "it is neither a file of torch.save nor safetensors, or it is damaged; save it again"


def _ways_out(place: str | Path, load: str = TORCH) -> str:
    """Return what to type for a file whose weights cannot be read without running code."""
    name = str(place) if re.fullmatch(r"[\w./+-]{1,120}", str(place)) else "FILE"
    return (
        "save the weights alone where the network is defined, with `torch.save(model.state_dict(), NEW_FILE)`, or, if "
        "you trust the file, convert it to safetensors: "
        f'`python -c "import pickle, torch; from safetensors.torch import save_file; x = {load.format(name=name)}; '
        "x = x.state_dict() if hasattr(x, 'state_dict') else x.get('state_dict', x); "
        f"save_file({{k: v.contiguous().clone() for k, v in x.items()}}, '{name}.safetensors')\"`"
    )


def _find_state(found: Any, depth: int) -> dict[str, Tensor] | None:
    """Return the dict of tensors in what a file holds, or None."""
    if not isinstance(found, Mapping):
        return None
    state = {str(name): value for name, value in found.items() if not str(name).endswith(EXTRA_STATE)}
    if state and all(isinstance(value, Tensor) for value in state.values()):
        return state
    if depth:
        for key in WRAPPERS:
            inner = _find_state(found.get(key), depth - 1)
            if inner is not None:
                return inner
    return None


def _contents(found: Any) -> str:
    """Describe an object that is no dict of tensors, for a message."""
    if not isinstance(found, Mapping):
        return f" but a {type(found).__name__}"
    if not found:
        return ": it is empty"
    kinds = (f"{shown_name(str(name))} ({type(value).__name__})" for name, value in found.items())
    return f" under {', '.join(WRAPPERS)}; its entries are {shown_names(kinds)}"


def without_parallel(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Remove the components of `PARALLEL` from all names, unless two names would become one."""
    names = {
        ".".join(part for part in name.split(".") if part not in PARALLEL) or name: tensor
        for name, tensor in state.items()
    }
    return names if len(names) == len(state) else dict(state)


def shown_name(name: str, longest: int = LONGEST_NAME) -> str:
    r"""Return a name from a file for a message: no control characters, not longer than `longest`.

    Examples
    --------
    >>> shown_name("conv.weight"), shown_name("a\x1b[31m" + 90 * "b", 20)
    ('conv.weight', 'a\\x1b[31m...bbbbbbbb')
    """
    printable = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
    half = (longest - 3) // 2
    return printable if len(printable) <= longest else f"{printable[: longest - 3 - half]}...{printable[-half:]}"


def shown_names(names: Iterable[str]) -> str:
    """Return the first names for a message, and how many more there are."""
    listed = list(names)
    return ", ".join(listed[:SHOWN]) + (f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else "")


def _reason(error: Exception) -> str:
    """Return the first line of an error as a whole sentence part, or its type."""
    line = str(error).strip().partition("\n")[0].rstrip(":. ")
    return shown_name(line, LONGEST_REASON) or type(error).__name__


def _unreadable(place: str | Path, reason: str) -> UserError:
    return UserError(f"checkpoint {place}: cannot be read: {reason}")
