"""A disk that fills up in mid-run, a real one: a small file system in memory."""

from __future__ import annotations

import os
import shutil
import subprocess

import pandas as pd
import pytest

from bench.store.reader import read_database
from bench.store.schema import VOLATILE

pytestmark = pytest.mark.slow


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 600 KiB: room for one dense model and some rows."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a file system needs root")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", place], check=False)
    if mounted.returncode != 0:
        pytest.skip("this machine does not let us mount a file system")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_stops_with_one_line_and_loses_nothing(small_disk, write_tiny, run_command, finished_tiny):
    folder = write_tiny(small_disk / "tiny")
    full = run_command("run", folder)
    assert full.returncode == 2
    last = full.stdout.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert "make room" in last or "free some space" in last
    subprocess.run(["mount", "-o", "remount,size=50m", small_disk], check=True)
    before = len(read_database(folder).rows.query("state == 'done'"))
    again = run_command("run", folder)
    assert again.returncode == 0, again.stdout
    rows, expected = read_database(folder).rows, read_database(finished_tiny).rows
    assert 0 <= before < len(rows)
    pd.testing.assert_frame_equal(rows.drop(columns=list(VOLATILE)), expected.drop(columns=list(VOLATILE)))
