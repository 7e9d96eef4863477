"""How commands print: JSON for programs, tables for people."""

from __future__ import annotations

import json
import sys
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

#: Characters of a line in tables of layers, whose names are long.
TABLE_WIDTH = 150


def print_json(value: Any) -> None:
    """Print a value as indented JSON with sorted keys."""
    typer.echo(json.dumps(value, indent=2, sort_keys=True, default=str))


def make_console(least_width: int = 0) -> Console:
    """Return a console that prints text literally: ``[red]`` and ``:smile:`` are not interpreted."""
    width = max(Console().width, least_width) if least_width else None
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=not sys.stdout.isatty(), width=width)


def print_network(network: dict[str, Any], out: Console) -> None:
    """Print one line per layer of a network: its number of units, or why it stays dense."""
    from bench.store.network import percent, units_text

    granularities = list(network["summary"])
    table = Table(
        "layer", "kind", "shape", "parameters", "MACs", *(f"{name} units" for name in granularities), box=None,
        pad_edge=False, title=f"{network['dataset']}, {network['model']}", title_justify="left", padding=(0, 2, 0, 0),
    )  # fmt: skip
    for layer in network["layers"]:
        cells = [units_text(layer, name) for name in granularities]
        parameters, macs = (percent(layer[key] / max(1, network[key])) for key in ("parameters", "macs"))
        table.add_row(layer["layer"], layer["kind"], " x ".join(map(str, layer["shape"])), parameters, macs, *cells)
    wide = Console(highlight=False, markup=False, emoji=False, width=max(out.width, TABLE_WIDTH))
    wide.print(table, no_wrap=True)
    for line in network["explanations"]:
        out.print(f"  {line}", style="dim")
    for name, line in network["summary"].items():
        out.print(f"{name}: {line}")


def print_frame(frame: Any, out: Console) -> None:
    """Print a frame of strings as a table; its index is the first column."""
    table = Table("", *frame.columns, box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for row in frame.itertuples():
        table.add_row(*row)
    out.print(table, soft_wrap=False)
