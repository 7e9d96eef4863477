"""Several worker processes give the rows of one, whatever becomes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from io import StringIO
from pathlib import Path

import psutil
import pytest
from evidence import Evidence, assert_same
from rich.console import Console

from bench.core.errors import UserError
from bench.core.types import Settings
from bench.plugins.catalogue import make_registry
from bench.run.driver import LOSSES, Driver, RunOptions, register_study
from bench.run.group import Event, GroupTask, Lost, Row, Workbench, work_group
from bench.run.local import InProcess, Processes, local_engine
from bench.run.open_study import open_session
from bench.run.progress import Reporter
from bench.store.database import open_store
from bench.store.reader import read_database

#: 2 groups of 14 cells; the second scorer ends its process at its first call, unless that has happened before.
STUDY = """\
name: small
data: [digits]
models: [{name: digits_cnn, recipe: {epochs: 1}}]
train_seeds: 2
scorers: [magnitude, './mine.py:deadly', exp_magnitude]
sparsities: [0.5, 0.8]
recalibrations: [none, cumulative]
"""
PLUGIN = """\
import os, signal
from pathlib import Path
from prunebench.plugin import ScoreMap

def deadly(view, calibration, generator):
    try:
        Path(__file__).with_name("happened").touch(exist_ok=False)
    except FileExistsError:
        return ScoreMap({name: m * 2 for name, m in view.magnitudes().items()})
    os.kill(os.getpid(), signal.SIGKILL)
"""


def write_small(folder: Path, *, harmless: bool) -> Path:
    folder.mkdir()
    (folder / "study.yaml").write_text(STUDY)
    (folder / "mine.py").write_text(PLUGIN)
    if harmless:
        (folder / "happened").touch()
    return folder


def run(folder: Path, make_engine: Callable[..., object], **options: object):
    """Run a study with an engine; return summary and what was told."""
    session, told = open_session(folder), StringIO()
    store = open_store(folder, create=True)
    register_study(store, session.plan, session.settings, session.facts, None)
    driver = Driver(session.plan, session.registry, session.settings, store, RunOptions(**options))
    todo = driver.todo()
    with Reporter(len(todo), Console(file=told, width=200)) as reporter:
        summary = driver.run(make_engine(session), reporter, todo)
    store.close()
    return summary, told.getvalue()


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> Path:
    """The study run in this process; not to be changed."""
    folder = write_small(tmp_path_factory.mktemp("inline") / "small", harmless=True)
    summary, _ = run(folder, lambda session: InProcess(session.registry, print))
    assert (summary.done, summary.failed) == (28, 0)
    assert len(Evidence.of(folder).tables) == 4
    return folder


def test_a_worker_killed_in_mid_group_is_replaced_and_the_rows_are_the_same(tmp_path, expected, command):
    folder = write_small(tmp_path / "small", harmless=False)
    result = command("run", folder, "--workers", "2")
    assert result.code == 0, result.err
    assert "28 cells done, 0 failed" in result.out
    assert result.out.count("a worker process ended (SIGKILL); sent again, with what is done: group") == 1
    assert_same(folder, expected)
    assert read_database(folder).meta["counters"]["cells"] == 28
    assert not [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


class Flaky:
    """Loses every process after so many rows."""

    def __init__(self, rows: int) -> None:
        self.rows, self.sent = rows, 0

    def events(self, next_task: Callable[[], GroupTask | None]) -> Iterator[tuple[str, Event]]:
        while (task := next_task()) is not None:
            self.sent += 1
            rows = 0
            for event in work_group(task, Workbench(make_registry(task.folder))):
                if isinstance(event, Row):
                    rows += 1
                    if rows > self.rows:
                        yield task.group.id, Lost("gone")
                        break
                yield task.group.id, event


def test_the_most_costly_groups_are_handed_out_first(tmp_path):
    session = open_session(write_small(tmp_path / "small", harmless=True))
    first, second = (group.id for group in session.plan.groups)
    handed = []

    class Recording:
        def events(self, next_task: Callable[[], GroupTask | None]) -> Iterator[tuple[str, Event]]:
            while (task := next_task()) is not None:
                handed.append(task.group.id)
            yield from ()

    for work in (None, {first: 1.0, second: 2.0}, {first: 2.0, second: 2.0}):
        with closing(open_store(tmp_path / "small", create=True)) as store:
            driver = Driver(session.plan, session.registry, session.settings, store, RunOptions())
            driver.run(Recording(), Reporter(0, Console(file=StringIO())), driver.todo(), work)
    assert handed == [first, second, second, first, first, second]


def test_a_group_that_gets_on_is_sent_again_however_often_it_is_lost(tmp_path, expected):
    folder, engine = write_small(tmp_path / "small", harmless=True), Flaky(rows=4)
    summary, told = run(folder, lambda _: engine)
    assert (summary.done, summary.failed) == (28, 0)
    assert engine.sent == 2 * 4  # 4 + 4 + 4 + 2 rows
    assert told.count("gone; sent again, with what is done: group 1/2: digits, digits_cnn, seed 0") == 3
    assert_same(folder, expected)


def test_a_group_that_gets_no_further_is_given_up_and_can_be_retried(tmp_path, expected):
    folder, engine = write_small(tmp_path / "small", harmless=True), Flaky(rows=0)
    summary, _ = run(folder, lambda _: engine)
    assert engine.sent == 2 * LOSSES
    assert (summary.done, summary.failed) == (0, 28)
    assert set(summary.failures) == {f"gone, {LOSSES} times in a row"}
    run(folder, lambda session: InProcess(session.registry, print), retry_failed=True)
    assert_same(folder, expected)


def test_other_code_or_data_than_planned_is_refused(tmp_path):
    folder = write_small(tmp_path / "small", harmless=True)

    def edited(session):
        (folder / "mine.py").write_text(PLUGIN.replace("* 2", "* 3"))
        return InProcess(make_registry(folder), print)

    with pytest.raises(UserError, match=r"scorer './mine.py:deadly': has another version than when the run began"):
        run(folder, edited)


def test_other_data_or_models_than_planned_are_refused(tmp_path):
    class Other(InProcess):
        def events(self, next_task):
            task = next_task()
            recipe = task.model.model_copy(update={"recipe": {"epochs": 2}})
            for event in work_group(replace(task, model=recipe), self._bench):
                yield task.group.id, event

    with pytest.raises(UserError, match="the model's code or its checkpoint is not what it was when the run began"):
        run(write_small(tmp_path / "small", harmless=True), lambda session: Other(session.registry, print))


def test_gpus_are_dealt_out(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-8a")
    settings = Settings("float32", "contiguous", 512, "cuda", 1)
    assert local_engine(settings, None, Path(), None, print).places == ["2", "GPU-8a"]
    assert local_engine(settings, None, Path(), 3, print).places == ["2", "GPU-8a", "2"]
    assert isinstance(local_engine(settings, None, Path(), 1, print), InProcess)
    on_cpu = Settings("float32", "contiguous", 512, "cpu", 1)
    assert isinstance(local_engine(on_cpu, None, Path(), None, print), InProcess)
    many = local_engine(on_cpu, None, Path(), 2, print)
    assert isinstance(many, Processes)
    assert many.places == [None, None]
