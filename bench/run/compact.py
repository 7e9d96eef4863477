"""Write the network of a cell without its pruned channels, as a `torch.export` file that loads without its class."""

from __future__ import annotations

import hashlib
import io
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from bench.core.errors import UserError
from bench.core.provenance import processor_name
from bench.data.dataset import ImageSet
from bench.models.macs import count_macs
from bench.models.removal import Removal, remove_channels
from bench.models.view import normalise
from bench.run.export import finished_row, repaired_network, row_facts
from bench.run.open_study import OpenStudy
from bench.store.compact import CompactNetwork, Latency, Layer, read_compact, write_compact
from bench.store.files import read_file, write_file
from bench.study.spec import Normalisation

#: Entry of the file with the facts about the network, JSON.
FACTS = "prunebench.json"
#: Largest difference of two logits, as a fraction of the largest logit.
TOLERANCE = 1e-5
#: Batch sizes at which outputs are compared, and at which the latency is measured.
COMPARED_BATCHES = (1, 3, 128)
TIMED_BATCHES = (1, 128)
#: Batches of each size on which outputs are compared.
COMPARED_PARTS = 2
#: Smallest scale of logits, against a division by zero.
SMALLEST = 1e-30
#: Timed passes of each network: at least so many, and more until so many seconds have passed.
LEAST_ROUNDS = 5
MOST_ROUNDS = 50
SECONDS = 2.0
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Evaluation:
    """Outcome of evaluating a compact file on the test split, in float32.

    Attributes
    ----------
    cell : str
        Id of the cell.
    file, row : float
        Accuracy of the file and of the row, as fractions.
    differing, images : int
        Test images that only one of file and row classifies correctly, and all of them.
    """

    cell: str
    file: float
    row: float
    differing: int
    images: int

    def __str__(self) -> str:
        return f"cell {self.cell[:12]}: accuracy {100 * self.file:.2f} % in float32, the row has {100 * self.row:.2f} %"


def compact_cell(opened: OpenStudy, name: str, output: Path) -> tuple[CompactNetwork, Evaluation]:
    """Save the network of one cell without the channels that contribute nothing, and measure it.

    The file is written only if its outputs equal those of the masked network. The measurements are recorded in the
    study folder, where the report finds them.

    Parameters
    ----------
    opened : OpenStudy
        The study.
    name : str
        Beginning of the id of the cell, or its position in the plan.
    output : Path
        The ``.pt2`` file to write; docs/COMPACT.md describes its metadata.

    Raises
    ------
    UserError
        If the cell is dense or not done, if nothing can be removed, or if the outputs differ.
    """
    if output.suffix != ".pt2":
        raise UserError(f"{output}: name a .pt2 file; --compact writes the format of torch.export")
    cell = opened.find_cell(name)
    short = cell.id[:12]
    if cell.is_dense:
        raise UserError(f"cell {short} is the dense network, nothing is pruned; choose another cell")
    row = finished_row(opened, cell)
    model, normalisation = repaired_network(opened, row)
    model = model.to(CPU, torch.float32).to(memory_format=torch.contiguous_format).eval()
    test = row.dataset.test
    images = normalise(test.images[: COMPARED_PARTS * max(COMPARED_BATCHES)], normalisation, CPU)
    removal = _removal(model, images[:2], row.model.title)
    if not removal.removed:
        raise UserError(
            f"cell {short} (granularity {cell.granularity}): no channel is removable, so a compact network would be as "
            f"large as the masked one; `prunebench prune STUDY CELL -o FILE.safetensors` writes the masked network"
        )
    facts = {**row_facts(row, normalisation, opened.settings), "layers": [vars(layer) for layer in removal.layers]}
    content = _saved(removal.compact, facts)
    compact, _ = _load(content)
    difference = largest_difference(model, compact, images)
    if not difference <= TOLERANCE:
        raise UserError(
            f"cell {short}: outputs of the compact network differ from the masked network's by {difference:.1e} of the "
            f"largest logit, more than {TOLERANCE:g}; nothing was written; please report this network"
        )
    evaluation = _evaluate(compact, row.values, test, normalisation, cell.id)
    if cell.precision == "float32" and evaluation.differing > _rounding(evaluation.images):
        raise UserError(
            f"{evaluation}; {evaluation.differing} of {evaluation.images} test images differ: the settings or library "
            f"versions are not those of the run; nothing was written"
        )
    masked = removal.masked.module()
    network = CompactNetwork(
        cell=cell.id, file=output.name, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content),
        dense_parameters=_parameters(model), parameters=_parameters(compact),
        dense_macs=count_macs(model, images[:2]).total, macs=count_macs(_plain(compact), images[:2]).total,
        layers=tuple(Layer(**vars(layer)) for layer in removal.layers),
        latency=tuple(_latency(masked, compact, images, batch) for batch in TIMED_BATCHES),
        threads=torch.get_num_threads(), device=processor_name(), torch=torch.__version__,
        largest_difference=difference, accuracy=evaluation.file,
    )  # fmt: skip
    write_file(output, content)
    write_compact(opened.study.folder, network)
    return network, evaluation


def verify_compact(opened: OpenStudy, place: Path, name: str | None = None) -> Evaluation:
    """Evaluate a compact file on the test split, with its own normalisation, in float32.

    Loading a `torch.export` file can run code that is in it. So a file is loaded only if the study folder has its hash.

    Raises
    ------
    UserError
        If the study did not write the file, if it belongs to another cell, or if its accuracy is not that of the row.
    """
    content = read_file(place)
    sha256 = hashlib.sha256(content).hexdigest()
    known = next((one for one in read_compact(opened.study.folder) if one.sha256 == sha256), None)
    if known is None:
        raise UserError(
            f"{place}: {opened.study.folder}/compact has no record of this content; loading such a file can run code "
            f"in it, so only files as `prunebench prune --compact` wrote them last are verified"
        )
    cell = next((cell for cell in opened.plan.cells() if cell.id == known.cell), None)
    if cell is None:
        raise UserError(f"{place}: its cell is not in the plan of {opened.study.folder}; give the study it is from")
    if name is not None and opened.find_cell(name).id != cell.id:
        raise UserError(f"{place}: holds cell {cell.id[:12]}, not {opened.find_cell(name).id[:12]}")
    row = finished_row(opened, cell)
    network, about = _load(content)
    normalisation = Normalisation(mean=about["mean"], std=about["std"])
    found = _evaluate(network, row.values, row.dataset.test, normalisation, cell.id)
    if abs(found.file - known.accuracy) * found.images > _rounding(found.images):
        before = f"{100 * known.accuracy:.2f} %"
        raise UserError(f"{place}: {found}; the file had {before} when it was written; write it again")
    return found


def describe_compact(output: Path, network: CompactNetwork, evaluation: Evaluation) -> str:
    """Return what was written, and how much smaller and faster it is."""
    lines = [
        f"wrote {output}: {evaluation}",
        f"outputs equal those of the masked network: the largest difference is {network.largest_difference:.1e} of the "
        f"largest logit",
        _line("", "dense" , "compact", "ratio"),
        _line("parameters", f"{network.dense_parameters:,}", f"{network.parameters:,}",
              f"{network.dense_parameters / network.parameters:.2f}"),
        _line("MACs", f"{network.dense_macs:,.0f}", f"{network.macs:,.0f}", f"{network.dense_macs / network.macs:.2f}"),
        _line("", "masked", "compact", "ratio"),
        *(
            _line(f"latency, batch {one.batch} (ms)", f"{one.masked:.2f}", f"{one.compact:.2f}",
                  f"{one.masked / one.compact:.2f}")
            for one in network.latency
        ),
        f"latency: median, {network.threads} thread{'s' * (network.threads != 1)} of {network.device}",
    ]  # fmt: skip
    if any(layer.zero for layer in network.layers):
        listed = ", ".join(f"{layer.layer} ({layer.zero} of {layer.after})" for layer in network.layers if layer.zero)
        lines.append(
            f"channels whose weights are all zero, but which stay, because they are added to channels that stay or "
            f"hold a constant that is read: {listed}"
        )
    return "\n".join(lines)


def _line(title: str, *entries: str) -> str:
    return f"{title:24}" + "".join(f"{entry:>16}" for entry in entries)


def largest_difference(masked: nn.Module, compact: nn.Module, images: Tensor) -> float:
    """Return the largest difference of the logits at several batch sizes, as a fraction of the largest logit."""
    found = []
    with torch.inference_mode():
        for batch in COMPARED_BATCHES:
            for part in torch.split(images, batch)[:COMPARED_PARTS]:
                expected = masked(part)
                found.append((compact(part) - expected).abs().max() / expected.abs().max().clamp_min(SMALLEST))
    return float(torch.stack(found).max())


def median_latencies(
    networks: Sequence[nn.Module], images: Tensor, seconds: float = SECONDS, rounds: int = LEAST_ROUNDS,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:  # fmt: skip
    """Return the median duration of a forward pass of each network, in milliseconds; the networks alternate.

    Parameters
    ----------
    networks : sequence of nn.Module
        Each maps `images` to logits.
    images : Tensor
        One batch.
    seconds : float
        Passes are repeated until so many seconds have passed, but at least `rounds` times.
    rounds : int
        Least number of timed passes of each network.
    clock : callable
        Returns seconds.
    """
    durations: list[list[float]] = [[] for _ in networks]
    with torch.inference_mode():
        for network in networks:
            network(images)
        begun = clock()
        while len(durations[0]) < rounds or (clock() - begun < seconds and len(durations[0]) < MOST_ROUNDS):
            for network, own in zip(networks, durations, strict=True):
                start = clock()
                network(images)
                own.append(clock() - start)
    return [1000 * statistics.median(own) for own in durations]


def _latency(masked: nn.Module, compact: nn.Module, images: Tensor, batch: int) -> Latency:
    copies = -(-batch // len(images))
    before, after = median_latencies((masked, compact), images.repeat(copies, 1, 1, 1)[:batch])
    return Latency(batch=batch, masked=before, compact=after)


def _removal(model: nn.Module, example: Tensor, title: str) -> Removal:
    try:
        return remove_channels(model, example)
    except Exception as error:  # torch.export has many errors of its own
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"model {title!r}: torch.export cannot export it for every batch size: {type(error).__name__}: {reason}"
        ) from error


def _saved(program: ExportedProgram, facts: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    torch.export.save(program, stream, extra_files={FACTS: json.dumps(facts)})
    return stream.getvalue()


def _load(content: bytes) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network and the facts of a file that the study has written."""
    extra = {FACTS: ""}
    program = torch.export.load(io.BytesIO(content), extra_files=extra)
    return program.module(), json.loads(extra[FACTS])


def _rounding(images: int) -> int:
    """Return how many test images may be classified differently because of rounding."""
    return 1 + images // 1000


def _plain(module: nn.Module) -> nn.Module:
    """Return an exported network as a module whose mode can be changed."""
    assert isinstance(module, fx.GraphModule)
    return fx.GraphModule(module, module.graph)


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _evaluate(network: nn.Module, values: Any, test: ImageSet, normalisation: Normalisation, cell: str) -> Evaluation:
    with torch.inference_mode():
        correct = torch.cat([
            network(normalise(images, normalisation, CPU)).argmax(dim=1) == labels
            for images, labels in zip(torch.split(test.images, 128), torch.split(test.labels, 128), strict=True)
        ])  # fmt: skip
    stored = torch.from_numpy(np.unpackbits(np.frombuffer(values["correct"], np.uint8), count=len(correct)))
    return Evaluation(
        cell, float(correct.double().mean()), values["accuracy"], int((correct != stored).sum()), len(correct)
    )
