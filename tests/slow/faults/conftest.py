"""A small study that was run to its end, and a copy of it to be harmed."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from evidence import Evidence, write_study
from kill_driver import start


@dataclass(frozen=True)
class Finished:
    """An undisturbed run: its folder (not to be changed), evidence, seconds and how often it entered every stage."""

    folder: Path
    evidence: Evidence
    seconds: float
    entries: dict[str, int]


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Finished:
    place = tmp_path_factory.mktemp("undisturbed")
    folder = write_study(place / "study")
    start(place / "scratch", "run", write_study(place / "first")).wait()  # later ones take a fraction of its time
    begun = time.monotonic()
    run = start(place / "scratch", "run", folder)
    assert run.wait() == 0, run.output()
    seconds = time.monotonic() - begun
    return Finished(folder, Evidence.of(folder), seconds, run.entries())


@pytest.fixture
def study(finished, tmp_path) -> Path:
    """A finished study of the test's own."""
    return Path(shutil.copytree(finished.folder, tmp_path / "study"))


@pytest.fixture
def prunebench(tmp_path):
    """Run ``prunebench ARGUMENTS`` in a fork; return exit code and output."""

    def run(*arguments: object) -> tuple[int, str]:
        process = start(tmp_path / "scratch", *arguments)
        code = process.wait()
        assert "Traceback" not in process.output()
        return code, process.output().strip()

    return run


@pytest.fixture
def mount(tmp_path):
    """Mount a file system of some KiB in memory; skip where that is not allowed."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a file system needs root")
    mounted = []

    def at(place: Path, size: int) -> None:
        place.mkdir(exist_ok=True)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", place], check=False).returncode != 0:
            pytest.skip("this machine does not let us mount a file system")
        mounted.append(place)

    yield at
    for place in reversed(mounted):
        subprocess.run(["umount", place], check=True)
