"""Tests of `bench.run.local`."""

from __future__ import annotations

from pathlib import Path

import psutil
from evidence import assert_same

from bench.core.types import Settings
from bench.plugins.catalogue import make_registry
from bench.run.local import InProcessEngine, MultiProcessEngine, local_engine
from bench.store.reader import read_database

ON_GPU = Settings("float32", "contiguous", 512, "cuda", 1)
ON_CPU = Settings("float32", "contiguous", 512, "cpu", 1)


def test_a_worker_killed_within_a_group_is_replaced_and_the_rows_are_the_same(
    tmp_path, write_small, finished_small, command
):
    folder = write_small(tmp_path / "small", harmless=False)
    result = command("run", folder, "--workers", "2")
    assert result.code == 0, result.err
    assert "28 cells done, 0 failed" in result.out
    line = "a worker process ended (SIGKILL); another process continues after the finished cells: group"
    assert result.out.count(line) == 1
    assert_same(folder, finished_small)
    assert read_database(folder).meta["counters"]["cells"] == 28
    assert not [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


def test_gpus_are_assigned_in_turn(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-8a")
    registry = make_registry()
    assert local_engine(ON_GPU, registry, Path(), None, print).gpu_of_process == ["2", "GPU-8a"]
    assert local_engine(ON_GPU, registry, Path(), 3, print).gpu_of_process == ["2", "GPU-8a", "2"]
    assert isinstance(local_engine(ON_GPU, registry, Path(), 1, print), InProcessEngine)


def test_a_cpu_computes_in_this_process_unless_workers_are_requested():
    registry = make_registry()
    assert isinstance(local_engine(ON_CPU, registry, Path(), None, print), InProcessEngine)
    several = local_engine(ON_CPU, registry, Path(), 2, print)
    assert isinstance(several, MultiProcessEngine)
    assert several.gpu_of_process == [None, None]
