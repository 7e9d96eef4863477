"""Commands that read a store during or after a run: ``status`` and ``show``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from prunebench.cli.options import AsJson, Profile, StudyFolder
from prunebench.cli.output import make_console, print_json
from prunebench.imports import quick_imports

#: Approximate number of epochs of a training that `show` prints.
SHOWN_EPOCHS = 10

commands = typer.Typer()


@commands.command()
def status(study: StudyFolder, profile: Profile = None, as_json: AsJson = False) -> None:
    """Show the progress of a run; safe while it is running."""
    with quick_imports():
        from bench.store.status import read_status

    found = read_status(study, profile)
    if as_json:
        print_json(found)
        return
    out = make_console()
    out.print(
        f"{found['done']} done, {found['failed']} failed, {found['skipped']} skipped, {found['running']} running, "
        f"{found['todo']} to do, of {found['cells']} cells"
    )
    out.print(found["activity"])
    for failure in found["failures"]:
        out.print(f"failed {failure['count']} x: {failure['reason']}")
        out.print(f"  first: prunebench show {study} {failure['cell'][:12]}")
    for skip in found["skips"]:
        out.print(f"skipped {skip['count']} x: {skip['reason']}")
    for warning in found["warnings"]:
        out.print(f"warning: {warning}", style="yellow")


@commands.command()
def show(
    study: StudyFolder,
    cell: Annotated[str, typer.Argument(help="beginning of a cell id, or its position in the plan")],
    profile: Profile = None,
    as_json: AsJson = False,
) -> None:
    """Show one cell: its specification, row, training, traceback, and the command that reruns it.

    With --json, the row is printed as it is stored: accuracies are fractions; `units` has the unit of every column.
    """
    with quick_imports():
        from bench.store.cell import read_cell, read_history
        from bench.store.schema import DERIVED, ROWS

    units = {column.name: column.unit for column in (*ROWS, *DERIVED) if column.unit != "-"}
    found = read_cell(study, cell, profile)
    history = read_history(study, found["group"])
    if as_json:
        print_json({**found, "units": units, "history": history})
        return
    traceback = found.pop("traceback")
    table = Table(show_header=False, box=None, pad_edge=False)
    for key, value in found.items():
        if value is not None and key.endswith("accuracy"):
            table.add_row(key, f"{100 * value:.6g}", "%")
        else:
            table.add_row(key, "" if value is None else str(value), "" if value is None else units.get(key, ""))
    out = make_console()
    out.print(table)
    if history.get("loss") and found["scorer"] == "dense":
        _print_history(history, out)
    if traceback:
        out.print(traceback)
    out.print(
        f"rerun: prunebench run {study} --only cell={found['cell']}"
        + (f" --profile {profile}" if profile else "") + " --retry-failed",
    )  # fmt: skip


def _print_history(history: dict[str, list[float]], out: Console) -> None:
    """Print losses and learning rates of about `SHOWN_EPOCHS` epochs, including the first and the last."""
    epochs = len(history["loss"])
    names = {"loss": "training loss (nats)", "lr": "learning rate"}
    kept = [name for name in names if name in history]  # models of earlier versions have no learning rates
    table = Table("epoch", *(names[name] for name in kept), box=None, pad_edge=False)
    step = max(1, epochs // SHOWN_EPOCHS)
    for epoch in sorted({0, *range(step - 1, epochs, step), epochs - 1}):
        table.add_row(str(epoch + 1), *(f"{history[name][epoch]:.4g}" for name in kept))
    out.print("training of the dense model:")
    out.print(table)
