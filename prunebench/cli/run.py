"""The command ``run``: compute the cells of a study that are missing."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from bench.core.errors import UserError, suggest
from bench.store.schema import AXES
from prunebench.api import run_session
from prunebench.cli.options import Device, Profile, StudyFolder
from prunebench.cli.output import make_console
from prunebench.imports import quick_imports

if TYPE_CHECKING:
    from bench.run.driver import RunSummary
    from bench.run.ray import RayEngine

ENGINES = ("local", "ray")

commands = typer.Typer()


@commands.command()
def run(
    study: StudyFolder,
    profile: Profile = None,
    device: Device = "auto",
    engine: Annotated[str, typer.Option(help="local: this machine; ray: a Ray cluster")] = "local",
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="groups computed at a time; default: one, one per GPU, or on Ray as many as fit"),
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="address of the Ray cluster; default: the cluster of this machine, or a new one")
    ] = None,
    gpus_per_worker: Annotated[
        float | None, typer.Option(min=0.01, help="GPUs per group on Ray; default: 1; 0.5: two groups share one")
    ] = None,
    store_url: Annotated[
        str | None,
        typer.Option(
            "--store", metavar="URL", help="store rows in this database: postgresql+psycopg://user@host:port/database"
        ),
    ] = None,
    artifacts: Annotated[
        str | None, typer.Option(metavar="URL", help="store dense models and curves at this fsspec URL")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE: compute only cells with this axis value (repeatable)")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=0, help="largest number of cells to compute; 0: only merge")] = None,
    retry_failed: Annotated[bool, typer.Option(help="compute failed cells again")] = False,
    merge: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="OTHER", help="first import finished rows from another folder of the same study (repeatable)"
        ),
    ] = None,
    cell_timeout: Annotated[float | None, typer.Option(min=0.001, help="seconds after which a cell fails")] = None,
    cache: Annotated[
        str | None,
        typer.Option(envvar="PRUNEBENCH_CACHE", help="folder or URL of dense models shared between studies"),
    ] = None,
) -> None:
    """Compute the missing cells; it is safe to interrupt a run and to start it again."""
    from prunebench.checks import check_study_folder

    _check_engine_options(engine, address, gpus_per_worker)
    axis_values = _parse_axis_values(only or [])
    check_study_folder(study, profile)
    with quick_imports():
        from bench.run.driver import RunOptions
        from bench.run.open_study import open_study
        from bench.store.files import Artifacts
    from bench.store.dense_accuracy import read_dense_warnings
    from bench.store.places import Places
    from bench.study.plan import cells_asked_for

    ray_engine = _ray_engine() if engine == "ray" else None
    shared = Artifacts.at(cache) if cache else None
    session = open_study(study, profile, device, Places(store_url, artifacts))
    cells = cells_asked_for(session.plan, axis_values) if axis_values else None
    options = RunOptions(limit, retry_failed, cells, cell_timeout, shared)
    console = make_console()
    if shared is not None:
        shared.refuse_unwritable()
    on_ray = None
    if ray_engine is not None:
        on_ray = ray_engine(session.settings, study, address, workers, gpus_per_worker or 1.0)
        on_ray.check_address()
    with _interruptible(study):
        summary = run_session(session, options, console, workers=workers, engine=on_ray, merge=merge or ())
    _print_summary(summary, console)
    for warning in read_dense_warnings(study, profile):
        console.print(f"warning: {warning}", style="yellow")
    _raise_on_failures(summary, study)
    console.print(f"next: prunebench report {study}")


def _check_engine_options(engine: str, address: str | None, gpus_per_worker: float | None) -> None:
    """Raise UserError for an unknown engine, or for an option that the engine does not take."""
    if engine not in ENGINES:
        raise UserError(f"no engine named {engine!r}: {suggest(engine, ENGINES)}")
    for option, value in (("--address", address), ("--gpus-per-worker", gpus_per_worker)):
        if engine != "ray" and value is not None:
            raise UserError(f"{option} {value}: belongs to --engine ray; add that, or omit {option}")
    if gpus_per_worker is not None and not gpus_per_worker < 1 and not gpus_per_worker.is_integer():
        raise UserError(f"--gpus-per-worker {gpus_per_worker:g}: above 1, it must be a whole number, such as 2")


def _print_summary(summary: RunSummary, console: Console) -> None:
    """Print the number of cells by state, and the warnings of dense models."""
    left = f", {summary.left} left for another run" if summary.left else ""
    console.print(
        f"{summary.done} cells done, {summary.failed} failed, {summary.skipped} skipped, "
        f"{summary.reused} already there{left}"
    )
    if summary.warnings:
        models = "1 dense model" if len(summary.warnings) == 1 else f"{len(summary.warnings)} dense models"
        console.print(f"note: {models} with a warning: {summary.warnings[0]}", style="yellow")


def _raise_on_failures(summary: RunSummary, study: Path) -> None:
    """Raise UserError if the run stopped early, a check failed or a cell failed."""
    if summary.stopped:
        raise UserError(f"the run stopped: {summary.stopped}; `prunebench status {study}` lists the failed cells")
    if summary.unchecked:
        raise UserError(
            f"the checks of {len(summary.unchecked)} groups failed ({summary.unchecked[0]}); all cells are kept: run "
            f"again to repeat the checks"
        )
    if summary.failed:
        reason, count = summary.failures.most_common(1)[0]
        raise UserError(
            f"{summary.failed} cells failed ({count} with: {reason}); `prunebench status {study}` lists them, "
            f"`run --retry-failed` computes them again"
        )


@contextmanager
def _interruptible(study: Path) -> Iterator[None]:
    """End the process at once, with one line, on Ctrl-C (exit code 130) or SIGTERM (143).

    Finished rows are in the store, so nothing is lost. The process exits instead of raising, because a library may
    swallow an exception or report it as its own failure: a cell as failed, a checkpoint as damaged.
    """

    def end(number: int, _frame: object) -> None:
        show_cursor = "\x1b[?25h\n" if sys.stdout.isatty() else ""  # the progress bar hides it
        line = f"{show_cursor}interrupted; all finished cells are kept: `prunebench run {study}` resumes\n"
        os.write(sys.stderr.fileno(), line.encode(errors="backslashreplace"))
        os._exit(128 + number)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # nohup ignores Ctrl-C
            signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ray_engine() -> type[RayEngine]:
    """Import the engine that runs groups on a Ray cluster, or raise UserError if Ray is not installed."""
    try:
        from bench.run.ray import RayEngine
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise UserError("--engine ray needs Ray, which is not installed: pip install ray") from error
    return RayEngine


def _parse_axis_values(pairs: list[str]) -> dict[str, str]:
    """Parse the values of --only, each KEY=VALUE, into axis -> value."""
    axes = [column.name for column in AXES if column.name != "position"]
    values = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or key not in axes:
            raise UserError(f"--only {pair!r}: expected KEY=VALUE with an axis as KEY: {suggest(key, axes)}")
        values[key] = value
    return values
