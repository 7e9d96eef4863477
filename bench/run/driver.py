"""The driver of a run: asks an engine for the work of the groups, and alone writes what comes."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import pandas as pd

from bench.core.errors import UserError
from bench.core.provenance import provenance
from bench.core.registry import Registry
from bench.core.types import Cell, Check, DataFacts, Group, Outcome, Settings
from bench.measure.curves import curve_table
from bench.measure.pipeline import row_values
from bench.run.group import (
    ChecksFailed,
    DenseFacts,
    Ended,
    Event,
    GroupFailed,
    GroupTask,
    Lost,
    Row,
    Stage,
    Tables,
    Warned,
)
from bench.run.progress import Reporter
from bench.store import schema
from bench.store.database import Store
from bench.store.files import Artifacts, remove_left_over
from bench.store.tables import CHECKED
from bench.study.plan import Plan, axis_values

#: A group whose process is lost so many times in a row, with no row in between, is given up.
LOSSES = 3


class Engine(Protocol):
    """Where the groups are worked on."""

    def events(self, next_task: Callable[[], GroupTask | None]) -> Generator[tuple[str, Event], None, None]:
        """Work on every task that `next_task` gives, until it gives None and nothing is at work.

        Closing the generator stops all work at once.

        Parameters
        ----------
        next_task : callable
            Returns a task, or None where there is none for now: a lost group comes again.

        Yields
        ------
        str, Event
            Id of the group, and what came of it. The events of one group are in order.
        """
        ...


@dataclass(frozen=True)
class RunOptions:
    """What the command line may ask of a run.

    Attributes
    ----------
    limit : int or None
        Stop after so many cells.
    retry_failed : bool
        Compute failed cells again.
    only : frozenset or None
        Ids of cells; the others are left for later.
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
    """Cells by state, those already finished before, those left for another run; why it stopped early, if it did.

    `unchecked`: the groups whose checks failed, with the reason. `warnings`: what was printed about dense models.
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
class _Work:
    """A group that has something left to do: the cells without a row, in plan order."""

    title: str
    group: Group
    left: dict[str, Cell]
    completes: bool
    counters: Counter[str] = field(default_factory=Counter)
    began: float | None = None
    losses: int = 0


class Driver:
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
        self._artifacts = Artifacts.of(plan.study.folder)
        self._waiting: deque[_Work] = deque()
        self._failed_before: set[str] = set()
        self._alike: Counter[tuple[str, str]] = Counter()

    def todo(self) -> list[Cell]:
        """Cells that are neither done nor skipped (nor failed, unless they are to be retried)."""
        cells = [cell for cell in self._unfinished() if self.options.only is None or cell.id in self.options.only]
        return cells[: self.options.limit]

    def _unfinished(self) -> list[Cell]:
        states = self.store.states()
        finished = {"done", "skipped"} | (set() if self.options.retry_failed else {"failed"})
        return [cell for cell in self.plan.cells() if states.get(cell.id) not in finished]

    def run(
        self, engine: Engine, reporter: Reporter, todo: list[Cell], work: Mapping[str, float] | None = None
    ) -> RunSummary:
        """Have `todo` computed, then the checks of the groups that are complete.

        Parameters
        ----------
        engine : Engine
            Where the groups are worked on.
        reporter : Reporter
            Tells how far it is.
        todo : list of Cell
            As `Driver.todo` returns them.
        work : mapping of str to float, optional
            Group id -> what it costs: the most costly is handed out first, so that none is left for the end. In plan
            order where None.
        """
        remove_left_over(self.plan.study.folder)
        if todo:
            self._artifacts.refuse_unwritable()
        self._write_curves()
        unfinished = len(self._unfinished())
        self.summary.reused = sum(1 for _ in self.plan.cells()) - unfinished
        self.summary.left = unfinished - len(todo)
        run = self.store.start_run(self.plan.study.digest(), os.getpid(), socket.gethostname())
        works = {one.group.id: one for one in self._works({cell.id for cell in todo})}
        self._waiting.extend(sorted(works.values(), key=lambda one: -(work or {}).get(one.group.id, 0.0)))
        events = engine.events(self._next_task)
        with closing(events):
            for group, event in events:
                self._take(works[group], event, reporter)
                if self.summary.stopped:
                    break
        for one in works.values():
            self._add_counters(one)
        self.store.end_run(run)
        return self.summary

    def _write_curves(self) -> None:
        """Keep the curves of the study's scorers, which the analysis draws and measures."""
        name = f"curves/{self.plan.study.digest()}.parquet"
        table = pd.DataFrame() if self._artifacts.exists(name) else curve_table(self.plan.study, self.registry)
        if not table.empty:
            self._artifacts.write_table(name, table, schema.CURVES)

    # ---------------------------------------------------------------- what is to be done

    def _works(self, wanted: set[str]) -> Iterator[_Work]:
        """Find the groups with something left to do."""
        states = self.store.states()
        # a failed row stays until its cell is done again: a kill must not lose its traceback
        self._failed_before = {cell for cell, state in states.items() if state == "failed"}
        for number, group in enumerate(self.plan.groups, 1):
            left = {cell.id: cell for cell in group.cells if cell.id in wanted}
            if left or self._lacks_checks(group, states):
                seed = "" if group.train_seed is None else f", seed {group.train_seed}"
                title = f"group {number}/{len(self.plan.groups)}: {group.dataset}, {group.model}{seed}"
                completes = all(cell.id in left or cell.id in states for cell in group.cells)
                yield _Work(title, group, left, completes)

    def _lacks_checks(self, group: Group, states: Mapping[str, str]) -> bool:
        """Whether a group without cells to compute has checks to make or alignment to keep."""
        if any(cell.id not in states for cell in group.cells):
            return False  # left for another run by --only or --limit
        if not any(states[cell.id] == "done" for cell in group.cells):
            return False  # its dense model could not be made; --retry-failed tries again
        kept = all(self._artifacts.exists(name) for name in self._alignment_files(group))
        return not kept or self.store.meta(self._checked_key(group)) is None

    def _alignment_files(self, group: Group) -> tuple[str, str]:
        """Where a group's alignment and its sampled units are kept."""
        file = f"{self.plan.study.digest()}/{group.id}.parquet"
        return f"alignment/{file}", f"units/{file}"

    def _checked_key(self, group: Group) -> str:
        return f"{CHECKED}:{self.plan.study.digest()}:{group.id}"

    def _next_task(self) -> GroupTask | None:
        if not self._waiting:
            return None
        work = self._waiting.popleft()
        group, file, folder = work.group, self.plan.study.file, self.plan.study.folder
        return GroupTask(
            title=work.title, group=group, groups=len(self.plan.groups),
            data=next(spec for spec in file.data if spec.title == group.dataset),
            model=next(spec for spec in file.models if spec.title == group.model),
            settings=self.settings, folder=folder, artifacts=self._artifacts, cache=self.options.cache,
            cell_timeout=self.options.cell_timeout,
            todo=frozenset(work.left), done=tuple(self.store.rows_of_group(group.id)), completes=work.completes,
            checked=frozenset(self.store.checks_of([cell.id for cell in group.cells])),
        )  # fmt: skip

    # ---------------------------------------------------------------- what comes of it

    def _take(self, work: _Work, event: Event, reporter: Reporter) -> None:
        match event:
            case Stage(text):
                work.began = work.began or time.perf_counter()
                reporter.stage(text)
            case Warned(text):
                if text not in self.summary.warnings:  # a lost group comes again
                    self.summary.warnings.append(text)
                    reporter.warn(text)
            case DenseFacts(values):
                self.store.write_dense(values)
                upcoming = self._upcoming(work)
                if upcoming is not None:
                    self.store.write_row(upcoming)
            case Row(outcome, counted):
                work.left.pop(outcome.cell.id)
                work.losses = 0
                work.counters.update(counted)
                self.store.write_row(row_values(outcome), self._upcoming(work))
                self._count(outcome, reporter)
            case Check(cell, kind, accuracy, mismatches):
                self.store.write_check({"cell": cell.id, "kind": kind, "accuracy": accuracy, "mismatches": mismatches})
            case Tables(alignment, units):
                first, second = self._alignment_files(work.group)
                self._artifacts.write_table(first, alignment, schema.ALIGNMENT)
                self._artifacts.write_table(second, units, schema.UNITS)
                self.store.set_meta(self._checked_key(work.group), "yes")
            case ChecksFailed(reason):
                self.summary.unchecked.append(f"{work.title}: {reason}")
                reporter.stage(f"checks failed: {work.title}: {reason}")
            case GroupFailed(reason, trace):
                self._fail(work, reason, trace, reporter)
            case Ended(counted):
                work.counters.update(counted)
                self._add_counters(work)
            case Lost(reason):
                self._lose(work, reason, reporter)

    def _upcoming(self, work: _Work) -> dict[str, Any] | None:
        """Return the row that marks the next cell of a group as running, if that may be written."""
        cell = next(iter(work.left.values()), None)
        return None if cell is None or cell.id in self._failed_before else row_values(Outcome(cell, "running"))

    def _fail(self, work: _Work, reason: str, trace: str | None, reporter: Reporter) -> None:
        while work.left:
            cell = work.left.pop(next(iter(work.left)))
            if cell.skip is not None:
                outcome = Outcome(cell, "skipped", reason=cell.skip)
            else:
                outcome = Outcome(cell, "failed", reason=reason, traceback=trace)
            self.store.write_row(row_values(outcome))
            self.summary.count(outcome)
            reporter.cell(failed=outcome.state == "failed")
        self._stop_after("groups", reason)  # one failure, however many cells it has: the other groups go on

    def _lose(self, work: _Work, reason: str, reporter: Reporter) -> None:
        work.losses += 1
        if work.losses < LOSSES:
            reporter.stage(f"{reason}; sent again, with what is done: {work.title}")
            self._waiting.appendleft(work)
            return
        reason = f"{reason}, {work.losses} times in a row"
        if not work.left:
            raise UserError(f"{work.title}: {reason}; run again to repeat the checks of this group")
        self._fail(work, reason, None, reporter)

    def _count(self, outcome: Outcome, reporter: Reporter) -> None:
        self.summary.count(outcome)
        reporter.cell(failed=outcome.state == "failed")
        if outcome.state == "failed":
            self._stop_after("cells", outcome.reason or "unknown")

    def _stop_after(self, what: str, reason: str) -> None:
        """Stop the run once so many cells or whole groups have failed for one reason as the study allows."""
        self._alike[what, reason] += 1
        if self._alike[what, reason] >= self.plan.study.file.stop_after_failures:
            self.summary.stopped = f"{self._alike[what, reason]} {what} failed in the same way: {reason}"

    def _add_counters(self, work: _Work) -> None:
        """Add what a group has cost to the study's counters."""
        if work.began is not None:
            work.counters["seconds"] = round(time.perf_counter() - work.began)
            self.store.add_counters(self.plan.study.digest(), work.counters)
            work.counters.clear()
            work.began = None


def register_study(
    store: Store,
    plan: Plan,
    settings: Settings,
    facts: Mapping[str, DataFacts],
    claims_hash: str | None,
) -> None:
    """Write study, claims hash, settings and plan into the store, before the first cell.

    Raises
    ------
    UserError
        If another first run has fixed other settings since these were chosen.
    """
    study, fixed = plan.study, store.meta("settings")
    if fixed is not None and replace(Settings(**json.loads(fixed)), measured=settings.measured) != settings:
        raise UserError(
            f"{study.folder}: another run has begun this study with other settings meanwhile; run again, and they are "
            f"taken over"
        )
    found = {
        **provenance(settings.device),
        "datasets": {label: dataclasses.asdict(known) for label, known in facts.items()},
    }
    if fixed is None:
        store.set_meta("settings", json.dumps(dataclasses.asdict(settings)))
    store.register(
        {
            "study_hash": study.digest(), "name": study.file.name, "description": study.file.description,
            "profile": study.profile, "study": json.dumps(study.resolved()), "claims_hash": claims_hash,
            "provenance": json.dumps(found),
        },
        [(cell.id, cell.position, axis_values(cell)) for cell in plan.cells()],
    )  # fmt: skip
