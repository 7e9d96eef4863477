"""The command line, assembled from one file per group of commands.

Each command imports what is slow to import inside its function, so that commands that only read never load torch.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from prunebench.cli import catalogue, kappa, progress, prune, results, run, study
from prunebench.cli.app import app, main
from prunebench.cli.options import AsJson
from prunebench.cli.output import make_console, print_json

__all__ = ["app", "main"]

for group in (study, run, progress, results, kappa, prune, catalogue):
    app.add_typer(group.commands)


@app.command("bench-speed")
def bench_speed(
    on: Annotated[str, typer.Option(help="digits, or cifar10: the published ResNet-20 in PRUNEBENCH_DATA")] = "digits",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    repetitions: Annotated[int, typer.Option(min=1, help="how often everything is timed, in turn")] = 3,
    images: Annotated[int | None, typer.Option(min=1, help="so many test images at most")] = None,
    as_json: AsJson = False,
) -> None:
    """Time this engine beside bare forward passes and the loops that people write, on one grid."""
    from bench.speed.measure import measure

    found = measure(on, device, repetitions, images)
    if as_json:
        print_json(found)
    else:
        _show_speed(found)


def _show_speed(found: dict[str, Any]) -> None:
    from bench.speed.words import goal_rows, lines, second_rows

    out = make_console()
    for line in lines(found):
        out.print(line)
    for title, rows in (("seconds", second_rows(found)), ("goals", goal_rows(found))):
        table = Table(*rows[0], title=title, title_justify="left", box=None, pad_edge=False)
        for row in rows:
            table.add_row(*row.values())
        out.print(table)
