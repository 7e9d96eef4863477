"""Processor time of whole commands, imports included: ``python -m tests.speed --startup``."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "reports" / "digits"
STUDY = """
name: small
data: digits
models: [{name: digits_cnn, recipe: {epochs: 1}}]
train_seeds: 2
granularities: [weight]
scorers: [magnitude, random, taylor]
sparsities: [0.5, 0.8]
"""
#: Seconds of processor time that a command may take: one that only reads, one that reports a mistake, and `plan`.
READS, REFUSES, PLANS = 0.5, 1.0, 5.0


@dataclass(frozen=True)
class Timed:
    """A command, whose capital words are folders: the seconds that it may take (None: no goal), and its exit code."""

    command: str
    goal: float | None
    code: int = 0


COMMANDS = (
    *(
        Timed(command, READS)
        for command in (
            "--help", "list scorers", "list models", "list recipes", "list templates", "new NEW", "status SMALL",
            "show SMALL 0",
        )
    ),
    *(
        Timed(command, REFUSES, 2)
        for command in (
            "plan ABSENT", "run ABSENT", "status ABSENT", "claims ABSENT", "report ABSENT", "plan BAD", "run BAD",
            "run UNCLAIMED", "claims UNCLAIMED", "report UNCLAIMED",
        )
    ),
    Timed("plan SMALL", PLANS),
    Timed("plan DIGITS", PLANS),
    *(Timed(command, None) for command in ("claims SMALL", "power SMALL", "kappa rank", "doctor")),
)  # fmt: skip


def make_folders(scratch: Path) -> dict[str, Path]:
    """Make the folders that `COMMANDS` name: a finished study of 14 cells, the digits report and three mistakes.

    Parameters
    ----------
    scratch : Path
        An empty folder.

    Returns
    -------
    dict of str to Path
        Word of a command -> folder; those of NEW and ABSENT do not exist.
    """
    places = {word: scratch / word.lower() for word in ("SMALL", "DIGITS", "BAD", "UNCLAIMED", "NEW", "ABSENT")}
    shutil.copytree(REPORT, places["DIGITS"])
    for word in ("SMALL", "BAD", "UNCLAIMED"):
        places[word].mkdir()
        (places[word] / "study.yaml").write_text(STUDY)
        (places[word] / "claims.yaml").write_text("version: 2\ninclude: [sics]\n")
    run("run SMALL", places)
    shutil.copy(places["SMALL"] / "results.db", places["UNCLAIMED"])
    (places["BAD"] / "study.yaml").write_text(STUDY.replace("magnitude", "magnitud"))
    (places["UNCLAIMED"] / "claims.yaml").write_text("version: 2\ninclude: [no-such-paper]\n")
    return places


def run(command: str, places: Mapping[str, Path]) -> tuple[float, int]:
    """Run ``prunebench COMMAND`` on one thread; return user and system seconds of the process, and its exit code."""
    words = [str(places.get(word, word)) for word in command.split()]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "prunebench", *words], cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, check=False,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.returncode


def measure_startup(repetitions: int, commands: tuple[Timed, ...] = COMMANDS) -> list[tuple[Timed, float]]:
    """Time commands in turn, several times.

    Parameters
    ----------
    repetitions : int
        Number of times; the least is kept, since other processes can only add to the time.
    commands : tuple of Timed
        The commands.

    Returns
    -------
    list of (Timed, float)
        Each command with its seconds of processor time.

    Raises
    ------
    RuntimeError
        If a command ends with another exit code than it should.
    """
    seconds: dict[Timed, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        places = make_folders(Path(scratch))
        for _ in range(repetitions):
            for timed in commands:
                shutil.rmtree(places["NEW"], ignore_errors=True)
                spent, code = run(timed.command, places)
                if code != timed.code:
                    raise RuntimeError(f"prunebench {timed.command}: exit code {code} instead of {timed.code}")
                seconds[timed] = min(spent, seconds.get(timed, spent))
    return list(seconds.items())


def print_startup(found: list[tuple[Timed, float]], console: Console) -> None:
    """Print a line per command: its processor time, the goal and whether it is met."""
    table = Table("Command", "CPU (s)", "Goal (s)", "Met", box=None, pad_edge=False)
    for timed, seconds in found:
        goal = "-" if timed.goal is None else f"{timed.goal:g}"
        met = "-" if timed.goal is None else ("met" if seconds <= timed.goal else "missed")
        table.add_row(f"prunebench {timed.command}", f"{seconds:.2f}", goal, met)
    console.print(table)
