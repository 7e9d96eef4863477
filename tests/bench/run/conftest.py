"""A small study of two groups, and a way to run it with any engine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from bench.run.driver import Driver, RunOptions, RunSummary
from bench.run.local import InProcessEngine
from bench.run.open_study import open_study
from bench.run.progress import Reporter
from bench.store.database import open_store
from bench.study.begin import begin_study

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
from bench.models.tensors import ScoreMap

def deadly(view, calibration, generator):
    try:
        Path(__file__).with_name("happened").touch(exist_ok=False)
    except FileExistsError:
        return ScoreMap({name: m * 2 for name, m in view.magnitudes().items()})
    os.kill(os.getpid(), signal.SIGKILL)
"""


def _write(folder: Path, *, harmless: bool = True) -> Path:
    folder.mkdir()
    (folder / "study.yaml").write_text(STUDY)
    (folder / "mine.py").write_text(PLUGIN)
    if harmless:
        (folder / "happened").touch()
    return folder


def _run(folder: Path, make_engine: Callable[..., object], **options: object) -> tuple[RunSummary, str]:
    opened, output = open_study(folder), StringIO()
    with closing(open_store(folder, create=True)) as store:
        begin_study(store, opened.plan, opened.settings, opened.facts, None)
        driver = Driver(opened.plan, opened.registry, opened.settings, store, RunOptions(**options))
        todo = driver.todo()
        with Reporter(len(todo), Console(file=output, width=200)) as reporter:
            summary = driver.run(make_engine(opened), reporter, todo)
    return summary, output.getvalue()


@pytest.fixture(scope="session")
def write_small() -> Callable[..., Path]:
    """Write the small study into a new folder; its plug-in kills its process once unless it is harmless."""
    return _write


@pytest.fixture(scope="session")
def run_with() -> Callable[..., tuple[RunSummary, str]]:
    """Run a study with the engine that a callable makes of it; return the summary and the plain lines of progress."""
    return _run


@pytest.fixture(scope="session")
def finished_small(tmp_path_factory) -> Path:
    """The small study, run in this process; not to be changed."""
    folder = _write(tmp_path_factory.mktemp("inline") / "small")
    summary, _ = _run(folder, lambda opened: InProcessEngine(opened.registry, print))
    assert (summary.done, summary.failed) == (28, 0)
    return folder
