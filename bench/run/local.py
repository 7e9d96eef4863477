"""Engines for one machine: the process of the driver itself, or several worker processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

import torch

from bench.core.errors import UserError
from bench.core.registry import Registry
from bench.core.types import Settings
from bench.plugins.catalogue import make_registry
from bench.run.group import Event, GroupEnded, GroupLost, GroupTask, Stage, Workbench, compute_group


class InProcessEngine:
    """Computes one group after another in the process of the driver.

    Parameters
    ----------
    registry : Registry
        Plug-ins of this process.
    show : callable
        Called with a line for people from time to time while a model is trained.
    """

    def __init__(self, registry: Registry, show: Callable[[str], object]) -> None:
        self._workbench = Workbench(registry, show)

    def events(self, next_task: Callable[[], GroupTask | None]) -> Generator[tuple[str, Event], None, None]:
        """Compute every task; see `bench.run.engine.Engine`."""
        while (task := next_task()) is not None:
            for event in compute_group(task, self._workbench):
                yield task.group.id, event


@dataclass(frozen=True)
class _Worker:
    """A worker process, the driver's end of its pipe, and the GPU that it sees."""

    process: SpawnProcess
    connection: Connection
    gpu: str | None


class MultiProcessEngine:
    """Computes several groups at a time, each in a process of its own; a process that dies is replaced.

    Parameters
    ----------
    count : int
        Number of processes.
    gpus : list of str
        GPUs as ``CUDA_VISIBLE_DEVICES`` names them, assigned to the processes in turn; empty on a CPU.
    folder : Path
        Study folder, which ``./file.py:function`` is relative to.

    Attributes
    ----------
    gpu_of_process : list of str or None
        GPU of each process.
    """

    def __init__(self, count: int, gpus: list[str], folder: Path) -> None:
        self._folder = folder
        self.gpu_of_process = [gpus[number % len(gpus)] if gpus else None for number in range(count)]

    def events(self, next_task: Callable[[], GroupTask | None]) -> Generator[tuple[str, Event], None, None]:
        """Compute every task; see `bench.run.engine.Engine`."""
        free, idle = list(self.gpu_of_process), list[_Worker]()
        busy: dict[Connection, tuple[_Worker, str]] = {}
        try:
            while True:
                while (idle or free) and (task := next_task()) is not None:
                    worker = idle.pop() if idle else self._start(free.pop(0))
                    busy[worker.connection] = worker, task.group.id
                    with suppress(ConnectionError):  # a worker that died while idle is noticed below
                        worker.connection.send(task)
                if not busy:
                    return
                for connection in wait(list(busy)):
                    assert isinstance(connection, Connection)
                    worker, group = busy[connection]
                    event = _receive(worker)
                    if isinstance(event, Exception):
                        raise event
                    if isinstance(event, GroupLost):
                        del busy[connection]
                        free.append(worker.gpu)
                    elif isinstance(event, GroupEnded):
                        del busy[connection]
                        idle.append(worker)
                    yield group, event
        finally:
            for worker in (*idle, *(worker for worker, _ in busy.values())):
                worker.process.kill()
                worker.process.join()

    def _start(self, gpu: str | None) -> _Worker:
        spawn = multiprocessing.get_context("spawn")
        driver_end, worker_end = spawn.Pipe()
        process = spawn.Process(target=_serve, args=(worker_end, self._folder, gpu), daemon=True)
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: at Ctrl-C the driver kills its workers
        try:
            process.start()
        finally:
            signal.signal(signal.SIGINT, handler)
        worker_end.close()
        return _Worker(process, driver_end, gpu)


def _receive(worker: _Worker) -> Event | Exception:
    try:
        event: Event | Exception = worker.connection.recv()
    except (EOFError, OSError):  # the other end is closed, perhaps in the middle of an event
        worker.process.join()
        code = worker.process.exitcode or 0
        return GroupLost(f"a worker process ended ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})")
    return event


# ---------------------------------------------------------------- in a worker process


def _serve(connection: Connection, folder: Path, gpu: str | None) -> None:
    """Compute the groups that arrive through the pipe, as long as the driver lives."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # in time: CUDA reads it at its first use
    threading.Thread(target=_exit_with_driver, daemon=True).start()
    with suppress(ConnectionError):  # the driver has ended
        try:
            workbench = Workbench(make_registry(folder), lambda text: connection.send(Stage(text)))
            while True:
                for event in compute_group(connection.recv(), workbench):
                    connection.send(event)
        except UserError as error:
            connection.send(error)
        except Exception:
            connection.send(RuntimeError(traceback.format_exc()))


def _exit_with_driver() -> None:
    driver = multiprocessing.parent_process()
    assert driver is not None
    driver.join()
    os._exit(1)


# ---------------------------------------------------------------- choice of the engine


def local_engine(
    settings: Settings, registry: Registry, folder: Path, workers: int | None, show: Callable[[str], object]
) -> InProcessEngine | MultiProcessEngine:
    """Return the engine for this machine.

    Parameters
    ----------
    settings : Settings
        GPUs are assigned to the processes if their device is CUDA.
    registry : Registry
        Plug-ins of this process, which computes all groups if one process suffices.
    folder : Path
        Study folder.
    workers : int or None
        Number of processes; None for one per GPU.
    show : callable
        Called with a line for people from time to time while this process trains a model.
    """
    gpus = _visible_gpus() if settings.device == "cuda" else []
    count = workers or max(1, len(gpus))
    return InProcessEngine(registry, show) if count == 1 else MultiProcessEngine(count, gpus, folder)


def _visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(number) for number in range(torch.cuda.device_count())]
