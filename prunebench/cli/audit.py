"""The command ``audit``: compare finished rows with the plan, and compute a few of them again."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from prunebench.cli.options import Profile, StudyFolder
from prunebench.cli.output import make_console
from prunebench.imports import quick_imports

commands = typer.Typer()

#: Largest number of lines about rows that disagree with the plan or with themselves.
MOST_LINES = 10


@commands.command()
def audit(
    study: StudyFolder,
    profile: Profile = None,
    cells: Annotated[
        int | None, typer.Option(min=1, help="cells to compute again; default: 1 % of the rows, at least 5")
    ] = None,
    salt: Annotated[
        str, typer.Option(metavar="TEXT", help="any text of yours; it changes which cells are chosen")
    ] = "",
    retrain: Annotated[
        bool, typer.Option(help="train the dense models again, too, instead of using stored ones")
    ] = False,
    cache: Annotated[
        str | None,
        typer.Option(envvar="PRUNEBENCH_CACHE", help="folder or URL of dense models shared between studies"),
    ] = None,
) -> None:
    """Compute cells again, chosen by the hash of the evidence; exit code 1 if a row differs."""
    from analysis.evidence.files import refuse_without_evidence
    from bench.plugins.catalogue import make_registry
    from bench.store.places import is_begun
    from bench.study.load import check_study

    check_study(study, make_registry(study), profile)
    refuse_without_evidence(study)
    with quick_imports():
        from analysis.evidence.load import load
        from bench.run.audit import choose_cells, default_count, differences, open_as_run, recompute
        from bench.run.row_checks import check_rows, percent
        from bench.store.files import Artifacts
        from bench.store.reader import read_database

    # rows of a store are compared as they are: `load` refuses what no run would have written
    evidence = read_database(study, profile) if is_begun(study) else load(study, profile)
    rows, opened = evidence.rows, open_as_run(study, evidence.meta)
    settings, out = opened.settings, make_console()
    out.print(
        f"computing on {settings.device_class}, {settings.precision}, {settings.memory_format}, batch {settings.batch}"
    )
    for line in differences(opened, evidence):
        out.print(f"note: {line}", style="yellow")
    problems = check_rows(rows, opened.plan)
    known = {cell.id for cell in opened.plan.cells()}
    states = rows.loc[rows["state"].notna() & rows["cell"].isin(known), "state"].value_counts()
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    out.print(
        f"{len(known)} cells: {counts}, {len(known) - states.sum()} without a row; "
        f"{len(problems)} rows disagree with the plan or with their correctness bits"
    )
    for cell, problem in islice(problems.items(), MOST_LINES):
        out.print(f"different  {cell[:12]}  {problem}")
    if len(problems) > MOST_LINES:
        out.print(f"... and {len(problems) - MOST_LINES} more")
    chosen = choose_cells(rows, cells or default_count(rows), salt)
    models = () if retrain else (Artifacts.of(study), *((Artifacts.at(cache),) if cache else ()))
    count = different = 0
    for audited in recompute(opened, rows, [cell for cell in chosen if cell in known], models, out.print):
        count, different = count + 1, different + bool(audited.problems)
        found = "different" if audited.problems else "equal    "
        out.print(f"{found}  {audited.cell[:12]}  {audited.title}: {percent(audited.accuracy)}")
        for problem in audited.problems:
            out.print(f"           {problem}")
    out.print(f"{count - different} of {count} recomputed rows are equal to the stored ones")
    if problems or different:
        raise typer.Exit(1)
