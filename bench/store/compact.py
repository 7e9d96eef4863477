"""The compact networks of a study: what `prunebench prune --compact` measured, one JSON file per cell."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt, ValidationError

from bench.core.errors import UserError
from bench.store.files import read_file, write_file

#: Folder of the files in a study folder.
FOLDER = "compact"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class Latency(_Frozen):
    """Median duration of a forward pass, in milliseconds, of the masked and of the compact network."""

    batch: PositiveInt
    masked: PositiveFloat
    compact: PositiveFloat


class Layer(_Frozen):
    """Output channels of a layer before and after the removal, and those that stay although they are zero."""

    layer: str
    before: int
    after: int
    zero: int


class CompactNetwork(_Frozen):
    """A compact network that was written to a file.

    Attributes
    ----------
    cell : str
        Id of the cell.
    file, sha256, bytes
        Name of the file, the hash of its content, its size.
    dense_parameters, parameters : int
        Number of parameters before and after the removal.
    dense_macs, macs : float
        Multiply-accumulate operations of one image, before and after the removal.
    layers : tuple of Layer
        In forward order.
    latency : tuple of Latency
        One per batch size.
    threads, device, torch
        Where the latency was measured: threads, name of the processor, version of PyTorch.
    largest_difference : float
        Between the logits of the masked and of the compact network, as a fraction of the largest logit.
    accuracy : float
        On the test split, in float32, as a fraction.
    """

    cell: str
    file: str
    sha256: str
    bytes: int
    dense_parameters: PositiveInt
    parameters: PositiveInt
    dense_macs: PositiveFloat
    macs: PositiveFloat
    layers: tuple[Layer, ...]
    latency: tuple[Latency, ...]
    threads: int
    device: str
    torch: str
    largest_difference: float
    accuracy: float


def write_compact(folder: Path, network: CompactNetwork) -> Path:
    """Record a compact network in a study folder; an earlier one of the same cell is replaced.

    Parameters
    ----------
    folder : Path
        Study folder.
    network : CompactNetwork
        What was measured.

    Returns
    -------
    Path
        The JSON file.
    """
    path = folder / FOLDER / f"{network.cell}.json"
    write_file(path, f"{network.model_dump_json(indent=1)}\n".encode())
    return path


def read_compact(folder: Path) -> tuple[CompactNetwork, ...]:
    """Return the compact networks of a study folder, ordered by cell.

    Raises
    ------
    UserError
        If a file is damaged.

    Examples
    --------
    >>> read_compact(Path("no study"))
    ()
    """
    return tuple(_read(path) for path in sorted((folder / FOLDER).glob("*.json")))


def _read(path: Path) -> CompactNetwork:
    try:
        return CompactNetwork.model_validate_json(read_file(path))
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise UserError(
            f"{path}: is damaged: {reason}; delete it, and run `prunebench prune --compact` again"
        ) from error
