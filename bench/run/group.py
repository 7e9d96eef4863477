"""The work of one group, from its dense model to its last check, as events; the store is not known here."""

from __future__ import annotations

import json
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
import torch

from bench.core.errors import UserError
from bench.core.freed_memory import return_freed_memory
from bench.core.identity import canonical_json
from bench.core.registry import Registry
from bench.core.types import PLUGIN_AXES, Check, Group, Outcome, Settings
from bench.data.dataset import Dataset
from bench.data.load import load_dataset
from bench.measure.pipeline import Pipeline
from bench.models.dense import DenseModel, model_identity, obtain_dense
from bench.models.given import normalisation_source
from bench.run.progress import INTERVAL
from bench.run.settings import apply_settings, refuse_other_device
from bench.store.files import Artifacts
from bench.study.plan import group_id
from bench.study.spec import DataSpec, ModelSpec


@dataclass(frozen=True)
class GroupTask:
    """All that the work of one group needs to know; it can be pickled.

    Attributes
    ----------
    title : str
        The group, for people.
    group : Group
        Its cells in plan order.
    groups : int
        Number of groups of the study; the least number of checks is spread over them.
    data, model
        The group's entries of study.yaml.
    settings : Settings
        Execution settings of the study.
    folder : Path
        Study folder, where relative paths start.
    artifacts : Artifacts
        Where trained dense models are kept.
    cache : Artifacts or None
        Dense models that studies share.
    cell_timeout : float or None
        Seconds after which a cell fails.
    todo : frozenset of str
        Ids of the cells to compute.
    done : tuple of mapping
        The group's done rows; what they hold is not computed again.
    completes : bool
        Whether every cell has a row once `todo` is computed: then checks and alignment are made.
    checked : frozenset of (cell, kind)
        Checks that an earlier run has made.
    """

    title: str
    group: Group
    groups: int
    data: DataSpec
    model: ModelSpec
    settings: Settings
    folder: Path
    artifacts: Artifacts
    cache: Artifacts | None
    cell_timeout: float | None
    todo: frozenset[str]
    done: tuple[Mapping[str, Any], ...]
    completes: bool
    checked: frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Stage:
    """What is being worked on, for people."""

    text: str


@dataclass(frozen=True)
class Warned:
    """A warning about the group's results, for people."""

    text: str


@dataclass(frozen=True)
class DenseFacts:
    """The columns of `schema.DENSE`: the dense model is there, the first cell is begun."""

    values: Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """What became of one cell, and the work counted since the last row; the next cell is begun."""

    outcome: Outcome
    counted: Mapping[str, int]


@dataclass(frozen=True)
class Tables:
    """The columns of `schema.ALIGNMENT` and `schema.UNITS`, once all checks are made."""

    alignment: pd.DataFrame
    units: pd.DataFrame


@dataclass(frozen=True)
class ChecksFailed:
    """The cells are there, but a check or the alignment could not be made: another run tries again."""

    reason: str


@dataclass(frozen=True)
class GroupFailed:
    """None of the cells that are left can be computed."""

    reason: str
    traceback: str | None


@dataclass(frozen=True)
class Ended:
    """The last event of a group, with the work counted since the last row."""

    counted: Mapping[str, int]


@dataclass(frozen=True)
class Lost:
    """The process that worked on the group is gone, and with it the cell in work."""

    reason: str


Event: TypeAlias = Stage | Warned | DenseFacts | Row | Check | Tables | ChecksFailed | GroupFailed | Ended | Lost


class Workbench:
    """What a process keeps from group to group: its plug-ins and the latest data set.

    Parameters
    ----------
    registry : Registry
        Plug-ins of this process.
    tell : callable, optional
        Called with a line for people now and then while a model is trained, between two events.
    """

    def __init__(self, registry: Registry, tell: Callable[[str], object] | None = None) -> None:
        self.registry, self._tell = registry, tell
        self._datasets: dict[str, Dataset] = {}

    def dataset(self, spec: DataSpec, folder: Path) -> Dataset:
        """Load a data set, unless it is the latest one; one at a time is held."""
        if spec.title not in self._datasets:
            self._datasets = {}
            self._datasets = {spec.title: load_dataset(spec, folder)}
            return_freed_memory()
        return self._datasets[spec.title]

    def dense(self, task: GroupTask, dataset: Dataset) -> DenseModel:
        """Return the group's dense model, training it where it is neither given nor kept."""
        shown = time.monotonic()

        def trained(epoch: int, epochs: int, loss: float, lr: float) -> None:
            nonlocal shown
            if self._tell is not None and (epoch in (1, epochs) or time.monotonic() - shown >= INTERVAL):
                shown = time.monotonic()
                name = f"training {task.group.model}, seed {task.group.train_seed}"
                self._tell(f"{name}: epoch {epoch}/{epochs}, loss {loss:.3f}, learning rate {lr:.2g}")

        dense = obtain_dense(
            task.model, dataset, task.group.train_seed, self.registry,
            folder=task.folder, artifacts=task.artifacts, device=torch.device(task.settings.device),
            cache=task.cache, progress=trained, memory_format=task.settings.memory_format,
        )  # fmt: skip
        return_freed_memory()
        return dense


def work_group(task: GroupTask, bench: Workbench) -> Iterator[Event]:
    """Compute what is missing of a group.

    Parameters
    ----------
    task : GroupTask
        What is there and what is missing.
    bench : Workbench
        This process's.

    Yields
    ------
    Event
        In this order: the dense model, one row per cell of `task.todo` in plan order, checks, tables (or that those
        failed), the end.

    Raises
    ------
    UserError
        If this machine's hardware, data or plug-ins are not those of the plan, or the dense model is not the one of
        the done rows.
    """
    group, counters = task.group, Counter[str]()
    yield Stage(task.title)
    refuse_other_device(task.settings)
    apply_settings(task.settings)
    _refuse_other_plugins(group, bench.registry)
    try:
        dataset = bench.dataset(task.data, task.folder)
        given = task.model.checkpoint is not None
        if not given:  # before it is trained
            _refuse_other_inputs(task, dataset, bench.registry)
        dense = bench.dense(task, dataset)
        if given:  # by the bytes that were loaded: a large file is fetched once
            _refuse_other_inputs(task, dataset, bench.registry, dense.file)
        _refuse_other_model(task, dense)
        pipeline = Pipeline(
            group, dense, dataset, task.model.exclude, bench.registry, task.settings, counters, task.cell_timeout
        )
        facts = _dense_facts(task, dataset, dense, pipeline)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # a dense model that cannot be made fails its group alone
        reason = f"dense model: {type(error).__name__}: {' '.join(str(error).split())}"[:500]
        yield GroupFailed(reason, traceback.format_exc())
        yield Ended(_taken(counters))
        return
    yield DenseFacts(facts)
    if dense.warning is not None:
        seed = "" if group.train_seed is None else f", seed {group.train_seed}"
        yield Warned(f"{group.dataset}, {group.model}{seed}: {dense.warning}")
    pipeline.remember(task.done)
    rows = {row["cell"]: row for row in task.done}
    for outcome in pipeline.run(set(task.todo)):
        if outcome.state == "done":
            rows[outcome.cell.id] = outcome.values
        yield Row(outcome, _taken(counters))
    if task.completes:
        yield Stage(f"evaluating a sample again: {group.dataset}, {group.model}")
        try:
            yield from pipeline.checks(rows, task.groups, set(task.checked))
            yield Tables(*pipeline.alignment(rows))
        except (Exception, SystemExit) as error:  # as one cell's failure: the other groups go on
            yield ChecksFailed(f"{type(error).__name__}: {' '.join(str(error).split())}"[:500])
    yield Ended(_taken(counters))


def _taken(counters: Counter[str]) -> dict[str, int]:
    taken = dict(counters)
    counters.clear()
    return taken


def _dense_facts(task: GroupTask, dataset: Dataset, dense: DenseModel, pipeline: Pipeline) -> dict[str, Any]:
    group, recipe = task.group, dict(dense.recipe)
    if task.model.checkpoint is not None:
        recipe["normalisation"] = {**dense.normalisation.model_dump(), "source": normalisation_source(task.model)}
    return {
        "group": group.id, "dataset": group.dataset, "model": group.model, "train_seed": group.train_seed,
        "checkpoint": dense.checkpoint, "dataset_hash": dataset.hash, "recipe": canonical_json(recipe),
        "history": canonical_json(dense.history), "parameters": sum(p.numel() for p in dense.model.parameters()),
        "prunable": pipeline.units("weight").total, "network": pipeline.network().to_json(),
        "train_overlap": dense.train_overlap,
        "uncovered_layers": json.dumps(pipeline.uncovered()), "seconds": dense.seconds,
    }  # fmt: skip


def _refuse_other_plugins(group: Group, registry: Registry) -> None:
    """Refuse a process whose plug-ins are not of the version that the cells' ids name."""
    for axis in PLUGIN_AXES:
        cells = (getattr(cell, axis.name) for cell in group.cells if not cell.is_dense)
        for name, version in {choice.name: choice.version for choice in cells}.items():
            if registry.get(axis.name, name).version != version:
                raise UserError(
                    f"{axis.name} {name!r}: has another version than when the run began; use the same code everywhere, "
                    f"and run again if you have edited it"
                )


def _refuse_other_inputs(task: GroupTask, dataset: Dataset, registry: Registry, file: str | None = None) -> None:
    """Refuse a data set, recipe or given checkpoint (by its content hash) that is not the one of the group's id."""
    group = task.group
    identity = model_identity(
        task.model, group.train_seed, dataset.hash, registry, task.folder, digest_of=lambda _place: str(file),
        memory_format=task.settings.memory_format,
    )  # fmt: skip
    if group_id(dataset.hash, identity, group.train_seed) != group.id:
        raise UserError(
            f"{group.dataset}, {group.model}, seed {group.train_seed}: the data set, the model's code or its "
            f"checkpoint is not what it was when the run began; use the same everywhere, run again if it has changed"
        )


def _refuse_other_model(task: GroupTask, dense: DenseModel) -> None:
    """Refuse to add rows of another dense model to a group, as when a lost one was trained otherwise."""
    group = task.group
    others = {row["checkpoint"] for row in task.done} - {dense.checkpoint}
    if others:
        raise UserError(
            f"{group.dataset}, {group.model}, seed {group.train_seed}: the dense model has the hash "
            f"{dense.checkpoint[:12]}, the rows already there were computed with {min(others)[:12]}: restore that "
            f"model in {task.artifacts.where('dense')} (or empty the cache), or make a new study folder"
        )
