"""Commands that prepare a study: ``new`` and ``plan``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table

from prunebench import api
from prunebench.cli.options import AsJson, Device, Pilots, Profile, SpreadPoints, StudyFolder
from prunebench.cli.output import make_console, print_json, print_network
from prunebench.cli.plan_table import print_part_plans

#: Power for which `plan` states the models needed and the least decidable effect.
POWER = 0.8

commands = typer.Typer()


@commands.command()
def new(
    study: StudyFolder,
    template: Annotated[
        str, typer.Option("--from", help="a template; `prunebench list templates` describes them")
    ] = "digits",
    model: Annotated[
        list[str] | None, typer.Option(help="use this model instead of the template's (repeatable)")
    ] = None,
    data: Annotated[str | None, typer.Option(help="use this data set instead of the template's")] = None,
) -> None:
    """Create a study folder with a commented study.yaml and claims.yaml."""
    from bench.study.templates import new_study

    for path in new_study(study, template, model or [], data):
        typer.echo(f"wrote {path}")
    typer.echo(f"next: prunebench plan {study}")


@commands.command()
def plan(
    study: StudyFolder,
    profile: Profile = None,
    device: Device = "auto",
    pilot: Pilots = None,
    sd: SpreadPoints = None,
    as_json: AsJson = False,
) -> None:
    """Show what a run would compute (cells, shared work, forecast) and what it can decide; computes no cell."""
    summary = api.plan(study, profile, device, pilots=pilot or (), sd=sd)
    if as_json:
        print_json({**summary, "claims": [asdict(one) for one in summary["claims"]]})
    else:
        _print_plan(summary)


def _print_plan(summary: dict[str, Any]) -> None:
    out = make_console()
    out.print(f"{summary['name']}  study {summary['study_hash'][:12]}", style="bold")
    table = Table(show_header=False, box=None, pad_edge=False)
    for key, value in summary["lines"].items():
        table.add_row(key, str(value))
    decidable = summary["decidable"]
    effect, margin = decidable["least_effect_sd"], decidable["least_margin_sd"]
    if effect is None:
        table.add_row("decidable", "by a test, nothing: results of one model per setting are descriptive only")
    else:
        table.add_row(
            "decidable",
            f"with {decidable['models_per_setting']} models per setting and 80 % power: a paired difference of "
            f"{effect:.2f} sd, an equivalence margin of {margin:.2f} sd of the differences",
        )
    out.print(table)
    for network in summary["networks"]:
        print_network(network, out)
    print_part_plans(summary["claims"], POWER, out)
    for warning in summary["warnings"]:
        out.print(f"note: {warning}", style="yellow")
    out.print("resolved study:", style="dim")
    typer.echo(json.dumps(summary["study"], indent=1, sort_keys=True))
