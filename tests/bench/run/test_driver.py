"""Tests of `bench.run.driver`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from io import StringIO

import pytest
from evidence import Evidence, assert_same
from rich.console import Console

from bench.core.errors import UserError
from bench.plugins.catalogue import make_registry
from bench.run.driver import MAX_LOSSES, Driver, RunOptions
from bench.run.group import CellFinished, Event, GroupFailed, GroupLost, GroupTask, Workbench, compute_group
from bench.run.local import InProcessEngine
from bench.run.open_study import open_study
from bench.run.progress import Reporter
from bench.store.database import open_store
from bench.store.reader import read_database


class LosingEngine:
    """Loses every process after so many finished cells."""

    def __init__(self, cells: int) -> None:
        self.cells, self.sent = cells, 0

    def events(self, next_task: Callable[[], GroupTask | None]) -> Iterator[tuple[str, Event]]:
        while (task := next_task()) is not None:
            self.sent += 1
            finished = 0
            for event in compute_group(task, Workbench(make_registry(task.folder))):
                if isinstance(event, CellFinished):
                    finished += 1
                    if finished > self.cells:
                        yield task.group.id, GroupLost("gone")
                        break
                yield task.group.id, event


class RecordingEngine:
    """Notes the tasks and yields the given events for each of them."""

    def __init__(self, *events: Event) -> None:
        self.tasks: list[GroupTask] = []
        self._events = events

    def events(self, next_task: Callable[[], GroupTask | None]) -> Iterator[tuple[str, Event]]:
        while (task := next_task()) is not None:
            self.tasks.append(task)
            for event in self._events:
                yield task.group.id, event


def test_the_most_costly_groups_are_handed_out_first(tmp_path, write_small):
    opened = open_study(write_small(tmp_path / "small"))
    first, second = (group.id for group in opened.plan.groups)
    engine = RecordingEngine()
    for costs in (None, {first: 1.0, second: 2.0}, {first: 2.0, second: 2.0}):
        with closing(open_store(tmp_path / "small", create=True)) as store:
            driver = Driver(opened.plan, opened.registry, opened.settings, store, RunOptions())
            driver.run(engine, Reporter(0, Console(file=StringIO())), driver.todo(), costs)
    assert [task.group.id for task in engine.tasks] == [first, second, second, first, first, second]


def test_a_limit_leaves_the_other_cells_and_the_checks_for_later(tmp_path, write_small, run_with):
    engine = RecordingEngine()
    summary, _ = run_with(write_small(tmp_path / "small"), lambda _: engine, limit=3)
    assert (summary.reused, summary.left) == (0, 25)
    [task] = engine.tasks
    assert len(task.todo) == 3
    assert not task.completes


def test_a_lost_group_that_advances_is_continued_however_often_it_is_lost(
    tmp_path, write_small, run_with, finished_small
):
    folder, engine = write_small(tmp_path / "small"), LosingEngine(cells=4)
    summary, output = run_with(folder, lambda _: engine)
    assert (summary.done, summary.failed) == (28, 0)
    assert engine.sent == 2 * 4  # 4 + 4 + 4 + 2 cells
    line = "gone; another process continues after the finished cells: group 1/2: digits, digits_cnn, seed 0"
    assert output.count(line) == 3
    assert_same(folder, finished_small)


def test_a_lost_group_that_does_not_advance_is_given_up_and_can_be_retried(
    tmp_path, write_small, run_with, finished_small
):
    folder, engine = write_small(tmp_path / "small"), LosingEngine(cells=0)
    summary, _ = run_with(folder, lambda _: engine)
    assert engine.sent == 2 * MAX_LOSSES
    assert (summary.done, summary.failed) == (0, 28)
    assert set(summary.failures) == {f"gone, {MAX_LOSSES} times in a row"}
    run_with(folder, lambda opened: InProcessEngine(opened.registry, print), retry_failed=True)
    assert_same(folder, finished_small)


def test_a_group_that_is_lost_during_its_checks_ends_the_run_with_one_line(tmp_path, write_small, run_with):
    folder = write_small(tmp_path / "small")

    class LostInChecks:
        def events(self, next_task):
            while (task := next_task()) is not None:
                for event in compute_group(task, Workbench(make_registry(task.folder))):
                    if task.todo and isinstance(event, CellFinished):
                        yield task.group.id, event
                yield task.group.id, GroupLost("gone")

    with pytest.raises(UserError, match="gone, 3 times in a row; run again to repeat the checks of this group"):
        run_with(folder, lambda _: LostInChecks())
    states = read_database(folder).rows["state"]
    assert states.value_counts().to_dict() == {"done": 14}  # the first group; the other was not started


def test_a_group_that_fails_has_a_row_with_the_reason_for_every_cell(tmp_path, write_small, run_with):
    folder = write_small(tmp_path / "small")
    summary, _ = run_with(folder, lambda _: RecordingEngine(GroupFailed("dense model: broken", "the traceback")))
    assert (summary.failed, summary.stopped) == (28, None)
    rows = read_database(folder).rows
    assert set(rows["reason"]) == {"dense model: broken"}
    assert set(rows["traceback"]) == {"the traceback"}


def test_the_finished_study_has_four_tables_of_alignment(finished_small):
    assert len(Evidence.of(finished_small).tables) == 4
