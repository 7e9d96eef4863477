"""The progress of a study is counted in its store."""

from __future__ import annotations

import subprocess
import sys

from bench.store import reader
from bench.store.status import read_status


def test_status_counts_what_the_rows_say(folder):
    rows, status = reader.read_database(folder).rows, read_status(folder)
    counted = rows["state"].value_counts()
    assert {state: status[state] for state in ("done", "failed")} == {"done": 2, "failed": 6} == {
        state: counted[state] for state in ("done", "failed")
    }  # fmt: skip
    assert (status["cells"], status["running"], status["todo"]) == (10, 0, 2)  # no run is there to finish the ninth
    assert status["failures"] == [
        {"reason": "wide", "count": 3, "cell": "1" * 8},
        {"reason": "slow", "count": 2, "cell": "0" * 8},
        {"reason": "narrow", "count": 1, "cell": "4" * 8},
    ]
    assert status["skips"] == []


def test_counting_needs_no_frames():
    code = "import sys; import bench.store.status; assert not {'pandas', 'pyarrow', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
