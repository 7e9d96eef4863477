"""The command ``prune``: write the pruned network of a cell, or verify such a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.core.errors import UserError
from prunebench.cli.options import Profile, StudyFolder
from prunebench.imports import quick_imports

commands = typer.Typer()


@commands.command()
def prune(
    study: StudyFolder,
    cell: Annotated[
        str | None, typer.Argument(metavar="CELL", help="beginning of a cell id, or its position in the plan")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="safetensors file to write; with --compact a .pt2 file")
    ] = None,
    verify: Annotated[
        Path | None, typer.Option(metavar="FILE", help="evaluate this exported file instead of writing one")
    ] = None,
    compact: Annotated[
        bool,
        typer.Option("--compact", help="remove the pruned channels: a smaller network, measured, for torch.export"),
    ] = False,
    profile: Profile = None,
) -> None:
    """Write the pruned, repaired network of a cell with a loading example, or verify such a file."""
    from prunebench.checks import check_study_folder

    if (output is None) == (verify is None) or (output is not None and cell is None):
        raise UserError("prune: give CELL and -o FILE to write a file, or --verify FILE to evaluate an existing one")
    if compact and verify is not None:
        raise UserError("prune: --compact writes a file; leave it out to verify one")
    check_study_folder(study, profile)
    with quick_imports():
        from bench.run.compact import compact_cell, describe_compact, verify_compact
        from bench.run.export import describe_verification, export_cell, verify_file
        from bench.run.open_study import open_study

    opened = open_study(study, profile)
    if verify is not None and verify.suffix == ".pt2":
        typer.echo(f"{verify}: {verify_compact(opened, verify, cell)}")
    elif verify is not None:
        typer.echo(describe_verification(verify, verify_file(opened, verify, cell)))
    elif cell is not None and output is not None and compact:
        typer.echo(describe_compact(output, *compact_cell(opened, cell, output)))
    elif cell is not None and output is not None:
        typer.echo(f"wrote {describe_verification(output, export_cell(opened, cell, output))}")
