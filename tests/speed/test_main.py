"""``python -m tests.speed`` in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_absent_data_are_one_line_and_exit_code_2():
    environment = {name: value for name, value in os.environ.items() if name != "PRUNEBENCH_DATA"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.speed", "--on", "cifar10"], cwd=Path(__file__).parents[2], env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "PRUNEBENCH_DATA is not set" in done.stderr
