"""The work of one group, from its dense model to its last check, as a stream of events.

An engine calls `compute_group` with a `GroupTask` in any process; the driver writes the events. Nothing here reads or
writes the store.
"""

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
from bench.run.settings import apply_settings
from bench.store.files import Artifacts
from bench.study.plan import group_id
from bench.study.spec import DataSpec, ModelSpec


@dataclass(frozen=True)
class GroupTask:
    """Everything that the computation of one group needs; it can be pickled.

    Attributes
    ----------
    title : str
        Name of the group in messages.
    group : Group
        Its cells in plan order.
    groups : int
        Number of groups of the study, over which the least number of checks is spread.
    data : DataSpec
        The group's data set in study.yaml.
    model : ModelSpec
        The group's model in study.yaml.
    settings : Settings
        Execution settings of the study.
    folder : Path
        Study folder; relative paths start there.
    artifacts : Artifacts
        Place of the trained dense models.
    cache : Artifacts or None
        Dense models that studies share.
    cell_timeout : float or None
        Seconds after which a cell fails.
    todo : frozenset of str
        Ids of the cells to compute.
    done : tuple of mapping
        The group's done rows, whose results are reused.
    completes : bool
        Whether every cell has a row once `todo` is computed; checks and alignment follow only then.
    checked : frozenset of (cell, kind)
        Checks of earlier runs, which are not repeated.
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


# ---------------------------------------------------------------- events


@dataclass(frozen=True)
class Stage:
    """A line for people: what is being computed."""

    text: str


@dataclass(frozen=True)
class DenseModelWarning:
    """A warning for people about the group's dense model."""

    text: str


@dataclass(frozen=True)
class DenseModelReady:
    """The dense model is available and the first cell has started; `values` are the columns of `schema.DENSE`."""

    values: Mapping[str, Any]


@dataclass(frozen=True)
class CellFinished:
    """A cell is done, failed or skipped, and the next one has started.

    Attributes
    ----------
    outcome : Outcome
        Of the cell.
    counted : mapping of str to int
        Work counted since the last finished cell.
    """

    outcome: Outcome
    counted: Mapping[str, int]


@dataclass(frozen=True)
class AlignmentTables:
    """The alignment of the group's scores, after its last check: columns of `schema.ALIGNMENT`, `schema.UNITS`."""

    layers: pd.DataFrame
    units: pd.DataFrame


@dataclass(frozen=True)
class ChecksFailed:
    """All cells are finished, but a check or the alignment raised an error; another run repeats them."""

    reason: str


@dataclass(frozen=True)
class DenseModelModified:
    """A method modified the dense model: none of the cells that were computed since is valid."""

    reason: str


@dataclass(frozen=True)
class GroupFailed:
    """None of the remaining cells can be computed."""

    reason: str
    traceback: str | None


@dataclass(frozen=True)
class GroupEnded:
    """The last event of a group, with the work counted since the last finished cell."""

    counted: Mapping[str, int]


@dataclass(frozen=True)
class GroupLost:
    """The process that computed the group has ended; the cell in progress is lost."""

    reason: str


Event: TypeAlias = (
    Stage | DenseModelWarning | DenseModelReady | CellFinished | Check | AlignmentTables | ChecksFailed
    | DenseModelModified | GroupFailed | GroupEnded | GroupLost
)  # fmt: skip


# ---------------------------------------------------------------- work


class Workbench:
    """State that a process keeps from group to group: its plug-ins and the latest data set.

    Parameters
    ----------
    registry : Registry
        Plug-ins of this process.
    show : callable, optional
        Called with a line for people at most every `INTERVAL` seconds while a model is trained.
    """

    def __init__(self, registry: Registry, show: Callable[[str], object] | None = None) -> None:
        self.registry, self._show = registry, show
        self._datasets: dict[str, Dataset] = {}

    def dataset(self, spec: DataSpec, folder: Path) -> Dataset:
        """Return a data set, loading it unless it is the latest one; only one is held at a time."""
        if spec.title not in self._datasets:
            self._datasets = {}  # frees the latest one before the next is loaded
            self._datasets = {spec.title: load_dataset(spec, folder)}
            return_freed_memory()
        return self._datasets[spec.title]

    def dense(self, task: GroupTask, dataset: Dataset) -> DenseModel:
        """Return the group's dense model, training it unless it is given or stored."""
        shown = time.monotonic()

        def show_epoch(epoch: int, epochs: int, loss: float, lr: float) -> None:
            nonlocal shown
            if self._show is not None and (epoch in (1, epochs) or time.monotonic() - shown >= INTERVAL):
                shown = time.monotonic()
                name = f"training {task.group.model}, seed {task.group.train_seed}"
                self._show(f"{name}: epoch {epoch}/{epochs}, loss {loss:.3f}, learning rate {lr:.2g}")

        dense = obtain_dense(
            task.model, dataset, task.group.train_seed, self.registry,
            folder=task.folder, artifacts=task.artifacts, device=torch.device(task.settings.device),
            cache=task.cache, progress=show_epoch, memory_format=task.settings.memory_format,
        )  # fmt: skip
        return_freed_memory()
        return dense


def compute_group(task: GroupTask, workbench: Workbench) -> Iterator[Event]:
    """Compute the missing cells of a group, then its checks and alignment.

    Parameters
    ----------
    task : GroupTask
        The group, its finished rows and the cells to compute.
    workbench : Workbench
        State of this process.

    Yields
    ------
    Event
        In this order: the dense model, one finished cell per id of `task.todo`, checks, alignment (or that these
        failed), the end.

    Raises
    ------
    UserError
        If the data, plug-ins or checkpoint are not those of the plan, or the dense model is not the one of the done
        rows.
    """
    group, counters = task.group, Counter[str]()
    yield Stage(task.title)
    apply_settings(task.settings)
    _refuse_other_plugins(group, workbench.registry)
    try:
        dataset = workbench.dataset(task.data, task.folder)
        dense = _dense_model(task, dataset, workbench)
        pipeline = Pipeline(
            group, dense, dataset, task.model.exclude, workbench.registry, task.settings, counters, task.cell_timeout
        )
        facts = _dense_facts(task, dataset, dense, pipeline)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # a dense model that cannot be made fails its own group only
        yield GroupFailed(f"dense model: {_reason(error)}"[:500], traceback.format_exc())
        yield GroupEnded(_reset(counters))
        return
    yield DenseModelReady(facts)
    if dense.warning is not None:
        seed = "" if group.train_seed is None else f", seed {group.train_seed}"
        yield DenseModelWarning(f"{group.dataset}, {group.model}{seed}: {dense.warning}")
    pipeline.remember(task.done)
    rows = {row["cell"]: row for row in task.done}
    for outcome in pipeline.run(set(task.todo)):
        if outcome.state == "done":
            rows[outcome.cell.id] = outcome.values
        yield CellFinished(outcome, _reset(counters))
    change = pipeline.dense_model_change()
    if change is not None:
        yield DenseModelModified(_modified(group, workbench.registry, change))
    elif task.completes:
        yield Stage(f"evaluating a sample again: {group.dataset}, {group.model}")
        try:
            yield from pipeline.checks(rows, task.groups, set(task.checked))
            yield AlignmentTables(*pipeline.alignment(rows))
        except (Exception, SystemExit) as error:  # like the failure of a cell: the other groups continue
            yield ChecksFailed(_reason(error)[:500])
    yield GroupEnded(_reset(counters))


def _dense_model(task: GroupTask, dataset: Dataset, workbench: Workbench) -> DenseModel:
    """Return the dense model, once its inputs are known to be those of the plan."""
    if task.model.checkpoint is None:
        _refuse_other_inputs(task, dataset, workbench.registry)  # before hours of training
        dense = workbench.dense(task, dataset)
    else:
        dense = workbench.dense(task, dataset)
        _refuse_other_inputs(task, dataset, workbench.registry, dense.file)  # a large file is fetched only once
    _refuse_other_model(task, dense)
    return dense


def _modified(group: Group, registry: Registry, change: str) -> str:
    """Describe what a method did to the dense model; methods of the user are named, since ours are checked."""
    used = {
        (axis.name, getattr(cell, axis.name).name) for cell in group.cells if not cell.is_dense for axis in PLUGIN_AXES
    }
    users = sorted(name for kind, name in used if isinstance(registry.get(kind, name).version, str))
    return (
        f"a method modified the dense model, which all cells of the group share (it {change}); `prunebench check` "
        f"shows which one: {', '.join(users) or 'no method of yours is used, so please report this as a bug'}"
    )


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _reset(counters: Counter[str]) -> dict[str, int]:
    """Return what was counted and start again from zero."""
    counted = dict(counters)
    counters.clear()
    return counted


def _dense_facts(task: GroupTask, dataset: Dataset, dense: DenseModel, pipeline: Pipeline) -> dict[str, Any]:
    group, recipe = task.group, dict(dense.recipe)
    if task.model.checkpoint is not None:
        recipe["normalisation"] = {**dense.normalisation.model_dump(), "source": normalisation_source(task.model)}
    return {
        "group": group.id, "dataset": group.dataset, "model": group.model, "train_seed": group.train_seed,
        "checkpoint": dense.checkpoint, "dataset_hash": dataset.hash, "recipe": canonical_json(recipe),
        "history": canonical_json(dense.history), "parameters": sum(p.numel() for p in dense.model.parameters()),
        "prunable": pipeline.shared.units("weight").total, "network": pipeline.shared.network().to_json(),
        "train_overlap": dense.train_overlap,
        "uncovered_layers": json.dumps(pipeline.shared.uncovered()), "seconds": dense.seconds,
    }  # fmt: skip


def _refuse_other_plugins(group: Group, registry: Registry) -> None:
    """Raise `UserError` if a plug-in of this process has another version than the plan."""
    for kind in (axis.name for axis in PLUGIN_AXES):
        cells = (getattr(cell, kind) for cell in group.cells if not cell.is_dense)
        for name, version in {choice.name: choice.version for choice in cells}.items():
            if registry.get(kind, name).version != version:
                raise UserError(
                    f"{kind} {name!r}: has another version than when the run began; use the same code on every "
                    f"machine, and run again if you have edited it"
                )


def _refuse_other_inputs(task: GroupTask, dataset: Dataset, registry: Registry, file: str | None = None) -> None:
    """Raise `UserError` if the data set, recipe or given checkpoint (by content hash) is not that of the group's id."""
    group = task.group
    identity = model_identity(
        task.model, group.train_seed, dataset.hash, registry, task.folder, digest_of=lambda _place: str(file),
        memory_format=task.settings.memory_format,
    )  # fmt: skip
    if group_id(dataset.hash, identity, group.train_seed, group.source) != group.id:
        raise UserError(
            f"{group.dataset}, {group.model}, seed {group.train_seed}: the data set, the model's code or its "
            f"checkpoint is not what it was when the run began; use the same files on every machine, and run again if "
            f"you have changed them"
        )


def _refuse_other_model(task: GroupTask, dense: DenseModel) -> None:
    """Raise `UserError` if the done rows were computed with another dense model, e.g. one that is lost since."""
    group = task.group
    others = {row["checkpoint"] for row in task.done} - {dense.checkpoint}
    if others:
        raise UserError(
            f"{group.dataset}, {group.model}, seed {group.train_seed}: the dense model has the hash "
            f"{dense.checkpoint[:12]}, the rows already there were computed with {min(others)[:12]}: restore that "
            f"model in {task.artifacts.where('dense')} (or empty the cache), or make a new study folder"
        )
