"""A driver with worker processes is stopped: what is finished is kept, and no process stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from evidence import finished

from bench.store.reader import read_database

pytestmark = pytest.mark.slow


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "prunebench", "run", str(folder), "--workers", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def eventually(true: Callable[[], bool], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def at_work(folder: Path) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """Start a run; return it and all of its processes once both groups have rows."""
    driver = start(folder)
    eventually(lambda: 20 < finished(folder) < 150)
    children = psutil.Process(driver.pid).children(recursive=True)
    assert sum("spawn_main" in " ".join(child.cmdline()) for child in children) == 2
    return driver, children


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_keeps_what_is_finished_and_stops_the_workers(tiny, finished_tiny, times):
    driver, children = at_work(tiny)
    for _ in range(times):
        for process in (*children, driver):  # a terminal tells all of them
            process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    output, _ = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert "Traceback" not in output
    assert times == 2 or output.splitlines()[-1].startswith("interrupted; all finished cells are kept")
    eventually(lambda: not any(child.is_running() for child in children), 20)
    kept = finished(tiny)
    assert kept > 20
    driver = start(tiny)
    output, _ = driver.communicate(timeout=300)
    assert driver.returncode == 0
    assert f"{kept} already there" in output
    assert len(read_database(tiny).rows) == len(read_database(finished_tiny).rows)


def test_workers_end_with_their_driver(tiny):
    driver, children = at_work(tiny)
    driver.kill()
    output, _ = driver.communicate(timeout=60)
    eventually(lambda: not any(child.is_running() for child in children), 20)
    assert "Traceback" not in output
