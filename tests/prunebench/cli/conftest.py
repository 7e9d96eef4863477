"""Fixtures of the command line's tests."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

#: Largest processor time of one command on a damaged file.
SECONDS = 10


@pytest.fixture
def finished(finished_tiny, tmp_path) -> Path:
    """A copy of a finished study that a test may change."""
    return Path(shutil.copytree(finished_tiny, tmp_path / "finished"))


@pytest.fixture
def edit_study():
    """Replace a text of a folder's study.yaml, which must be in it."""

    def edit(folder: Path, old: str, new: str) -> None:
        path = folder / "study.yaml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return edit


@pytest.fixture
def ends_well(command):
    """Run a command that must end soon, with exit code 0, or 2 and one line."""

    def run(*arguments: object) -> int:
        start = time.process_time()
        done = command(*arguments)
        assert time.process_time() - start < SECONDS, arguments
        assert done.code in (0, 2), (arguments, done)
        if done.code == 2:
            lines = done.err.splitlines()
            assert len(lines) == 1, (arguments, done)
            assert lines[0].startswith("error: "), (arguments, done)
            assert len(lines[0]) < 2000, (arguments, done)
        return done.code

    return run
