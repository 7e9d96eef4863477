"""Commands that decide claims: ``report``, ``claims`` and ``power``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prunebench.cli.options import AsJson, Profile, StudyFolder
from prunebench.cli.output import make_console, print_json
from prunebench.imports import quick_imports

if TYPE_CHECKING:
    import pandas as pd

commands = typer.Typer()


@commands.command()
def report(study: StudyFolder, profile: Profile = None) -> None:
    """Decide the claims, draw the figures and write STUDY/report/."""
    from prunebench.checks import check_evidence

    check_evidence(study)
    with quick_imports():
        from analysis.report.render import render_report

    typer.echo(f"open {render_report(study, profile)}")


@commands.command()
def claims(study: StudyFolder, profile: Profile = None, as_json: AsJson = False) -> None:
    """Decide the claims and print the verdicts; --json prints the records, in percentage points."""
    from analysis.claims.read import read_claims
    from analysis.evidence.files import refuse_without_evidence

    refuse_without_evidence(study)
    stated = read_claims(study / "claims.yaml")
    with quick_imports():
        from analysis.claims.decide import decide
        from analysis.evidence.load import load
        from analysis.verdict_sentences import claim_lines, headline, registration_sentences
        from bench.store.registration_level import registration_level

    evidence = load(study, profile)
    level = registration_level(evidence.meta, evidence.rows, stated.hash)
    results = decide(evidence, stated)
    if as_json:
        print_json([{**result.model_dump(mode="json"), "registration": level.word} for result in results])
        return
    out = make_console()
    for sentence in (headline(results), *registration_sentences(level, stated.hash)):
        out.print(sentence)
    for result in results:
        first, *more = claim_lines(result)
        out.print(first, style="bold")
        for line in more:
            out.print(f"    {line}")


@commands.command()
def power(
    study: StudyFolder,
    profile: Profile = None,
    pilot: Annotated[
        Path | None,
        typer.Option(metavar="OTHER", help="estimate the spread from the rows of this study; default: those of STUDY"),
    ] = None,
    sd: Annotated[
        float | None,
        typer.Option(min=1e-6, help="spread of the paired differences over models, in points; overrides rows"),
    ] = None,
    models: Annotated[list[int] | None, typer.Option(min=2, help="numbers of models (repeatable)")] = None,
    chance: Annotated[float, typer.Option(min=0.05, max=0.999, help="required power")] = 0.8,
    as_json: AsJson = False,
) -> None:
    """Show the least effect that each claim can detect, by number of models; no run is needed."""
    from analysis.claims.read import read_claims
    from analysis.evidence.files import has_evidence, refuse_without_evidence
    from prunebench.checks import check_study_folder

    claims = read_claims(study / "claims.yaml")
    if pilot is not None:
        refuse_without_evidence(pilot)
    if not has_evidence(study):
        check_study_folder(study, profile)
    with quick_imports():
        from analysis.claims.prospects import MODELS, prospects
        from analysis.evidence.load import load
        from analysis.narrate import power_lines

    own = load(study, profile).rows if has_evidence(study) else None
    rows = _planned_rows(study, profile) if own is None else own
    spread = load(pilot).rows if pilot is not None else own
    counts = sorted(set(models or MODELS))
    powers = prospects(rows, claims, pilot=spread, sd=None if sd is None else sd / 100, models=counts, power=chance)
    if as_json:
        print_json([dataclasses.asdict(one) for one in powers])
        return
    out = make_console()
    for line in power_lines(powers):
        out.print(line)
    out.print(
        f"n = models: the least effect over its margin (superiority), or the least margin without a difference (other "
        f"kinds), detected with {100 * chance:.0f} % power at the first step of Holm's correction.\n"
        f"Spread: {_spread_source(sd, pilot, own is not None)}; without one, effects are in sd of the differences.",
    )


def _spread_source(sd: float | None, pilot: Path | None, has_rows: bool) -> str:
    """Describe where the standard deviation of the differences comes from."""
    if sd is not None:
        return f"stated, {sd:g} points"
    if pilot is not None:
        return f"pooled over the settings of {pilot}"
    return (
        "pooled over the settings of this study's own rows" if has_rows else "none; give --sd POINTS or --pilot STUDY"
    )


def _planned_rows(study: Path, profile: str | None) -> pd.DataFrame:
    """Return the rows that the plan of a study will have. The plan needs the plug-ins, which load torch."""
    with quick_imports():
        from bench.run.open_study import open_study
    from bench.store.reader import planned_rows
    from bench.study.plan import axis_values

    return planned_rows({**axis_values(cell), "cell": cell.id} for cell in open_study(study, profile).plan.cells())
