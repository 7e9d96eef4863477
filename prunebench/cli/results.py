"""Commands that decide claims: ``report``, ``claims``, ``overview`` and ``power``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.plugins.catalogue import make_registry
from prunebench.cli.options import AsJson, Pilots, Profile, SpreadPoints, StudyFolder
from prunebench.cli.output import TABLE_WIDTH, make_console, print_frame, print_json
from prunebench.imports import quick_imports

if TYPE_CHECKING:
    from analysis.claims.read import Claims
    from analysis.evidence.evidence import Evidence

commands = typer.Typer()


@commands.command()
def report(study: StudyFolder, profile: Profile = None) -> None:
    """Decide the claims, draw the figures and write STUDY/report/."""
    from prunebench.checks import check_evidence

    check_evidence(study)
    with quick_imports():
        from analysis.report.render import render_report
    from bench.study.registered import verify_stamp

    typer.echo(f"open {render_report(study, profile, verify_stamp, partial(_compare, study))}")


def _compare(study: Path, evidence: Evidence, stated: Claims) -> None:
    """Compare claims with the cells of a study, and print the warnings."""
    from prunebench.planned_claims import compare_claims

    for warning in compare_claims(evidence, stated, make_registry(study)):
        typer.echo(f"warning: {warning}", err=True)


@commands.command()
def claims(study: StudyFolder, profile: Profile = None, as_json: AsJson = False) -> None:
    """Decide the claims and print the verdicts; --json prints the records, in percentage points."""
    from analysis.evidence.files import refuse_without_evidence

    refuse_without_evidence(study)
    from analysis.claims.read import read_claims  # loads pandas

    stated = read_claims(study / "claims.yaml")
    with quick_imports():
        from analysis.claims.decide import decide
        from analysis.evidence.load import load
        from analysis.verdict_sentences import claim_lines, described_sentence, headline, registration_sentences
        from bench.store.registration_level import registration_level
        from bench.study.registered import verify_stamp

    evidence = load(study, profile)
    _compare(study, evidence, stated)
    level = registration_level(evidence.meta, evidence.rows, stated.hash, verify_stamp)
    results = decide(evidence, stated)
    if as_json:
        print_json([{**result.model_dump(mode="json"), "registration": level.word} for result in results])
        return
    out = make_console()
    for sentence in (headline(results), *registration_sentences(level, stated.hash), described_sentence(results)):
        out.print(sentence, end="\n" if sentence else "")
    for result in results:
        first, *more = claim_lines(result)
        out.print(first, style="bold")
        for line in more:
            out.print(f"    {line}")


@commands.command()
def overview(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="the folder that holds the studies")],
    as_json: AsJson = False,
) -> None:
    """Compare the claims of all studies below DIR and write DIR/overview.md; no cell is computed."""
    from analysis.across_studies.folders import study_folders

    folders = study_folders(folder)
    from prunebench.checks import check_evidence  # it loads what decides claims

    for study in folders:
        check_evidence(study)
    with quick_imports():
        from analysis.across_studies.learned import check_learned
        from analysis.across_studies.overview import overview_of
        from analysis.across_studies.studies import read_study
        from analysis.across_studies.text import as_json as values
        from analysis.across_studies.text import checklist_sentence, terminal_table, write_markdown
        from bench.study.registered import verify_stamp

    found = overview_of([read_study(study, folder, verify_stamp) for study in folders])
    mistakes = check_learned(folder, found)
    if as_json:
        print_json(values(found) | {"mistakes": mistakes})
    else:
        out = make_console()
        print_frame(terminal_table(found.parts), make_console(TABLE_WIDTH))
        for sentence in (*found.shared, checklist_sentence(found)):
            out.print(sentence)
        out.print(f"wrote {write_markdown(found, folder)}")
    for mistake in mistakes:
        typer.echo(mistake, err=True)
    if mistakes:
        raise typer.Exit(1)


@commands.command()
def power(
    study: StudyFolder,
    profile: Profile = None,
    pilot: Pilots = None,
    sd: SpreadPoints = None,
    models: Annotated[list[int] | None, typer.Option(min=2, help="numbers of models (repeatable)")] = None,
    chance: Annotated[float, typer.Option(min=0.05, max=0.999, help="required power")] = 0.8,
    as_json: AsJson = False,
) -> None:
    """Show power and the least decidable effect of each claim, by number of models; no run is needed."""
    from analysis.evidence.files import has_evidence, refuse_without_evidence
    from prunebench.checks import check_study_folder
    from prunebench.cli.plan_table import print_power

    for folder in pilot or ():
        refuse_without_evidence(folder)
    if not has_evidence(study):
        check_study_folder(study, profile)
    from analysis.claims.read import read_claims  # loads pandas

    claims = read_claims(study / "claims.yaml")
    with quick_imports():
        from analysis.claims.planning import MODELS
        from analysis.evidence.load import load
        from prunebench.planned_claims import compare_claims, plan_claims, planned_evidence

    if has_evidence(study):
        evidence, registry = load(study, profile), make_registry(study)
    else:  # the plan needs the plug-ins, which load torch
        with quick_imports():
            from bench.run.open_study import open_study

        session = open_study(study, profile)
        evidence, registry = planned_evidence(session), session.registry
    warnings = compare_claims(evidence, claims, registry)
    counts = sorted(set(models or MODELS))
    pilots = [load(folder) for folder in pilot or ()]
    plans, shortfalls = plan_claims(evidence, claims, pilots=pilots, sd=sd, models=counts, power=chance)
    if as_json:
        print_json([dataclasses.asdict(one) for one in plans])
        return
    out = make_console()
    print_power(plans, chance, out)
    out.print(f"Spread: {_spread_source(sd, pilot)}.")
    for warning in [*warnings, *shortfalls]:
        out.print(f"warning: {warning}", style="yellow")


def _spread_source(sd: float | None, pilots: Sequence[Path] | None) -> str:
    """Describe where the standard deviation of the differences comes from."""
    if sd is not None:
        return f"stated, {sd:g} points"
    if pilots:
        return f"upper 80 % limit of the standard deviation in {', '.join(map(str, pilots))}, pooled over settings"
    return "none; give --sd POINTS or --pilot FOLDER"
