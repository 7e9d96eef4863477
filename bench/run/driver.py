"""The driver of a run: hands the groups of a plan to an engine and writes what the engine reports.

The driver is the only process that writes to the store. It lays out the work, hands out one task per group, and
writes each event as it arrives:

    driver = Driver(plan, registry, settings, store, RunOptions())
    summary = driver.run(engine, reporter, driver.todo())
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from bench.core.errors import UserError
from bench.core.registry import Registry
from bench.core.types import Cell, Check, Group, Outcome, Settings
from bench.measure.curves import curve_table
from bench.measure.pipeline import row_values
from bench.measure.shared import computing_order
from bench.run.engine import Engine
from bench.run.group import (
    AlignmentTables,
    CellFinished,
    ChecksFailed,
    DenseModelModified,
    DenseModelReady,
    DenseModelWarning,
    Event,
    GroupEnded,
    GroupFailed,
    GroupLost,
    GroupTask,
    Stage,
)
from bench.run.progress import Reporter
from bench.run.row_writer import RowWriter
from bench.store import schema
from bench.store.database import Store
from bench.store.files import Artifacts, remove_left_over
from bench.store.tables import CHECKED
from bench.study.plan import Plan

#: A group is given up after so many losses of its process in a row, with no finished cell in between.
MAX_LOSSES = 3


@dataclass(frozen=True)
class RunOptions:
    """Options of a run on the command line.

    Attributes
    ----------
    limit : int or None
        Largest number of cells to compute.
    retry_failed : bool
        Whether to compute failed cells again.
    only : frozenset or None
        Ids of the cells to compute; None for all.
    cell_timeout : float or None
        Seconds after which a cell fails.
    cache : Artifacts or None
        Dense models that studies share.
    """

    limit: int | None = None
    retry_failed: bool = False
    only: frozenset[str] | None = None
    cell_timeout: float | None = None
    cache: Artifacts | None = None


@dataclass
class RunSummary:
    """Outcome of a run.

    Attributes
    ----------
    done, failed, skipped : int
        Cells of this run by state.
    reused : int
        Cells that were finished before.
    left : int
        Unfinished cells that this run does not compute.
    stopped : str or None
        Why the run stopped early.
    failures : Counter
        Reason -> failed cells.
    unchecked : list of str
        Groups whose checks failed, with the reason.
    warnings : list of str
        Warnings about dense models.
    """

    done: int = 0
    failed: int = 0
    skipped: int = 0
    reused: int = 0
    left: int = 0
    stopped: str | None = None
    failures: Counter[str] = field(default_factory=Counter)
    unchecked: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def count(self, outcome: Outcome) -> None:
        """Count one finished cell."""
        setattr(self, outcome.state, getattr(self, outcome.state) + 1)
        if outcome.state == "failed":
            self.failures[outcome.reason or "unknown"] += 1


@dataclass
class _GroupWork:
    """A group that needs work.

    Attributes
    ----------
    title : str
        Name of the group in messages.
    group : Group
        Its cells.
    remaining : dict
        Id -> cell, of the cells still to compute, in the order in which they are computed.
    done : list of Cell
        Cells that are done since the group was handed out.
    completes : bool
        Whether every cell of the group has a row after this run.
    counters : Counter
        Work counted since the last addition to the counters of the study.
    started : float or None
        Value of the clock when the group was started; None before and after.
    losses : int
        Losses of its process since its last finished cell.
    """

    title: str
    group: Group
    remaining: dict[str, Cell]
    completes: bool
    done: list[Cell] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)
    started: float | None = None
    losses: int = 0


class Driver:
    """Computes the missing cells of a plan.

    Parameters
    ----------
    plan : Plan
        Cells of the study.
    registry : Registry
        Methods that the cells name.
    settings : Settings
        Execution settings, as stored.
    store : Store
        Rows are written here (`bench.run.row_writer`).
    options : RunOptions
        Options of this run.
    """

    def __init__(self, plan: Plan, registry: Registry, settings: Settings, store: Store, options: RunOptions) -> None:
        self.plan, self.registry, self.settings, self.store, self.options = plan, registry, settings, store, options
        self.summary = RunSummary()
        self._rows = RowWriter(store)
        self._study_hash = plan.study.digest()
        self._artifacts = Artifacts.of(plan.study.folder)
        self._waiting: deque[_GroupWork] = deque()
        self._failed_before: set[str] = set()
        self._equal_failures: Counter[tuple[str, str]] = Counter()

    def todo(self) -> list[Cell]:
        """Return the cells to compute: neither done nor skipped, nor failed unless failed cells are retried."""
        cells = [cell for cell in self._unfinished() if self.options.only is None or cell.id in self.options.only]
        return cells[: self.options.limit]

    def run(
        self, engine: Engine, reporter: Reporter, todo: list[Cell], costs: Mapping[str, float] | None = None
    ) -> RunSummary:
        """Compute cells, then run the checks of the groups that are complete.

        Parameters
        ----------
        engine : Engine
            Computes the groups.
        reporter : Reporter
            Shows the progress.
        todo : list of Cell
            As `Driver.todo` returns them.
        costs : mapping of str to float, optional
            Group id -> cost. The most expensive group is handed out first, so that it does not run alone at the end.
            In plan order by default.
        """
        remove_left_over(self.plan.study.folder)
        if todo:
            self._artifacts.refuse_unwritable()
        self._write_curves()
        unfinished = len(self._unfinished())
        self.summary.reused = sum(1 for _ in self.plan.cells()) - unfinished
        self.summary.left = unfinished - len(todo)
        run = self.store.start_run(self._study_hash, os.getpid(), socket.gethostname())
        work_of = {work.group.id: work for work in self._lay_out({cell.id for cell in todo})}
        self._waiting.extend(sorted(work_of.values(), key=lambda work: -(costs or {}).get(work.group.id, 0.0)))
        events = engine.events(self._next_task)
        try:
            with closing(events):
                for group, event in events:
                    self._write(work_of[group], event, reporter)
                    if self.summary.stopped:
                        break
        finally:
            self._rows.flush()
        for work in work_of.values():
            self._write_counters(work)
        self.store.end_run(run)
        return self.summary

    def _write_curves(self) -> None:
        """Write the curves of the study's scorers, which the analysis draws."""
        name = f"curves/{self._study_hash}.parquet"
        if self._artifacts.exists(name):
            return
        table = curve_table(self.plan.study, self.registry, self.plan.groups[0].id)
        if not table.empty:
            self._artifacts.write_table(name, table, schema.CURVES)

    # ---------------------------------------------------------------- lay out the work

    def _unfinished(self) -> list[Cell]:
        states = self.store.states()
        finished = {"done", "skipped"} | (set() if self.options.retry_failed else {"failed"})
        return [cell for cell in self.plan.cells() if states.get(cell.id) not in finished]

    def _lay_out(self, todo: set[str]) -> Iterator[_GroupWork]:
        """Find the groups that have cells to compute, or checks and alignment to finish."""
        states = self.store.states()
        # a failed row stays until its cell has finished again: a kill must not lose its traceback
        self._failed_before = {cell for cell, state in states.items() if state == "failed"}
        for number, group in enumerate(self.plan.groups, 1):
            remaining = {cell.id: cell for cell in computing_order(group.cells) if cell.id in todo}
            if remaining or self._lacks_checks(group, states):
                seed = "" if group.train_seed is None else f", seed {group.train_seed}"
                title = f"group {number}/{len(self.plan.groups)}: {group.dataset}, {group.model}{seed}"
                completes = all(cell.id in remaining or cell.id in states for cell in group.cells)
                yield _GroupWork(title, group, remaining, completes)

    def _lacks_checks(self, group: Group, states: Mapping[str, str]) -> bool:
        """Whether a group without cells to compute lacks its checks or its alignment."""
        if any(cell.id not in states for cell in group.cells):
            return False  # --only or --limit leave some of its cells for another run
        if not any(states[cell.id] == "done" for cell in group.cells):
            return False  # its dense model could not be made; --retry-failed tries again
        aligned = all(self._artifacts.exists(name) for name in self._alignment_files(group))
        return not aligned or self.store.meta(self._checked_key(group)) is None

    def _alignment_files(self, group: Group) -> tuple[str, str]:
        """Return the names of a group's artifacts: its alignment and its sampled units."""
        file = f"{self._study_hash}/{group.id}.parquet"
        return f"alignment/{file}", f"units/{file}"

    def _checked_key(self, group: Group) -> str:
        return f"{CHECKED}:{self._study_hash}:{group.id}"

    # ---------------------------------------------------------------- hand out tasks

    def _next_task(self) -> GroupTask | None:
        if not self._waiting:
            return None
        self._rows.flush()  # a group that is handed out again is read from the store
        work = self._waiting.popleft()
        group, file, folder = work.group, self.plan.study.file, self.plan.study.folder
        return GroupTask(
            title=work.title, group=group, groups=len(self.plan.groups),
            data=next(spec for spec in file.data if spec.title == group.dataset),
            model=next(spec for spec in file.models if spec.title == group.model),
            settings=self.settings, folder=folder, artifacts=self._artifacts, cache=self.options.cache,
            cell_timeout=self.options.cell_timeout,
            todo=frozenset(work.remaining), done=tuple(self.store.rows_of_group(group.id)), completes=work.completes,
            checked=frozenset(self.store.checks_of([cell.id for cell in group.cells])),
        )  # fmt: skip

    # ---------------------------------------------------------------- write what the engine reports

    def _write(self, work: _GroupWork, event: Event, reporter: Reporter) -> None:
        if not isinstance(event, CellFinished):
            self._rows.flush()
        match event:
            case Stage(text):
                work.started = work.started or time.perf_counter()
                reporter.stage(text)
            case DenseModelWarning(text):
                if text not in self.summary.warnings:  # a lost group yields it again
                    self.summary.warnings.append(text)
                    reporter.warn(text)
            case DenseModelReady(values):
                self.store.write_dense(values)
                self._rows.mark(work.group.id, self._next_running(work))
                self._rows.flush()
            case CellFinished(outcome, counted):
                work.remaining.pop(outcome.cell.id)
                work.losses = 0
                work.counters.update(counted)
                self._rows.add(row_values(outcome), self._next_running(work))
                self._count(outcome, reporter)
                if outcome.state == "done":
                    work.done.append(outcome.cell)
                if outcome.state == "failed":
                    self._stop_after("cells", outcome.reason or "unknown")
            case Check(cell, kind, accuracy, mismatches):
                self.store.write_check({"cell": cell.id, "kind": kind, "accuracy": accuracy, "mismatches": mismatches})
            case AlignmentTables(layers, units):
                layers_file, units_file = self._alignment_files(work.group)
                self._artifacts.write_table(layers_file, layers, schema.ALIGNMENT)
                self._artifacts.write_table(units_file, units, schema.UNITS)
                self.store.set_meta(self._checked_key(work.group), "yes")
            case ChecksFailed(reason):
                self.summary.unchecked.append(f"{work.title}: {reason}")
                reporter.stage(f"checks failed: {work.title}: {reason}")
            case DenseModelModified(reason):
                self._invalidate(work, reason, reporter)
            case GroupFailed(reason, trace):
                self._write_failures(work, reason, trace, reporter)
            case GroupEnded(counted):
                work.counters.update(counted)
                self._write_counters(work)
            case GroupLost(reason):
                self._hand_out_again(work, reason, reporter)

    def _next_running(self, work: _GroupWork) -> dict[str, Any] | None:
        """Return a row that marks the group's next cell as running; None if it would replace a failed row."""
        cell = next(iter(work.remaining.values()), None)
        return None if cell is None or cell.id in self._failed_before else row_values(Outcome(cell, "running"))

    def _write_failures(self, work: _GroupWork, reason: str, trace: str | None, reporter: Reporter) -> None:
        """Write all remaining cells of a group as failed; cells that the plan skips stay skipped."""
        while work.remaining:
            cell = work.remaining.pop(next(iter(work.remaining)))
            if cell.skip is not None:
                outcome = Outcome(cell, "skipped", reason=cell.skip)
            else:
                outcome = Outcome(cell, "failed", reason=reason, traceback=trace)
            self._rows.add(row_values(outcome))
            self._count(outcome, reporter)
        self._stop_after("groups", reason)  # counted once, however many cells the group has

    def _invalidate(self, work: _GroupWork, reason: str, reporter: Reporter) -> None:
        """Write the cells that were computed with a modified dense model as failed."""
        for cell in work.done:
            self._rows.add(row_values(Outcome(cell, "failed", reason=reason)))
            self.summary.done -= 1
            self.summary.count(Outcome(cell, "failed", reason=reason))
        reporter.stage(f"{len(work.done)} cells are not valid: {work.title}: {reason}")
        self._stop_after("groups", reason)

    def _hand_out_again(self, work: _GroupWork, reason: str, reporter: Reporter) -> None:
        """Let another process continue a lost group, unless it has been lost `MAX_LOSSES` times in a row."""
        work.losses += 1
        if work.losses < MAX_LOSSES:
            reporter.stage(f"{reason}; another process continues after the finished cells: {work.title}")
            self._waiting.appendleft(work)
            return
        reason = f"{reason}, {work.losses} times in a row"
        if not work.remaining:
            raise UserError(f"{work.title}: {reason}; run again to repeat the checks of this group")
        self._write_failures(work, reason, None, reporter)

    def _count(self, outcome: Outcome, reporter: Reporter) -> None:
        self.summary.count(outcome)
        reporter.cell(failed=outcome.state == "failed")

    def _stop_after(self, what: str, reason: str) -> None:
        """Stop the run when as many cells (or whole groups) have failed for one reason as the study allows."""
        self._equal_failures[what, reason] += 1
        count = self._equal_failures[what, reason]
        if count >= self.plan.study.file.stop_after_failures:
            self.summary.stopped = f"{count} {what} failed in the same way: {reason}"

    def _write_counters(self, work: _GroupWork) -> None:
        """Add the work counted for a group, and its time, to the counters of the study."""
        if work.started is not None:
            work.counters["seconds"] = round(time.perf_counter() - work.started)
            self.store.add_counters(self._study_hash, work.counters)
            work.counters.clear()
            work.started = None
