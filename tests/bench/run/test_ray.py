"""Tests of `bench.run.ray` without a cluster; tests/slow/test_ray.py starts one."""

from __future__ import annotations

import shutil
import socket
import sys
from dataclasses import replace

import pytest

from bench.core.errors import UserError
from bench.core.provenance import package_versions
from bench.run.group import GroupTask
from bench.run.open_study import open_study
from bench.store.files import Artifacts


def test_ray_that_is_absent_is_one_line_and_exit_code_2(tiny, command, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "bench.run.ray", raising=False)
    result = command("run", tiny, "--engine", "ray")
    assert result.code == 2
    assert result.err == "error: --engine ray needs Ray, which is not installed: pip install ray\n"
    assert not (tiny / "results.db").exists()


def test_an_unknown_engine_gets_the_nearest_name(tiny, command):
    assert "no engine named 'rey': did you mean 'ray'?" in command("run", tiny, "--engine", "rey").err
    assert "belongs to --engine ray" in command("run", tiny, "--address", "auto").err


@pytest.fixture
def engine():
    pytest.importorskip("ray", reason="Ray is not installed")
    from bench.run import ray

    return ray


@pytest.mark.parametrize(
    ("address", "reason"),
    [("127.0.0.1:1", "refused"), ("127.0.0.1:x", "HOST:PORT"), ("ray://h:1", "HOST:PORT"), ("garbage", "HOST:PORT")],
)
def test_an_address_without_a_cluster_is_one_line(engine, address, reason):
    with pytest.raises(UserError, match=f"--engine ray: no cluster at {address}: .*{reason}"):
        engine.check_address(address)


def test_a_server_that_is_no_cluster_is_refused_in_time(engine):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(UserError, match=f"no cluster at {address}: the server there is not the head node of Ray"):
            engine.check_address(address, seconds=3)


def test_plugins_reach_a_worker_that_does_not_see_the_study(engine, tmp_path):
    study = tmp_path / "study"
    (study / "parts").mkdir(parents=True)
    for made in ("artifacts", "report", ".venv"):
        (study / made).mkdir()
        (study / made / "not_mine.py").write_text("")
    (study / "mine.py").write_text("def f(view, calibration, generator):\n    return 42\n")
    (study / "parts" / "deep.py").write_text("def g(view, calibration, generator):\n    return 43\n")
    files = engine.python_files(study)
    assert [name for name, _ in files] == ["mine.py", "parts/deep.py"]
    shutil.rmtree(study)
    registry = engine.workbench_of(files).registry
    assert registry.get("scorer", "./mine.py:f").function(None, None, None) == 42
    assert registry.get("scorer", "./parts/deep.py:g").function(None, None, None) == 43


@pytest.fixture
def task(tiny) -> GroupTask:
    session = open_study(tiny)
    return GroupTask(
        "group 1/2", session.plan.groups[0], 2, session.study.file.data[0], session.study.file.models[0],
        session.settings, tiny, Artifacts.of(tiny), None, None, frozenset(), (), False, frozenset(),
    )  # fmt: skip


def test_a_node_unlike_the_driver_is_refused_by_name(engine, task):
    versions = package_versions()
    with pytest.raises(UserError, match=r"^node .*: torch is .* here and 1.0 where the run was started"):
        next(engine.compute_on_node(task, (), {**versions, "torch": "1.0"}))
    elsewhere = replace(task, folder=task.folder / "absent")
    with pytest.raises(UserError, match="where the dense models are kept: begin the study with `run --artifacts URL`"):
        next(engine.compute_on_node(elsewhere, (), versions))
    shared = replace(elsewhere, artifacts=Artifacts.at("memory://study"))
    assert next(engine.compute_on_node(shared, (), versions)).text == "group 1/2"
    other = replace(task, settings=replace(task.settings, device_class="NVIDIA H200"))
    with pytest.raises(UserError, match="this study was begun on 'NVIDIA H200', this machine has 'cpu'"):
        next(engine.compute_on_node(other, (), versions))
