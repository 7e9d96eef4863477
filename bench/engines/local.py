"""The local engine: walks the plan in this process, isolates failures, writes rows as they come."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import time
import traceback
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from filelock import FileLock, Timeout

from bench.curves import curve_table
from bench.data.dataset import Dataset
from bench.data.load import load_dataset
from bench.engines.progress import Reporter
from bench.errors import CellError, UserError
from bench.identity import canonical_json
from bench.models.dense import DenseModel, obtain_dense
from bench.pipeline import Pipeline, row_values
from bench.plan import Plan, axis_values
from bench.provenance import provenance
from bench.registry import Registry
from bench.settings import apply_settings
from bench.store import schema
from bench.store.artifacts import write_table
from bench.store.database import DATABASE_FILE, Store
from bench.study import DataSpec, ModelSpec
from bench.types import Cell, DataFacts, Group, Outcome, Settings

ARTIFACTS = "artifacts"
LOCK_FILE = ".prunebench.lock"


@dataclass(frozen=True)
class RunOptions:
    """What the command line may ask of a run.

    Attributes
    ----------
    limit : int or None
        Stop after so many cells.
    retry_failed : bool
        Compute failed cells again.
    only : mapping
        Axis column -> value; other cells are left for later.
    cell_timeout : float or None
        Seconds after which a cell fails.
    cache : Path or None
        Folder of dense models that studies share.
    """

    limit: int | None = None
    retry_failed: bool = False
    only: Mapping[str, str] = field(default_factory=dict)
    cell_timeout: float | None = None
    cache: Path | None = None


@dataclass
class RunSummary:
    """Cells by state, and why the run stopped early (None where it did not)."""

    done: int = 0
    failed: int = 0
    skipped: int = 0
    reused: int = 0
    stopped: str | None = None
    failures: Counter[str] = field(default_factory=Counter)

    def count(self, outcome: Outcome) -> None:
        """Count one finished cell."""
        setattr(self, outcome.state, getattr(self, outcome.state) + 1)
        if outcome.state == "failed":
            self.failures[outcome.reason or "unknown"] += 1


class LocalEngine:
    """Runs what is missing of a plan.

    Parameters
    ----------
    plan : Plan
        The study's cells.
    registry : Registry
        Finds the methods that the cells name.
    settings : Settings
        Execution settings, already kept in the store.
    store : Store
        Rows are written here, each in its own transaction.
    options : RunOptions
        What the command line asked for.
    """

    def __init__(self, plan: Plan, registry: Registry, settings: Settings, store: Store, options: RunOptions) -> None:
        self.plan, self.registry, self.settings, self.store, self.options = (
            plan,
            registry,
            settings,
            store,
            options,
        )
        self.summary = RunSummary()
        self._counters: Counter[str] = Counter()
        self._datasets: dict[str, Dataset] = {}

    def todo(self) -> list[Cell]:
        """Cells that are neither done nor skipped (nor failed, unless they are to be retried)."""
        states = self.store.states()
        finished = {"done", "skipped"} | (set() if self.options.retry_failed else {"failed"})
        cells = [cell for cell in self.plan.cells() if states.get(cell.id) not in finished and self.asked_for(cell)]
        return cells[: self.options.limit]

    def asked_for(self, cell: Cell) -> bool:
        """Whether a cell has all the axis values of ``--only``."""
        if not self.options.only:
            return True
        axes = axis_values(cell)
        return all(str(axes[key]) == value for key, value in self.options.only.items())

    def run(self, reporter: Reporter, todo: list[Cell]) -> RunSummary:
        """Compute `todo` group by group, then make the checks of the groups that are complete."""
        apply_settings(self.settings)
        for left_over in (self.plan.study.folder / ARTIFACTS).rglob(".*.tmp"):
            left_over.unlink()  # of a run that was killed while it wrote; this run holds the lock
        self._write_curves()
        wanted = {cell.id for cell in todo}
        self.summary.reused = sum(1 for _ in self.plan.cells()) - len(wanted)
        study_hash = self.plan.study.digest()
        run = self.store.start_run(study_hash, os.getpid(), socket.gethostname())
        for number, group in enumerate(self.plan.groups, 1):
            cells = {cell.id for cell in group.cells} & wanted
            if self._is_complete(group, cells):
                continue
            seed = "" if group.train_seed is None else f", seed {group.train_seed}"
            reporter.stage(f"group {number}/{len(self.plan.groups)}: {group.dataset}, {group.model}{seed}")
            start = time.perf_counter()
            self._run_group(group, cells, reporter)
            self._counters["seconds"] = round(time.perf_counter() - start)
            self.store.add_counters(study_hash, self._counters)
            self._counters.clear()
            if self.summary.stopped:
                break
        self.store.end_run(run)
        return self.summary

    def _write_curves(self) -> None:
        """Keep the curves of the study's scorers, which the analysis draws and measures."""
        path = self.plan.study.folder / ARTIFACTS / "curves" / f"{self.plan.study.digest()}.parquet"
        table = pd.DataFrame() if path.exists() else curve_table(self.plan.study, self.registry)
        if not table.empty:
            write_table(path, table, schema.CURVES)

    def _alignment_files(self, group: Group) -> tuple[Path, Path]:
        """Where a group's alignment and its sampled units are kept."""
        alignment, units = (
            self.plan.study.folder / ARTIFACTS / kind / self.plan.study.digest() / f"{group.id}.parquet"
            for kind in ("alignment", "units")
        )
        return alignment, units

    def _is_complete(self, group: Group, cells: set[str]) -> bool:
        """Whether a group has nothing left to do: no cells, its checks made, its alignment kept."""
        if cells:
            return False
        states = self.store.states()
        if any(cell.id not in states for cell in group.cells):
            return True  # left for another run by --only or --limit
        if not any(states[cell.id] == "done" for cell in group.cells):
            return True  # its dense model could not be made; --retry-failed tries again
        kept = all(path.exists() for path in self._alignment_files(group))
        return kept and self.store.meta(self._checked_key(group)) is not None

    def _checked_key(self, group: Group) -> str:
        return f"checked:{self.plan.study.digest()}:{group.id}"

    def _run_group(self, group: Group, cells: set[str], reporter: Reporter) -> None:
        try:
            dataset, dense, pipeline = self._prepare(group, reporter)
            done = self.store.rows_of_group(group.id)
            _refuse_other_model(group, dense, done)
            self._write_dense(group, dataset, dense, pipeline)
        except UserError:
            raise
        except Exception as error:  # a dense model that cannot be made fails its group alone
            self._fail_group(group, cells, error, reporter)
            return
        pipeline.remember(done)
        # a failed row stays until its cell is done again: a kill must not lose its traceback
        failed = {cell for cell, state in self.store.states().items() if state == "failed"}
        running = [None if cell.id in failed else _running(cell) for cell in group.cells if cell.id in cells]
        if running and running[0] is not None:
            self.store.write_row(running[0])
        for outcome, upcoming in zip(pipeline.run(cells), [*running, None][1:], strict=True):
            self.store.write_row(row_values(outcome), upcoming)
            self._count(outcome, reporter)
            if self.summary.stopped:
                return
        reporter.stage(f"evaluating a sample again: {group.dataset}, {group.model}")
        self._finish_group(group, pipeline)

    def _prepare(self, group: Group, reporter: Reporter) -> tuple[Dataset, DenseModel, Pipeline]:
        file, folder = self.plan.study.file, self.plan.study.folder
        data: DataSpec = next(spec for spec in file.data if spec.title == group.dataset)
        model: ModelSpec = next(spec for spec in file.models if spec.title == group.model)
        if group.dataset not in self._datasets:
            self._datasets = {group.dataset: load_dataset(data, folder)}  # hold one at a time
        dataset = self._datasets[group.dataset]
        dense = obtain_dense(
            model, dataset, group.train_seed, self.registry,
            folder=folder, artifacts=folder / ARTIFACTS, device=torch.device(self.settings.device),
            cache=self.options.cache,
            progress=lambda epoch, epochs, loss: reporter.stage(
                f"training {group.model}, seed {group.train_seed}: epoch {epoch}/{epochs}, loss {loss:.3f}"
            ) if epoch in (1, epochs) else None,
        )  # fmt: skip
        pipeline = Pipeline(
            group, dense, dataset, model.exclude, self.registry, self.settings, self._counters,
            self.options.cell_timeout,
        )  # fmt: skip
        return dataset, dense, pipeline

    def _write_dense(self, group: Group, dataset: Dataset, dense: DenseModel, pipeline: Pipeline) -> None:
        self.store.write_dense({
            "group": group.id, "dataset": group.dataset, "model": group.model, "train_seed": group.train_seed,
            "checkpoint": dense.checkpoint, "dataset_hash": dataset.hash, "recipe": canonical_json(dense.recipe),
            "history": canonical_json(dense.history), "parameters": sum(p.numel() for p in dense.model.parameters()),
            "prunable": pipeline.units("weight").total, "train_overlap": dense.train_overlap,
            "uncovered_layers": json.dumps(pipeline.uncovered()), "seconds": dense.seconds,
        })  # fmt: skip

    def _fail_group(self, group: Group, cells: set[str], error: Exception, reporter: Reporter) -> None:
        reason = f"dense model: {type(error).__name__}: {' '.join(str(error).split())}"[:500]
        for cell in group.cells:
            if cell.id in cells:
                outcome = Outcome(cell, "failed", reason=reason, traceback=traceback.format_exc())
                self.store.write_row(row_values(outcome))
                self._count(outcome, reporter)

    def _count(self, outcome: Outcome, reporter: Reporter) -> None:
        self.summary.count(outcome)
        reporter.cell(failed=outcome.state == "failed")
        allowed = self.plan.study.file.stop_after_failures
        if outcome.state == "failed" and self.summary.failures[outcome.reason or "unknown"] >= allowed:
            self.summary.stopped = f"{allowed} cells failed in the same way: {outcome.reason}"

    def _finish_group(self, group: Group, pipeline: Pipeline) -> None:
        """Make the checks and keep the alignment once every cell of the group has a row."""
        states = self.store.states()
        if any(states.get(cell.id) not in ("done", "skipped", "failed") for cell in group.cells):
            return
        rows = {row["cell"]: row for row in self.store.rows_of_group(group.id)}
        try:
            for check in pipeline.checks(rows, len(self.plan.groups), self.store.checks_of(rows)):
                self.store.write_check({
                    "cell": check.cell.id, "kind": check.kind, "accuracy": check.accuracy,
                    "mismatches": check.mismatches,
                })  # fmt: skip
            tables = pipeline.alignment(rows)
        except CellError as error:
            raise UserError(
                f"{group.dataset}, {group.model}: a finished cell could not be computed again as a check: {error}; "
                f"run again to repeat the checks of this group"
            ) from error
        for path, table, columns in zip(
            self._alignment_files(group), tables, (schema.ALIGNMENT, schema.UNITS), strict=True
        ):
            write_table(path, table, columns)
        self.store.set_meta(self._checked_key(group), "yes")


def _refuse_other_model(group: Group, dense: DenseModel, done: list[dict[str, Any]]) -> None:
    """Refuse to add rows of another dense model to a group, as when a lost one was trained otherwise."""
    others = {row["checkpoint"] for row in done} - {dense.checkpoint}
    if others:
        raise UserError(
            f"{group.dataset}, {group.model}, seed {group.train_seed}: the dense model has the hash "
            f"{dense.checkpoint[:12]}, the rows already there were computed with {min(others)[:12]}: restore that "
            f"model in {ARTIFACTS}/ (or empty the cache), or make a new study folder"
        )


def _running(cell: Cell) -> dict[str, Any]:
    return row_values(Outcome(cell, "running"))


def lock_study(folder: Path, store: Store) -> FileLock:
    """Take the study for this process; the lock ends with the process, however it ends.

    Raises
    ------
    UserError
        If another run holds it, naming that run.
    """
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        run = store.last_run()
        holder = f"process {run['pid']} on {run['host']} since {run['started']}" if run else "another process"
        raise UserError(
            f"{folder / DATABASE_FILE}: locked by {holder}; wait for it or stop it (reading with status is safe)"
        ) from error
    return lock


def register_study(
    store: Store,
    plan: Plan,
    settings: Settings,
    facts: Mapping[str, DataFacts],
    claims_hash: str | None,
) -> None:
    """Write study, claims hash, settings and plan into the store, before the first cell."""
    study = plan.study
    found = {
        **provenance(settings.device),
        "datasets": {label: dataclasses.asdict(known) for label, known in facts.items()},
    }
    store.set_meta("settings", json.dumps(dataclasses.asdict(settings)))
    store.register(
        {
            "study_hash": study.digest(), "name": study.file.name, "description": study.file.description,
            "profile": study.profile, "study": json.dumps(study.resolved()), "claims_hash": claims_hash,
            "provenance": json.dumps(found),
        },
        ((cell.id, cell.position, axis_values(cell)) for cell in plan.cells()),
    )  # fmt: skip
