"""A tiny real study and a way to run the command line in this process."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from bench.cli import main

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
include: [sics, asr]
"""


@dataclass
class CommandResult:
    code: int
    out: str
    err: str


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
        words = [sys.executable, "-m", "bench.cli", *map(str, arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, check=False
        )

    return run


@pytest.fixture(scope="session")
def finished_tiny(tmp_path_factory, write_tiny, run_command) -> Path:
    """A tiny study that was run to its end, in a process of its own; not to be changed."""
    folder = write_tiny(tmp_path_factory.mktemp("session") / "tiny")
    done = run_command("run", folder)
    assert done.returncode == 0, done.stdout
    return folder


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
