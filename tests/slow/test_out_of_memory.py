"""A real lack of memory on the CPU: the process may not map much more than it has when the run begins."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.store.reader import read_database

pytestmark = pytest.mark.slow

#: Every image takes 4 MiB on its way through the network.
MODEL = """\
import torch
from torch import nn


class Fat(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.narrow, self.head = nn.Linear(64, 64), nn.Linear(64, num_classes)

    def forward(self, x):
        x = self.narrow(x.flatten(1))
        return self.head((x.repeat(1, 2**14) + 1).view(len(x), 2**14, 64).mean(dim=1))

    def get_classifier(self):
        return self.head


def fat(num_classes):
    return Fat(num_classes)
"""
STUDY = """\
name: fat
data: [digits]
models: [{{name: ./fat.py:fat, recipe: {{epochs: 1, batch: {train_batch}}}}}]
train_seeds: 1
calibration: {{images: 128, batch: 128}}
scorers: [magnitude, taylor, wanda, obs]
corrections: [none, asr, reconstruct]
sparsities: [0.5]
execution: {{batch: 400}}
"""
CHILD = """\
import resource, sys
from pathlib import Path
from prunebench.cli import main

def call(*words):
    sys.argv = ["prunebench", *words]
    try:
        main()
    except SystemExit as stop:
        return stop.code or 0
    return 0

folder, room = sys.argv[1], int(sys.argv[2]) * 2**20
assert call("plan", folder) == 0  # all is imported, and what torch needs at first use is there
mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (mapped + room, mapped + room))
sys.exit(call("run", folder))
"""


def run_with(room: int, folder: Path, train_batch: int = 4) -> subprocess.CompletedProcess[str]:
    """Run the study in a process that may map so many MiB more than it has after `plan`."""
    (folder / "fat.py").write_text(MODEL)
    (folder / "study.yaml").write_text(STUDY.format(train_batch=train_batch))
    words = [sys.executable, "-c", CHILD, str(folder), str(room)]
    return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the mapped memory is read from Linux's /proc")
def test_batches_are_halved_and_the_run_goes_on(tmp_path):
    done = run_with(600, tmp_path)
    assert done.returncode == 0, done.stdout
    rows = read_database(tmp_path).rows
    assert set(rows["state"]) == {"done"}
    assert rows["batch_halved"].max() > 0
    parts = {json.loads(notes).get("calibration_part") for notes in rows["notes"]}
    assert parts - {None}, "no calibration batch was cut"
    assert max(parts - {None}) < 128


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the mapped memory is read from Linux's /proc")
def test_what_cannot_fit_fails_and_nothing_crashes(tmp_path):
    done = run_with(300, tmp_path, train_batch=256)
    assert done.returncode == 2, done.stdout
    assert "cells failed" in done.stdout
    assert "Traceback" not in done.stdout
    rows = read_database(tmp_path).rows
    assert rows["reason"].str.contains("dense model: .*memory").all()
