"""Commands about what is available: ``list``, ``check`` and ``doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.table import Table

from bench.core.errors import UserError
from bench.core.types import Granularity
from prunebench.cli.options import AsJson
from prunebench.cli.output import make_console, print_json, print_network

commands = typer.Typer()


@commands.command("list")
def list_(
    kind: Annotated[
        str,
        typer.Argument(help="scorers, searches, repairs, allocations, models, recipes, datasets or templates"),
    ],
    as_json: AsJson = False,
) -> None:
    """List what is available, with formula, cost and reference."""
    from prunebench.cli.available import describe_available

    entries = describe_available(kind)
    if as_json:
        print_json(entries)
        return
    table = Table(*entries[0])
    for entry in entries:
        table.add_row(*(", ".join(value) if isinstance(value, list) else str(value) for value in entry.values()))
    make_console().print(table)


@commands.command()
def check(
    name: Annotated[
        str,
        typer.Argument(
            help="a plug-in's name, package.module:function, ./file.py:function, or all; with --kind model a network"
        ),
    ],
    kind: Annotated[
        str | None, typer.Option(help="scorer, search, allocation, correction, recalibration or model")
    ] = None,
    data: Annotated[
        str, typer.Option(help="with --kind model: the data set whose images the network receives")
    ] = "digits",
    as_json: AsJson = False,
) -> None:
    """Run the conformance suite on a plug-in, or check a network on two images."""
    from bench.plugins.catalogue import make_registry
    from bench.plugins.conformance import check_plugins

    if kind == "model":
        _check_model(name, data, as_json=as_json)
        return
    results = check_plugins(make_registry(Path.cwd()), name, kind)
    if as_json:
        print_json([{"plugin": v.plugin, "check": v.check, "problem": v.problem} for v in results])
    else:
        for result in results:
            typer.echo(f"{'ok    ' if result.problem is None else 'BROKEN'} {result.plugin}: {result.check}"
                       + (f": {result.problem}" if result.problem else ""))  # fmt: skip
    broken = [v for v in results if v.problem is not None]
    if broken:
        raise UserError(f"{broken[0].plugin} fails {len(broken)} of {len(results)} checks: {broken[0].problem}")


def _check_model(name: str, data: str, *, as_json: bool) -> None:
    """Check that a network can be pruned, and print its layers."""
    from bench.data.load import data_facts
    from bench.models.check import check_network
    from bench.plugins.catalogue import make_registry
    from bench.study.spec import DataSpec, ModelSpec

    folder = Path.cwd()
    facts, every = data_facts(DataSpec(name=data), folder), get_args(Granularity)
    network = check_network(ModelSpec(name=name), make_registry(folder), facts, granularities=every)
    described = network.describe(data, name, every)
    if as_json:
        print_json({**described, "notes": network.notes})
        return
    out = make_console()
    print_network(described, out)
    for note in network.notes:
        out.print(f"note: {note}", style="yellow")


@commands.command()
def doctor(as_json: AsJson = False) -> None:
    """Describe this machine: processor, memory, GPU, database, data folders, versions."""
    from prunebench.cli.machine import describe_machine

    found = describe_machine()
    if as_json:
        print_json(found)
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    for key, value in found.items():
        table.add_row(key, str(value))
    make_console().print(table)
