"""Engines of one machine: the driver's own process, or several worker processes."""

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
from bench.run.group import Ended, Event, GroupTask, Lost, Stage, Workbench, work_group


class InProcess:
    """Works on one group after another in the driver's own process.

    Parameters
    ----------
    registry : Registry
        Plug-ins of this process.
    tell : callable
        Called with a line for people now and then while a model is trained.
    """

    def __init__(self, registry: Registry, tell: Callable[[str], object]) -> None:
        self._bench = Workbench(registry, tell)

    def events(self, next_task: Callable[[], GroupTask | None]) -> Generator[tuple[str, Event], None, None]:
        """Work on every task, as `bench.run.driver.Engine` says."""
        while (task := next_task()) is not None:
            for event in work_group(task, self._bench):
                yield task.group.id, event


@dataclass(frozen=True)
class _Worker:
    """A worker process, our end of its pipe, and the GPU that it sees."""

    process: SpawnProcess
    connection: Connection
    gpu: str | None


class Processes:
    """Works on several groups at a time, each in a process of its own; one that dies is replaced.

    Parameters
    ----------
    count : int
        Processes.
    gpus : list of str
        GPUs as ``CUDA_VISIBLE_DEVICES`` names them, dealt to the processes in turn; empty on a CPU.
    folder : Path
        Study folder, in which ``./file.py:function`` is looked up.
    """

    def __init__(self, count: int, gpus: list[str], folder: Path) -> None:
        self._folder = folder
        self.places = [gpus[number % len(gpus)] if gpus else None for number in range(count)]

    def events(self, next_task: Callable[[], GroupTask | None]) -> Generator[tuple[str, Event], None, None]:
        """Work on every task, as `bench.run.driver.Engine` says."""
        free, idle = list(self.places), list[_Worker]()
        busy: dict[Connection, tuple[_Worker, str]] = {}
        try:
            while True:
                while (idle or free) and (task := next_task()) is not None:
                    worker = idle.pop() if idle else self._start(free.pop(0))
                    busy[worker.connection] = worker, task.group.id
                    with suppress(ConnectionError):  # its end is met below
                        worker.connection.send(task)
                if not busy:
                    return
                for connection in wait(list(busy)):
                    assert isinstance(connection, Connection)
                    worker, group = busy[connection]
                    event = _received(worker)
                    if isinstance(event, Exception):
                        raise event
                    if isinstance(event, Lost):
                        del busy[connection]
                        free.append(worker.gpu)
                    elif isinstance(event, Ended):
                        del busy[connection]
                        idle.append(worker)
                    yield group, event
        finally:
            for worker in (*idle, *(worker for worker, _ in busy.values())):
                worker.process.kill()
                worker.process.join()

    def _start(self, gpu: str | None) -> _Worker:
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=_serve, args=(theirs, self._folder, gpu), daemon=True)
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: Ctrl-C is for the driver, which kills
        try:
            process.start()
        finally:
            signal.signal(signal.SIGINT, handler)
        theirs.close()
        return _Worker(process, ours, gpu)


def _received(worker: _Worker) -> Event | Exception:
    try:
        event: Event | Exception = worker.connection.recv()
    except (EOFError, OSError):  # the other end is closed, perhaps in the middle of an event
        worker.process.join()
        code = worker.process.exitcode or 0
        return Lost(f"a worker process ended ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})")
    return event


def _serve(connection: Connection, folder: Path, gpu: str | None) -> None:
    """Work on the groups that come through the pipe, as long as the driver lives."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # read when CUDA starts, which nothing has done so far
    threading.Thread(target=_end_with_driver, daemon=True).start()
    with suppress(ConnectionError):  # the driver has gone
        try:
            bench = Workbench(make_registry(folder), lambda text: connection.send(Stage(text)))
            while True:
                for event in work_group(connection.recv(), bench):
                    connection.send(event)
        except UserError as error:
            connection.send(error)
        except Exception:
            connection.send(RuntimeError(traceback.format_exc()))


def _end_with_driver() -> None:
    driver = multiprocessing.parent_process()
    assert driver is not None
    driver.join()
    os._exit(1)


def local_engine(
    settings: Settings, registry: Registry, folder: Path, workers: int | None, tell: Callable[[str], object]
) -> InProcess | Processes:
    """Return the engine for this machine.

    Parameters
    ----------
    settings : Settings
        Their device decides whether GPUs are dealt out.
    registry : Registry
        Plug-ins of this process, which does the work where one process is enough.
    folder : Path
        Study folder.
    workers : int or None
        Processes; None for one per GPU.
    tell : callable
        Called with a line for people now and then while this process trains a model.
    """
    gpus = _gpus() if settings.device == "cuda" else []
    count = workers or max(1, len(gpus))
    return InProcess(registry, tell) if count == 1 else Processes(count, gpus, folder)


def _gpus() -> list[str]:
    """GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(number) for number in range(torch.cuda.device_count())]
