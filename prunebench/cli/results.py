"""Commands that decide claims: ``report``, ``claims`` and ``power``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prunebench.cli.options import AsJson, Profile, StudyFolder
from prunebench.cli.output import make_console, print_json

if TYPE_CHECKING:
    import pandas as pd

commands = typer.Typer()


@commands.command()
def report(study: StudyFolder, profile: Profile = None) -> None:
    """Decide the claims, draw the figures, write STUDY/report/."""
    from analysis.report.render import render_report

    typer.echo(f"open {render_report(study, profile)}")


@commands.command()
def claims(study: StudyFolder, profile: Profile = None, as_json: AsJson = False) -> None:
    """Print the verdict table alone."""
    from analysis.claims.decide import decide_claims
    from analysis.formats import NONE
    from analysis.load import load
    from analysis.tables import verdict_table

    frame = verdict_table(decide_claims(load(study, profile), study / "claims.yaml"))
    if as_json:
        print_json(frame.to_dict(orient="records"))
        return
    out = make_console()
    for claim in frame.to_dict(orient="records"):
        setting = "" if claim["Setting"] == NONE else f"{claim['Setting']}; "
        out.print(f"{claim['Claim']}  {claim['Verdict']}  {setting}"
                  f"registered before data: {claim['Registered before data']}", style="bold")  # fmt: skip
        out.print(f"    {claim['What it says']} ({claim['Source']})")
        if claim["Beside it"] != NONE:
            out.print(f"    beside it: {claim['Beside it']}")


@commands.command()
def power(
    study: StudyFolder,
    profile: Profile = None,
    pilot: Annotated[
        Path | None, typer.Option(metavar="OTHER", help="take the spread from this study's rows; default: STUDY's own")
    ] = None,
    sd: Annotated[
        float | None, typer.Option(min=1e-6, help="spread of the paired differences over models, in points; goes first")
    ] = None,
    models: Annotated[list[int] | None, typer.Option(min=2, help="numbers of models (repeatable)")] = None,
    chance: Annotated[float, typer.Option(min=0.05, max=0.999, help="the power asked for")] = 0.8,
    as_json: AsJson = False,
) -> None:
    """Show what the claims can find with so many models, before any run."""
    from analysis.claims.prospects import MODELS, prospects
    from analysis.claims.read import read_claims
    from analysis.load import has_evidence, load
    from analysis.narrate import power_lines

    claims = read_claims(study / "claims.yaml")
    known = load(study, profile).rows if has_evidence(study) else None
    rows = _planned(study, profile) if known is None else known
    spread = load(pilot).rows if pilot is not None else known
    counts = sorted(set(models or MODELS))
    found = prospects(rows, claims, pilot=spread, sd=None if sd is None else sd / 100, models=counts, power=chance)
    if as_json:
        print_json([dataclasses.asdict(one) for one in found])
        return
    out = make_console()
    for line in power_lines(found):
        out.print(line)
    out.print(
        f"n = models: the least effect over its margin (superiority), or the least margin at no difference (the rest), "
        f"found with {100 * chance:.0f} % power at the first step of Holm's correction.\n"
        f"Spread: {_spread_source(sd, pilot, known is not None)}; without one, effects are in sd of the differences.",
    )


def _spread_source(sd: float | None, pilot: Path | None, own: bool) -> str:
    if sd is not None:
        return f"stated, {sd:g} points"
    if pilot is not None:
        return f"pooled over the settings of {pilot}"
    return "pooled over the settings of this study's own rows" if own else "none; give --sd POINTS or --pilot STUDY"


def _planned(study: Path, profile: str | None) -> pd.DataFrame:
    """Rows of a study that nothing was run of: its plan needs the plug-ins, and so loads torch."""
    from bench.run.open_study import open_session
    from bench.store.reader import planned_rows
    from bench.study.plan import axis_values

    return planned_rows({**axis_values(cell), "cell": cell.id} for cell in open_session(study, profile).plan.cells())
