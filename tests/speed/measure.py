"""Time the engine, bare forward passes and loops as users write them, in turn, on one grid."""

from __future__ import annotations

import copy
import inspect
import json
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from bench.core.errors import UserError, suggest
from bench.core.provenance import provenance
from bench.core.types import Cell, Outcome
from bench.data.dataset import Dataset, calibration_draw
from bench.data.load import load_dataset
from bench.measure.evaluator import prepare_images, prepare_network
from bench.measure.pipeline import Pipeline, row_values
from bench.models.dense import DenseModel, obtain_dense
from bench.models.view import Calibration, normalise
from bench.run.open_study import OpenStudy, open_study
from bench.run.row_writer import RowWriter
from bench.run.settings import apply_settings, synchronise
from bench.store.database import open_store
from bench.store.files import Artifacts
from tests.speed.loops import (
    LoopCell,
    LoopInputs,
    LoopProcess,
    forward_seconds,
    loop_accuracy,
    process_accuracy,
    write_inputs,
)


@dataclass(frozen=True)
class Grid:
    """A network and the cells that are timed on it.

    Attributes
    ----------
    network : Mapping
        The keys `data` and `models` of a study file.
    candidates : int
        Evaluations of the fusion search.
    scorers : tuple of str
        Scorers of the grid.
    sparsities : tuple of float
        Sparsities of the grid; the search is timed at the last but one.
    processes : int
        Cells that are timed with one process each; the other cells are assumed to take their median.
    most : mapping of str to float
        Limits of this network's goals: F1 and F4 as ratios, F1 also as ``F1 cuda``, F1b in milliseconds.
    """

    network: Mapping[str, Any]
    candidates: int
    scorers: tuple[str, ...] = ("magnitude", "square_magnitude", "exp_magnitude", "random", "taylor", "snip")
    sparsities: tuple[float, ...] = tuple(s / 10 for s in range(1, 10))
    processes: int = 3
    most: Mapping[str, float] = field(default_factory=lambda: {"F1": 1.10, "F1 cuda": 1.10, "F1b": 10.0, "F4": 1.10})


#: The digits use the default number of candidates of a study; CIFAR-10 uses fewer to finish within minutes.
GRIDS = {
    "digits": Grid(
        {"data": [{"name": "digits"}], "models": [{"name": "digits_cnn", "recipe": {"epochs": 5}}]}, 600,
        most={"F1": 1.5, "F1 cuda": 1.5, "F1b": 1.5, "F4": 1.5},
    ),
    "cifar10": Grid(
        {
            "data": [{"name": "cifar10", "path": "${PRUNEBENCH_DATA}/cifar10"}],
            "models": [{
                "name": "cifar_resnet20",
                "checkpoint": "${PRUNEBENCH_DATA}/weights/resnet20-cifar10-akamaster.safetensors",
                "normalisation": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
            }],
        },
        30,
        most={"F1": 1.10, "F1 cuda": 1.3, "F1b": 10.0, "F4": 1.10},
    ),
}  # fmt: skip
#: The scorer whose fusion weights are searched.
FUSED = "nl_sin"
#: The batch of the loops' DataLoader.
LOOP_BATCH = 128
#: Limits of the goals of every network: the smallest or largest accepted median ratio.
F2_LOOP, F2_PROCESSES, F4_MOST_GPU = 3.0, 10.0, 0.20


def measure(
    on: str, device: str = "auto", repetitions: int = 3, images: int | None = None, grid: Grid | None = None
) -> dict[str, Any]:
    """Measure the goals F1 to F5.

    Parameters
    ----------
    on : str
        Name of the network: a key of `GRIDS`, unless `grid` is given.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    repetitions : int
        Number of times that everything is timed, in turn; ratios are computed within a repetition.
    images : int, optional
        Largest number of test images.
    grid : Grid, optional
        What is timed; the default is ``GRIDS[on]``.

    Returns
    -------
    dict
        Plain JSON values: ``machine``, ``settings``, ``grid``, ``counters``, ``seconds`` (one entry per repetition),
        ``goals``, ``agreement``, ``memory_mib``.

    Raises
    ------
    UserError
        If the network is unknown or its data are not available.
    """
    with tempfile.TemporaryDirectory(prefix="prunebench-speed-") as name:
        return Speed(on, grid_of(on, grid), Path(name), device, images).measure(repetitions)


def grid_of(on: str, grid: Grid | None = None) -> Grid:
    """Return `grid`, or else the grid of a network; raise `UserError` if there is none of that name."""
    if grid is None and on not in GRIDS:
        raise UserError(f"--on {on!r}: {suggest(on, GRIDS)}")
    return grid or GRIDS[on]


def _study(on: str, grid: Grid) -> dict[str, Any]:
    return {
        "name": f"speed on {on}", **grid.network, "train_seeds": 1, "granularities": ["weight"],
        "allocations": ["global"], "sparsities": list(grid.sparsities), "scorers": [*grid.scorers, FUSED],
        "searches": [{"name": "random_search", "evaluations": grid.candidates}],
        "corrections": ["none", "layerwise", "asr"],
        "execution": {"precision": "auto"},
        "exclude": [
            {"name": "corrections for magnitude", "where": {"correction": {"not": "none"},
                                                            "scorer": {"not": "magnitude"}}},
            {"name": "one search", "where": {"scorer": FUSED, "sparsity": {"not": grid.sparsities[-2]}}},
        ],
    }  # fmt: skip


class Speed:
    """A study in a folder and its dense model, prepared before the clock starts."""

    def __init__(self, on: str, grid: Grid, folder: Path, device: str, images: int | None) -> None:
        (folder / "study.yaml").write_text(json.dumps(_study(on, grid)), encoding="utf-8")
        self.on, self.grid, self.folder = on, grid, folder
        self.session: OpenStudy = open_study(folder, device=device)
        self.settings = self.session.settings
        apply_settings(self.settings)
        self.device = torch.device(self.settings.device)
        self.group = self.session.plan.groups[0]
        self.spec = self.session.study.file.models[0]
        dataset = load_dataset(self.session.study.file.data[0], folder)
        self.dataset: Dataset = replace(dataset, test=dataset.test.subset(torch.arange(len(dataset.test))[:images]))
        self.dense: DenseModel = obtain_dense(
            self.spec, self.dataset, self.group.train_seed, self.session.registry, folder, Artifacts.of(folder),
            self.device, memory_format=self.settings.memory_format,
        )  # fmt: skip
        self.model = copy.deepcopy(self.dense.model)  # a pipeline changes the memory format of its own
        self.sweep = [c for c in self.group.cells if c.search.name == c.correction.name == "none"]
        self.searched = [c for c in self.group.cells if c.search.name != "none"]
        self.corrected = [c for c in self.group.cells if c.correction.name != "none"]
        self._stores = 0

    def measure(self, repetitions: int) -> dict[str, Any]:
        """Time everything in turn, after one run that warms up and yields the rows."""
        _, rows, counters = self.run(self.sweep)
        _, _, corrected = self.run(self.corrected)
        loop_cells = [self._loop_cell(cell, rows[cell.id]) for cell in self.sweep]
        inputs = self._loop_inputs(rows)
        states = self._states(rows)
        network = prepare_network(self.model, self.settings)
        test, search = (
            torch.split(prepare_images(part.images, self.dense.normalisation, self.settings), self.settings.batch)
            for part in (self.dataset.test, self.dataset.search)
        )
        alone = range(1, len(loop_cells), max(1, len(loop_cells) // self.grid.processes))[: self.grid.processes]
        process = self._loop_process(inputs)
        seconds: dict[str, list[float]] = {
            name: []
            for name in ("forward", "loop", "process", "imports", "engine", "known", "scores", "search", "candidates")
        }
        for _ in range(repetitions):
            forward = forward_seconds(network, states, test)
            loop, looped = self._loop(loop_cells, inputs)
            engine, rows, counters = self.run(self.sweep)
            known, _, _ = self.run(self.sweep, rows)
            scores = self._score_seconds()
            found, _, searched = self.run(self.searched)
            one = forward_seconds(network, states[:1] * 10, search) / 10
            apart = [process_accuracy(process, loop_cells[number]) for number in alone]
            candidates = searched["search_evaluations"] * one + searched["evaluations"] * forward / len(states)
            process_seconds, imports = (median(each[part] for each in apart) for part in (1, 2))
            values = forward, loop, process_seconds, imports, engine, known, scores, found
            for name, value in zip(seconds, (*values, candidates), strict=True):
                seconds[name].append(value)
        return {
            "on": self.on, "model": self.spec.title, "repetitions": repetitions,
            "machine": {**provenance(self.settings.device_class), "load": round(os.getloadavg()[0], 1)},
            "settings": asdict(self.settings),
            "grid": {"cells": len(self.sweep), "unique": len(states), "scorers": list(self.grid.scorers),
                     "sparsities": list(self.grid.sparsities), "test_images": len(self.dataset.test),
                     "search_images": len(self.dataset.search), "processes": len(alone)},
            "counters": {"sweep": dict(counters), "corrected": dict(corrected), "search": dict(searched)},
            "seconds": seconds,
            "goals": self._goals(seconds, len(states), counters, corrected),
            "agreement": self._agreement(rows, looped, {number: a for number, (a, _, _) in zip(alone, apart,
                                                                                            strict=True)}),
            "memory_mib": self._memory(),
        }  # fmt: skip

    # ---------------------------------------------------------------- the engine

    def run(
        self, cells: Sequence[Cell], known: Mapping[str, Mapping[str, Any]] | None = None
    ) -> tuple[float, dict[str, Mapping[str, Any]], Counter[str]]:
        """Compute cells and write their rows as a run does, without repeating the evaluations of the `known` rows."""
        self._stores += 1
        folder = self.folder / str(self._stores)
        folder.mkdir()
        counters: Counter[str] = Counter()
        rows = {}
        with closing(open_store(folder, create=True)) as store:
            start = time.perf_counter()
            pipeline, writer = self._pipeline(counters), RowWriter(store)
            pipeline.remember((known or {}).values())
            upcoming: list[Cell | None] = [*cells[1:], None]
            for outcome, after in zip(pipeline.run({cell.id for cell in cells}), upcoming, strict=True):
                if outcome.state != "done":
                    raise UserError(f"speed: {outcome.cell.scorer.label} {outcome.state}: {outcome.reason}")
                writer.add(row_values(outcome), row_values(Outcome(after, "running")) if after else None)
                rows[outcome.cell.id] = outcome.values
            writer.flush()
            return time.perf_counter() - start, rows, counters

    def _score_seconds(self) -> float:
        """Time the scorers of the sweep alone, each called once as the engine does; on a GPU this is device work."""
        shared = self._pipeline(Counter()).shared
        cells = {cell.scorer.name: cell for cell in self.sweep if not cell.is_dense}
        view, calibration = shared.view("weight"), shared.calibration(self.group.cells[0].calibration)
        start = time.perf_counter()
        for cell in cells.values():
            shared.call("scorer", cell.scorer, view, calibration, torch.Generator().manual_seed(0))
            synchronise(self.device)
        return time.perf_counter() - start

    def _pipeline(self, counters: Counter[str]) -> Pipeline:
        return Pipeline(
            self.group, self.dense, self.dataset, self.spec.exclude, self.session.registry, self.settings, counters
        )

    def _states(self, rows: Mapping[str, Mapping[str, Any]]) -> list[dict[str, torch.Tensor]]:
        """Return the weights of every evaluated model: one per mask set."""
        pipeline = self._pipeline(Counter())
        firsts = {rows[cell.id]["evaluation"]: cell for cell in reversed(self.sweep)}
        return [
            {name: tensor.clone() for name, tensor in pipeline.repaired_model(cell).state_dict().items()}
            for cell in reversed(firsts.values())
        ]

    # ---------------------------------------------------------------- the loops

    def _loop_cell(self, cell: Cell, row: Mapping[str, Any]) -> LoopCell:
        if cell.is_dense:
            return LoopCell("", 0.0, 0)
        assert cell.sparsity is not None
        plugin = self.session.registry.get("scorer", cell.scorer.name)
        scorer = "" if plugin.name == "magnitude" else _path(plugin.function)
        return LoopCell(scorer, cell.sparsity, json.loads(row["seeds"])["scorer"])

    def _loop_inputs(self, rows: Mapping[str, Mapping[str, Any]]) -> LoopInputs:
        draw = self.group.cells[0].calibration
        seed = json.loads(rows[self.sweep[0].id]["seeds"])["calibration"]
        calibration = calibration_draw(self.dataset, seed, draw.images)
        images, others = (
            normalise(part.images, self.dense.normalisation, torch.device("cpu"))
            for part in (self.dataset.test, calibration)
        )
        units = self._pipeline(Counter()).shared.units("weight")
        return LoopInputs(
            images, self.dataset.test.labels, Calibration(others, calibration.labels, draw.batch), units, LOOP_BATCH
        )

    def _loop(self, cells: Sequence[LoopCell], inputs: LoopInputs) -> tuple[float, list[float]]:
        start = time.perf_counter()
        accuracies = [loop_accuracy(self.model, cell, inputs, self.device) for cell in cells]
        return time.perf_counter() - start, accuracies

    def _loop_process(self, inputs: LoopInputs) -> LoopProcess:
        file = self.folder / "loop.safetensors"
        write_inputs(file, self.model.state_dict(), inputs)
        constructor = self.session.registry.get("model", self.spec.name).function
        offered = {"num_classes": self.dataset.num_classes, "in_chans": self.dataset.in_chans}
        arguments = {name: offered[name] for name in inspect.signature(constructor).parameters if name in offered}
        return LoopProcess(
            str(file), _path(constructor), arguments, self.spec.exclude, inputs.batch, inputs.calibration.batch,
            self.settings.threads, self.settings.device,
        )  # fmt: skip

    # ---------------------------------------------------------------- results

    def _goals(
        self, seconds: Mapping[str, list[float]], unique: int, counters: Counter[str], corrected: Counter[str]
    ) -> list[dict[str, Any]]:
        cells, scorers = len(self.sweep), len(self.grid.scorers)
        processes = [each * cells for each in seconds["process"]]
        gpu = self.device.type == "cuda"
        host = [
            1e3 * (known - scores) / cells for known, scores in zip(seconds["known"], seconds["scores"], strict=True)
        ]
        return [
            _ratio("F1", "engine / bare forward passes of the unique masks", seconds["engine"], seconds["forward"],
                   most=self.grid.most["F1 cuda" if gpu else "F1"]),
            _goal("F1b", "ms a cell with every evaluation known, less the passes of the scorers", host,
                  most=self.grid.most["F1b"]),
            _ratio("F2", "loop in one process / engine", seconds["loop"], seconds["engine"], least=F2_LOOP),
            _ratio("F2", "loop with a process per cell / engine", processes, seconds["engine"], least=F2_PROCESSES),
            _counted("F3", "score passes, one per scorer", counters["score_passes"], scorers),
            _counted("F3", "sorts, at most one per scorer and magnitude's own order", counters["sorts"], scorers + 1),
            _counted("F3", "evaluations, one per unique mask", counters["evaluations"], unique),
            _ratio("F4", "fusion search / bare forward passes of its candidates", seconds["search"],
                   seconds["candidates"], most=F4_MOST_GPU if gpu else self.grid.most["F4"]),
            _counted("F5", f"passes for dense statistics, {len(self.corrected)} corrected cells",
                     corrected["dense_statistics"], 1),
        ]  # fmt: skip

    def _agreement(
        self, rows: Mapping[str, Mapping[str, Any]], looped: Sequence[float], apart: Mapping[int, float]
    ) -> dict[str, Any]:
        """Compare the accuracies of the loops and the engine, cell by cell, in points."""
        ours = [float(rows[cell.id]["accuracy"]) for cell in self.sweep]
        gaps = [100 * abs(a - b) for a, b in zip(ours, looped, strict=True)]
        return {
            "cells": len(gaps), "equal": sum(gap == 0 for gap in gaps), "largest_points": max(gaps),
            "image_points": 100 / len(self.dataset.test),
            "processes_largest_points": max(100 * abs(looped[number] - value) for number, value in apart.items()),
        }  # fmt: skip

    def _memory(self) -> dict[str, float]:
        kibibytes = 1 if sys.platform != "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / kibibytes / 1024
        if self.device.type == "cpu":
            return {"process": round(peak)}
        return {"process": round(peak), "gpu": round(torch.cuda.max_memory_allocated() / 2**20)}


def _path(function: Any) -> str:
    return f"{function.__module__}:{function.__qualname__}"


def _ratio(
    goal: str, what: str, above: Sequence[float], below: Sequence[float],
    most: float | None = None, least: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Compare the median of a ratio over the repetitions with its limit."""
    return _goal(goal, what, [a / b for a, b in zip(above, below, strict=True)], most, least)


def _goal(
    goal: str, what: str, values: Sequence[float], most: float | None = None, least: float | None = None
) -> dict[str, Any]:
    middle = median(values)
    met = middle <= most if most is not None else middle >= (least or 0)
    return {
        "goal": goal, "what": what, "most": most, "least": least,
        "median": middle, "low": min(values), "high": max(values), "met": met,
    }  # fmt: skip


def _counted(goal: str, what: str, found: int, most: int) -> dict[str, Any]:
    return _goal(goal, what, [found], most)
