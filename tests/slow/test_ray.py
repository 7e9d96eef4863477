"""A real Ray cluster of two nodes on this machine gives the rows of one process, whatever dies."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from evidence import assert_same, finished

from bench.store.reader import read_database

cluster_utils = pytest.importorskip("ray.cluster_utils", reason="Ray is not installed")
pytestmark = pytest.mark.slow


@pytest.fixture
def cluster() -> Iterator[cluster_utils.Cluster]:
    """Two nodes with room for one group each."""
    made = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    made.add_node(num_cpus=1)
    yield made
    made.shutdown()


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a run on the cluster; none is left when the test ends."""
    started = []

    def begin(folder: Path, cluster: cluster_utils.Cluster) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "prunebench", "run", folder, "--engine", "ray", "--address", cluster.address]
        process = subprocess.Popen(
            [str(word) for word in words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output
    assert "Traceback" not in output
    return output


def at_work(cluster: cluster_utils.Cluster) -> list[psutil.Process]:
    """Return the cluster's processes that work on a group."""
    raylets = [node.all_processes["raylet"][0].process.pid for node in cluster.list_all_nodes()]
    children = [child for raylet in raylets for child in psutil.Process(raylet).children(recursive=True)]
    return [child for child in children if works(child)]


def works(process: psutil.Process) -> bool:
    try:
        return "ray::compute_on_node" in process.cmdline()
    except psutil.Error:  # it has ended
        return False


def until_mid_run(folder: Path, cluster: cluster_utils.Cluster) -> None:
    """Wait until both groups, of 98 rows each, are at work."""
    eventually(lambda: 10 < finished(folder) < 90 and len(at_work(cluster)) == 2)


def eventually(true: Callable[[], bool], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_two_nodes_give_the_rows_of_one_process(start, cluster, tiny, finished_tiny):
    output = finish(start(tiny, cluster))
    assert "180 cells done, 0 failed, 16 skipped" in output
    # both groups began before one ended, and no node has room for two
    assert max(output.index(f"group {n}/2") for n in (1, 2)) < output.index("evaluating a sample again")
    assert_same(tiny, finished_tiny)
    assert read_database(tiny).meta["counters"]["cells"] == 180


def test_a_killed_worker_is_replaced(start, cluster, tiny, finished_tiny):
    process = start(tiny, cluster)
    until_mid_run(tiny, cluster)
    at_work(cluster)[0].kill()
    assert output_tells_of_one_loss(finish(process))
    assert_same(tiny, finished_tiny)


def test_a_node_that_is_removed_leaves_its_group_to_the_other(start, cluster, tiny, finished_tiny):
    process = start(tiny, cluster)
    until_mid_run(tiny, cluster)
    cluster.remove_node(cluster.list_all_nodes()[1], allow_graceful=False)
    assert output_tells_of_one_loss(finish(process))
    assert_same(tiny, finished_tiny)


def output_tells_of_one_loss(output: str) -> bool:
    losses = re.findall(r"^a Ray worker was lost \(\w+\); another process continues .*: group ./2", output, re.M)
    return len(losses) == 1


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_driver_that_is_stopped_and_started_again_goes_on(start, cluster, tiny, finished_tiny, sent):
    process = start(tiny, cluster)
    until_mid_run(tiny, cluster)
    process.send_signal(sent)
    finish(process, -signal.SIGKILL if sent == signal.SIGKILL else 128 + sent)
    eventually(lambda: not at_work(cluster))  # no orphans
    kept = finished(tiny)
    output = finish(start(tiny, cluster))
    assert f"{kept} already there" in output
    assert_same(tiny, finished_tiny)


def test_nodes_that_are_too_small_are_reported(start, tiny):
    small = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        output = finish(start(tiny, small), code=2)
    finally:
        small.shutdown()
    assert "a group takes 1 CPUs and 0 GPUs, which no node of the cluster has" in output
