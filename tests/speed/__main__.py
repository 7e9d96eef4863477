"""Measure the speed of the engine against plain loops: ``python -m tests.speed`` from the root of the repository."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from rich.console import Console

from bench.core.errors import UserError
from tests.speed.host_profile import host_profile, profile_lines
from tests.speed.measure import measure
from tests.speed.startup import measure_startup, print_startup
from tests.speed.tables import print_result
from tests.speed.training import measure_training, training_lines


def speed(
    on: Annotated[str, typer.Option(help="digits, or cifar10: the published ResNet-20 in PRUNEBENCH_DATA")] = "digits",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    repetitions: Annotated[int, typer.Option(min=1, help="number of times that everything is timed, in turn")] = 3,
    images: Annotated[int | None, typer.Option(min=1, help="largest number of test images; default: all")] = None,
    training: Annotated[
        bool, typer.Option("--training", help="time the training of ResNet-20 on noise instead")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON for a program to read")] = False,
    profile: Annotated[bool, typer.Option("--profile", help="profile the host's work per cell instead")] = False,
    startup: Annotated[bool, typer.Option("--startup", help="time whole commands instead, imports included")] = False,
) -> None:
    """Time the engine, bare forward passes and loops as users write them, on one grid."""
    if startup:
        print_startup(measure_startup(repetitions), Console(highlight=False, markup=False, emoji=False))
        return
    try:
        if profile:
            typer.echo("\n".join(profile_lines(host_profile(on, device, images))))
            return
        found = measure_training(device, repetitions, images) if training else measure(on, device, repetitions, images)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from error
    if as_json:
        typer.echo(json.dumps(found, indent=2, sort_keys=True, default=str))
    elif training:
        typer.echo("\n".join(training_lines(found)))
    else:
        print_result(found, Console(highlight=False, markup=False, emoji=False, soft_wrap=not sys.stdout.isatty()))


if __name__ == "__main__":
    typer.run(speed)
