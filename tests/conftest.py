"""A tiny real study and a way to run the command line in this process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from hypothesis import settings

from prunebench.cli import app, main

settings.register_profile("untimed", deadline=None)  # a busy machine fails no test
settings.load_profile("untimed")
sys.path.append(str(Path(__file__).parent))  # evidence and kill_driver, which forked processes import by name

TINY_STUDY = """\
name: tiny
data: [digits]
models:
  - {name: digits_cnn, recipe: {epochs: 3}}
train_seeds: 2
granularities: [weight, channel]
scorers: [random, magnitude, exp_magnitude, l2, taylor]
allocations: [uniform, global]
sparsities: [0.5, 0.8]
corrections: [none, asr]
recalibrations: [none, cumulative]
exclude:
  - name: corrections only for magnitude
    where: {correction: {not: none}, scorer: {not: magnitude}}
profiles:
  one:
    train_seeds: 1
    granularities: [weight]
    scorers: [magnitude, exp_magnitude]
    allocations: [global]
"""

TINY_CLAIMS = """\
version: 2
include: [sics, asr]
"""
#: Sets an attribute of the page, or of the figure opened alone, if any of it is ever obeyed.
RUN = "document.documentElement.setAttribute('data-ran', 1)"
HOSTILE = (
    f"<script>{RUN}</script>", f"\"><img src=x onerror=\"{RUN}\">", f"</style></title><svg onload=\"{RUN}\">",
    f"]]>--><script>{RUN}</script>", f"javascript:{RUN}", f"'><a href=\"javascript:{RUN}\">x</a>",
    "{{ 7 * 7 }}{% raw %}",
)  # fmt: skip


#: Fixtures that train a network or run a study.
TRAINING = frozenset(
    {
        "command", "dense", "finished_small", "finished_tiny", "hostile_study", "run_command", "run_with", "session",
        "tiny", "write_small", "write_tiny",
    }
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use one of `TRAINING`, directly or through another fixture."""
    for item in items:
        if not TRAINING.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker("trains")


@dataclass
class CommandResult:
    code: int
    out: str
    err: str


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard():
    """A shell has what it starts in the background ignore Ctrl-C, and so would every run of a test."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def write_tiny():
    """Write the tiny study into a folder; it runs in seconds."""

    def write(folder: Path) -> Path:
        folder.mkdir(exist_ok=True)
        (folder / "study.yaml").write_text(TINY_STUDY)
        (folder / "claims.yaml").write_text(TINY_CLAIMS)
        return folder

    return write


@pytest.fixture
def tiny(tmp_path, write_tiny) -> Path:
    """A tiny study folder of the test's own."""
    return write_tiny(tmp_path / "tiny")


@pytest.fixture(scope="session")
def run_command():
    """Run ``prunebench ARGUMENTS`` in another process, on one thread."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "prunebench", *map(str, arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, check=False
        )

    return run


@pytest.fixture(scope="session")
def make_once(tmp_path_factory):
    """Make a folder in one pytest-xdist worker and copy it in the others: each worker has its own."""
    temporary = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        temporary = temporary.parent  # the one folder that all workers of a session have in common

    def make(kind: str, name: str, fill: Callable[[Path], object]) -> Path:
        mine, shared = tmp_path_factory.mktemp("session") / name, temporary / kind
        with FileLock(temporary / f"{kind}.lock"):
            if shared.exists():
                shutil.copytree(shared, mine)
            else:
                fill(mine)
                shutil.copytree(mine, shared)
        return mine

    return make


@pytest.fixture(scope="session")
def finished_tiny(make_once, write_tiny, run_command) -> Path:
    """A tiny study that was run to its end, in another process; not to be changed."""

    def fill(folder: Path) -> None:
        done = run_command("run", write_tiny(folder))
        assert done.returncode == 0, done.stdout

    return make_once("finished_tiny", "tiny", fill)


@pytest.fixture(scope="session")
def hostile_names() -> tuple[str, ...]:
    """Names that are markup."""
    return HOSTILE


def write_hostile(folder: Path) -> None:
    """Write a study in which every name that its author may choose is markup."""
    folder.mkdir()
    script, image, style, comment, address, anchor, template = HOSTILE
    file = "<img src=x onerror=1> [a]*.py"
    (folder / file).write_text(
        "from bench.scorers.magnitude import magnitude\n"
        "def score(view, calibration, generator):\n    return magnitude(view, calibration, generator)\n"
    )
    study = {
        "name": style, "description": " ".join(HOSTILE), "data": [{"name": "digits", "label": f"../../{image}"}],
        "models": [{"name": "digits_cnn", "label": f"/{script}{comment}", "recipe": {"epochs": 1}}], "train_seeds": 1,
        "scorers": ["magnitude", "random", "taylor", f"./{file}:score"], "granularities": ["weight", "channel"],
        "sparsities": [0.5, 0.8], "recalibrations": ["none", "cumulative"],
        "exclude": [{"name": anchor, "where": {"granularity": "channel", "scorer": "random"}}],
        "profiles": {template: {}},
    }  # fmt: skip
    part = {"id": image, "text": anchor, "estimand": "contrast", "kind": "superiority", "of": ["random"],
            "against": "magnitude", "margin_reason": template,
            "readings": {script: {style: {}, image: {"random": "taylor"}}}}  # fmt: skip
    claim = {"id": f"[{address}]({address})", "text": script, "source": style, "parts": [part]}
    (folder / "study.yaml").write_text(json.dumps(study))
    (folder / "claims.yaml").write_text(json.dumps({"version": 2, "claims": [claim]}))


@pytest.fixture(scope="session")
def hostile_study(make_once) -> Path:
    """A study that was run and reported, in which every name that its author may choose is markup."""

    def fill(folder: Path) -> None:
        write_hostile(folder)
        threads = torch.get_num_threads()
        for name in ("run", "report"):
            assert not app([name, str(folder)], standalone_mode=False)
        torch.set_num_threads(threads)

    return make_once("hostile_study", "<img src=x onerror=alert(1)> [red]?#%41", fill)


@pytest.fixture
def command(capsys, monkeypatch):
    """Run ``prunebench ARGUMENTS`` in this process; return exit code and output."""

    def run(*arguments: object) -> CommandResult:
        monkeypatch.setattr(sys, "argv", ["prunebench", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return CommandResult(code, captured.out, captured.err)

    return run


@pytest.fixture(autouse=True)
def _same_threads():
    """A run sets torch's threads; give the next test the old number back."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
