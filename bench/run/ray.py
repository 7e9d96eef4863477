"""The Ray engine: each group is a Ray task, whose events the driver receives as they are yielded."""

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
from bench.run.group import Event, GroupEnded, GroupLost, GroupTask, Workbench, compute_group
from bench.run.settings import refuse_other_device

#: Path in the study folder and content of each Python file: plug-ins, and the modules that they import.
Files: TypeAlias = tuple[tuple[str, bytes], ...]
#: Seconds within which the head node of a cluster must answer.
ANSWER_SECONDS = 60.0


@dataclass(frozen=True)
class RayEngine:
    """Computes groups on the nodes of a Ray cluster.

    Attributes
    ----------
    settings : Settings
        A group takes as many CPUs as the settings have threads.
    folder : Path
        Study folder; its Python files are sent to every worker.
    address : str or None
        Address of the cluster; None for the cluster that this machine belongs to, or else a new one on this machine.
    workers : int or None
        Largest number of groups at a time; None for as many as the cluster has room for.
    gpus : float
        GPUs per group on CUDA; below 1, several groups share one.
    """

    settings: Settings
    folder: Path
    address: str | None = None
    workers: int | None = None
    gpus: float = 1.0

    def check_address(self) -> None:
        """Raise `UserError` if no cluster answers at the address."""
        check_address(_effective(self.address))

    def events(self, next_task: Callable[[], GroupTask | None]) -> Generator[tuple[str, Event], None, None]:
        """Compute every task; see `bench.run.engine.Engine`."""
        _connect(_effective(self.address))
        try:
            yield from self._events(next_task)
        finally:
            ray.shutdown()  # ends the workers of this driver

    def _events(self, next_task: Callable[[], GroupTask | None]) -> Iterator[tuple[str, Event]]:
        gpus = self.gpus if self.settings.device == "cuda" else 0
        _refuse_small_nodes(self.settings.threads, gpus)
        remote = ray.remote(compute_on_node).options(num_cpus=self.settings.threads, num_gpus=gpus, max_retries=0)
        files, versions = ray.put(python_files(self.folder)), package_versions()
        running: dict[Any, str] = {}
        while True:
            while (self.workers is None or len(running) < self.workers) and (task := next_task()) is not None:
                running[remote.remote(replace(task, folder=task.folder.absolute()), files, versions)] = task.group.id
            if not running:
                return
            ray.wait(list(running), num_returns=1)
            for stream in ray.wait(list(running), num_returns=len(running), timeout=0)[0]:
                event = _receive(stream)
                group = running[stream]
                if isinstance(event, GroupEnded | GroupLost):
                    del running[stream]
                yield group, event


def _effective(address: str | None) -> str | None:
    return address or os.environ.get("RAY_ADDRESS")


def _connect(address: str | None) -> None:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises ConnectionError, RuntimeError, ValueError...
        raise _no_cluster(address, " ".join(str(error).split())) from error
    for number, handler in handlers.items():
        signal.signal(number, handler)  # Ray replaces them


def check_address(address: str | None, seconds: float = ANSWER_SECONDS) -> None:
    """Raise `UserError` unless the head node of a cluster answers in time; Ray itself would try for many minutes.

    Parameters
    ----------
    address : str or None
        HOST:PORT; None, ``auto`` and ``local`` are not checked.
    seconds : float
        Time within which the head node must answer.
    """
    if address in (None, "auto", "local"):
        return
    host, colon, port = str(address).rpartition(":")
    if not colon or not port.isdecimal() or "/" in host:
        raise _no_cluster(address, "give HOST:PORT of its head node, on a machine of the cluster")
    status = [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", str(address)]
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        subprocess.run(status, check=True, capture_output=True, timeout=seconds)
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, str(error)) from error
    except subprocess.SubprocessError as error:
        raise _no_cluster(address, "the server there is not the head node of Ray") from error


def _no_cluster(address: str | None, reason: str) -> UserError:
    return UserError(f"--engine ray: no cluster at {address or 'the address that this machine knows'}: {reason}")


def _refuse_small_nodes(cpus: int, gpus: float) -> None:
    """Raise `UserError` if no node of the cluster is large enough for a group; Ray would wait for ever."""
    offered = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in offered):
        raise UserError(
            f"--engine ray: a group takes {cpus} CPUs and {gpus:g} GPUs, which no node of the cluster has: start Ray "
            f"with more on each node, or set the study's `execution: {{threads: ...}}`"
        )


def python_files(folder: Path) -> Files:
    """Return the Python files of a study folder, without those in hidden folders, ``artifacts`` and ``report``.

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


def _receive(stream: Any) -> Event:
    try:
        event: Event = ray.get(next(stream))
    except RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise UserError(str(error.cause)) from error
        raise
    except RayError as error:  # the worker or its node has ended
        return GroupLost(f"a Ray worker was lost ({type(error).__name__})")
    return event


# ---------------------------------------------------------------- in a worker


def compute_on_node(task: GroupTask, files: Files, versions: Mapping[str, str]) -> Iterator[Event]:
    """Compute a group in a Ray worker; see `bench.run.group.compute_group`.

    Parameters
    ----------
    task : GroupTask
        From the driver.
    files : Files
        Python files of the study folder.
    versions : mapping of str to str
        Package -> version, where the driver runs.

    Raises
    ------
    UserError
        Also if this node has other versions or another device than the driver, or does not see the dense models. The
        message names the node.
    """
    try:
        refuse_other_device(task.settings)
        _refuse_other_versions(versions)
        _refuse_absent_artifacts(task)
        yield from compute_group(task, workbench_of(files))
    except UserError as error:
        raise UserError(f"node {socket.gethostname()}: {error}") from error


def _refuse_other_versions(versions: Mapping[str, str]) -> None:
    for name, version in package_versions().items():
        if version != versions[name]:
            raise UserError(
                f"{name} is {version} here and {versions[name]} where the run was started; install that version"
            )


def _refuse_absent_artifacts(task: GroupTask) -> None:
    """Raise `UserError` if this node does not see the folder of the dense models."""
    place = task.artifacts.place
    kept = Path(place).parent if place == str(task.folder / "artifacts") else Path(place)
    if "://" not in place and not kept.is_dir():
        raise UserError(
            f"there is no {kept} here, where the dense models are kept: begin the study with `run --artifacts URL`, or "
            f"put it on a disk that all nodes share"
        )


@cache
def workbench_of(files: Files) -> Workbench:
    """Return the workbench of this process, with the study's plug-ins; a Ray worker serves a single run."""
    folder = Path(tempfile.mkdtemp(prefix="prunebench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name, content in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return Workbench(make_registry(folder))
