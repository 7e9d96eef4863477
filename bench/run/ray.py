"""The Ray engine: every group is a Ray task, and the driver takes what the tasks yield."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import ray
from ray.exceptions import RayError, RayTaskError

from bench.core.errors import UserError
from bench.core.provenance import package_versions
from bench.core.types import Settings
from bench.plugins.catalogue import make_registry
from bench.run.group import Ended, Event, GroupTask, Lost, Workbench, work_group

#: Path in the study folder and content of every Python file: plug-ins, and what they import.
Files: TypeAlias = tuple[tuple[str, bytes], ...]
#: Within which a cluster's head node must answer.
HEALTH_SECONDS = 60


@dataclass(frozen=True)
class RayEngine:
    """Works on groups wherever a Ray cluster has room for one.

    Attributes
    ----------
    settings : Settings
        A group takes as many CPUs as they have threads.
    folder : Path
        Study folder; its Python files reach every worker.
    address : str or None
        Of the cluster; None for the one that this machine belongs to, or else a new one on it alone.
    workers : int or None
        Groups at a time; None for as many as there is room for.
    gpus : float
        GPUs that a group takes where the device is CUDA; below 1, several groups share one.
    """

    settings: Settings
    folder: Path
    address: str | None = None
    workers: int | None = None
    gpus: float = 1.0

    def refuse_silent(self) -> None:
        """Raise `UserError` if no cluster answers at the address, before a store is made."""
        refuse_silent(_known(self.address))

    def events(self, next_task: Callable[[], GroupTask | None]) -> Generator[tuple[str, Event], None, None]:
        """Work on every task, as `bench.run.driver.Engine` says."""
        _connect(_known(self.address))
        try:
            yield from self._events(next_task)
        finally:
            ray.shutdown()  # which ends the workers of this driver

    def _events(self, next_task: Callable[[], GroupTask | None]) -> Iterator[tuple[str, Event]]:
        gpus = self.gpus if self.settings.device == "cuda" else 0
        _refuse_small_nodes(self.settings.threads, gpus)
        work = ray.remote(_work).options(num_cpus=self.settings.threads, num_gpus=gpus, max_retries=0)
        files, versions = ray.put(python_files(self.folder)), package_versions()
        running: dict[Any, str] = {}
        while True:
            while (self.workers is None or len(running) < self.workers) and (task := next_task()) is not None:
                running[work.remote(replace(task, folder=task.folder.absolute()), files, versions)] = task.group.id
            if not running:
                return
            ray.wait(list(running), num_returns=1)
            for stream in ray.wait(list(running), num_returns=len(running), timeout=0)[0]:
                event = _received(stream)
                group = running[stream]
                if isinstance(event, Ended | Lost):
                    del running[stream]
                yield group, event


def _known(address: str | None) -> str | None:
    return address or os.environ.get("RAY_ADDRESS")


def _connect(address: str | None) -> None:
    ours = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises ConnectionError, RuntimeError, ValueError...
        raise _no_cluster(address, " ".join(str(error).split())) from error
    for number, handler in ours.items():
        signal.signal(number, handler)  # Ray puts its own in their place


def refuse_silent(address: str | None) -> None:
    """Raise `UserError` unless the head node of a cluster answers: Ray itself would try for many minutes."""
    if address in (None, "auto", "local"):
        return
    host, colon, port = str(address).rpartition(":")
    if not colon or not port.isdecimal() or "/" in host:
        raise _no_cluster(address, "give HOST:PORT of its head node, on a machine of the cluster")
    asked = [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", str(address)]
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        subprocess.run(asked, check=True, capture_output=True, timeout=HEALTH_SECONDS)
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, str(error)) from error
    except subprocess.SubprocessError as error:
        raise _no_cluster(address, "what listens there is not Ray's head node") from error


def _no_cluster(address: str | None, reason: str) -> UserError:
    return UserError(f"--engine ray: no cluster at {address or 'the address that this machine knows'}: {reason}")


def _refuse_small_nodes(cpus: int, gpus: float) -> None:
    """Refuse a cluster on none of whose nodes a group has room: Ray would wait for ever."""
    offered = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in offered):
        raise UserError(
            f"--engine ray: a group takes {cpus} CPUs and {gpus:g} GPUs, which no node of the cluster has: start Ray "
            f"with more on each, or set the study's `execution: {{threads: ...}}`"
        )


def python_files(folder: Path) -> Files:
    """Return the Python files of a study folder, hidden and made folders left out.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "mine.py").write_text("x = 1")
    ...     _ = (Path(folder) / "notes.txt").write_text("")
    ...     python_files(Path(folder))
    (('mine.py', b'x = 1'),)
    """
    found = []
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).parts
        if parts[0] not in ("artifacts", "report") and not any(part.startswith(".") for part in parts):
            found.append((path.relative_to(folder).as_posix(), path.read_bytes()))
    return tuple(found)


def _received(stream: Any) -> Event:
    try:
        event: Event = ray.get(next(stream))
    except RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise UserError(str(error.cause)) from error
        raise
    except RayError as error:  # the worker, or its node, is gone
        return Lost(f"a Ray worker was lost ({type(error).__name__})")
    return event


# ---------------------------------------------------------------- in a worker


def _work(task: GroupTask, files: Files, versions: Mapping[str, str]) -> Iterator[Event]:
    try:
        _refuse_other_node(task, versions)
        yield from work_group(task, _workbench(files))
    except UserError as error:
        raise UserError(f"node {socket.gethostname()}: {error}") from error


def _refuse_other_node(task: GroupTask, versions: Mapping[str, str]) -> None:
    """Refuse a node that has other versions than the driver, or does not see where the dense models are kept."""
    for name, version in package_versions().items():
        if version != versions[name]:
            raise UserError(f"{name} is {version} here and {versions[name]} where the run was started; install that")
    place = task.artifacts.place
    kept = Path(place).parent if place == str(task.folder / "artifacts") else Path(place)
    if "://" not in place and not kept.is_dir():
        raise UserError(
            f"there is no {kept} here, where the dense models are kept: begin the study with `run --artifacts URL`, or "
            f"put it on a disk that all nodes share"
        )


@cache
def _workbench(files: Files) -> Workbench:
    """Return this process's workbench: a Ray worker serves one driver, and so one run."""
    folder = Path(tempfile.mkdtemp(prefix="prunebench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name, content in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return Workbench(make_registry(folder))
