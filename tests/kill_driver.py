"""Run the command line in a forked process that can be killed, for good, at the n-th entry into a chosen stage.

The imports, which take longer than a tiny study, are done once, in a fork server. A fork is a process like any other:
it runs `main`, and SIGKILL ends it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import torch
from torch import nn

import bench.measure.alignment
import bench.measure.recheck
import bench.measure.scoring
import bench.store.database
from bench.measure.evaluator import Evaluation, Evaluator
from bench.store.files import Artifacts
from prunebench.cli import main

STAGES = (
    "training", "scoring", "evaluation", "checks", "alignment", "writing a table", "between write and rename",
    "within a commit",
)  # fmt: skip
#: Where a process is that is in no stage.
ELSEWHERE = "elsewhere"

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(
    [
        "prunebench.cli",
        "bench.run.open_study",
        "bench.run.driver",
        "bench.run.local",
        "analysis.claims.read",
        "sklearn.datasets",
    ]
)


@dataclass(frozen=True)
class Run:
    """A command at work in a process of its own.

    Attributes
    ----------
    process : Process
        Its process.
    folder : Path
        Holds ``output`` (what it printed) and ``stages``.
    """

    process: BaseProcess
    folder: Path

    def wait(self, seconds: float = 300) -> int:
        """Return the exit code, minus the signal where one ended it."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, f"still runs after {seconds} s: {self.output()}"
        return self.process.exitcode

    def output(self) -> str:
        return (self.folder / "output").read_text()

    def place(self) -> str:
        """Return the innermost stage in which the process is or was last."""
        return str(self._stages()["place"])

    def entries(self) -> dict[str, int]:
        """Return how often every stage was entered."""
        entries: dict[str, int] = self._stages()["entries"]
        return entries

    def unwritten(self) -> int:
        """Return how many evaluations began after the last transaction ended."""
        stages = self._stages()
        return int(stages["entries"].get("evaluation", 0)) - int(stages.get("written", 0))

    def _stages(self) -> dict[str, Any]:
        path = self.folder / "stages"
        text = path.read_text() if path.exists() else ""
        return dict(json.loads(text)) if text else {"place": "before the first stage", "entries": {}}


def start(scratch: Path, *arguments: object, stage: str = "", count: int = 0, clock: Path | None = None) -> Run:
    """Start ``prunebench ARGUMENTS``.

    Parameters
    ----------
    scratch : Path
        A folder for what the run prints; made anew.
    stage, count
        The process kills itself at this entry of this stage; an empty stage is never entered.
    clock
        A file with the seconds by which the clock is wrong, read whenever the time is.
    """
    scratch.mkdir(exist_ok=True)
    for name in ("output", "stages"):
        (scratch / name).unlink(missing_ok=True)
    process = _forks.Process(target=_drive, args=(scratch, [str(word) for word in arguments], stage, count, clock))
    process.start()
    return Run(process, scratch)


def _drive(scratch: Path, arguments: list[str], stage: str, count: int, clock: Path | None) -> None:
    output = os.open(scratch / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(output, stream)
    _watch(os.open(scratch / "stages", os.O_WRONLY | os.O_CREAT), stage, count)
    if clock is not None:
        _set_clock(clock)
    sys.argv = ["prunebench", *arguments]
    main()


def _set_clock(clock: Path) -> None:
    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) + timedelta(seconds=int(clock.read_text() or 0))

    bench.store.database.datetime = Wrong


def _watch(log: int, stage_to_kill: str, count: int) -> None:
    """Note in `log` where this process is, in a few bytes that are overwritten."""
    entries, written = dict.fromkeys(STAGES, 0), 0
    inside = [ELSEWHERE]

    def note() -> None:
        state = {"place": inside[-1], "entries": entries, "written": written}
        os.pwrite(log, json.dumps(state).ljust(300).encode(), 0)

    @contextmanager
    def enter(stage: str) -> Iterator[None]:
        entries[stage] += 1
        inside.append(stage)
        note()
        if stage == stage_to_kill and entries[stage] == count:
            os.kill(os.getpid(), signal.SIGKILL)
        yield
        inside.pop()
        note()

    def watched(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with enter(stage):
                return function(*args, **kwargs)

        return wrapper

    evaluate_all = Evaluator.evaluate_all

    def watched_one_by_one(self: Evaluator, models: Iterable[nn.Module], *args: Any) -> list[Evaluation]:
        def each() -> Iterator[nn.Module]:
            for model in models:
                with enter("evaluation"):
                    pass
                yield model

        return evaluate_all(self, each(), *args)

    def commit(_connection: sa.Connection) -> None:
        with enter("within a commit"):  # the statements of the transaction have run, its commit has not
            pass

    def committed(*_: object) -> None:
        nonlocal written
        written = entries["evaluation"]
        note()

    torch.optim.AdamW.step = watched("training", torch.optim.AdamW.step)
    bench.measure.scoring.keep_order = watched("scoring", bench.measure.scoring.keep_order)
    Evaluator.evaluate = watched("evaluation", Evaluator.evaluate)
    Evaluator.evaluate_all = watched_one_by_one
    bench.measure.recheck.check_cell = watched("checks", bench.measure.recheck.check_cell)
    bench.measure.alignment.alignment_tables = watched("alignment", bench.measure.alignment.alignment_tables)
    Artifacts.write_table = watched("writing a table", Artifacts.write_table)
    os.replace = watched("between write and rename", os.replace)
    sa.event.listen(sa.Engine, "commit", commit)
    sa.event.listen(sa.pool.Pool, "checkin", committed)  # a connection comes back after its commit
