"""The Python API: plan, run and load a study folder.

The functions import what they need when they are called, so that ``import prunebench`` loads neither torch nor pandas.
`plan` and `run` check the study's files before they import torch, so that a mistake is reported at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunebench.imports import quick_imports

if TYPE_CHECKING:
    from rich.console import Console

    from bench.run.driver import RunOptions, RunSummary
    from bench.run.engine import Engine
    from bench.run.open_study import OpenStudy
    from bench.store.reader import StudyData


def load(folder: str | Path, profile: str | None = None) -> StudyData:
    """Read the evidence of a study: its store, or else the data files of its report.

    Parameters
    ----------
    folder : str or Path
        Study folder.
    profile : str, optional
        Profile of the run to read; the last run where None.

    Returns
    -------
    StudyData
        ``rows`` has one row per planned cell, ``dense`` one per dense model, ``checks`` one per cell that was
        evaluated again; ``meta`` is a mapping with the study, its settings and its provenance. ``curves``,
        ``alignment`` and ``units`` are further frames, empty where the study has none. Accuracies in all frames are
        fractions from 0 to 1, as stored; study.yaml, claims.yaml and printed output have percentage points.

    Raises
    ------
    AnalysisError
        If the folder holds no evidence, or a data file is damaged.
    UserError
        If the store cannot be read, or holds no run of `profile`.

    Examples
    --------
    A folder that holds only a report is enough:

    >>> import prunebench
    >>> evidence = prunebench.load("reports/digits")
    >>> evidence.meta["name"], sorted(evidence.rows["granularity"].dropna().unique())
    ('digits', ['channel', 'weight'])
    """
    from analysis.evidence.load import load as read

    return read(Path(folder), profile)


def plan(
    folder: str | Path,
    profile: str | None = None,
    device: str = "auto",
    *,
    pilots: Sequence[str | Path] = (),
    sd: float | None = None,
) -> dict[str, Any]:
    """Describe what a run of a study would do; computes no cell.

    Parameters
    ----------
    folder : str or Path
        Study folder.
    profile : str, optional
        A profile of study.yaml.
    device : {"auto", "cpu", "cuda"}
        Fixed at the study's first run.
    pilots : sequence of str or Path
        Folders of studies that give the spread over models and the informative settings.
    sd : float, optional
        Standard deviation over models of the paired differences, in percentage points.

    Returns
    -------
    dict
        What ``prunebench plan --json`` prints: among others ``cells`` and ``todo`` (counts), ``seconds``, ``memory``
        (bytes), ``warnings``, ``networks``, ``decidable`` with the least effect and margin that can be found, in
        standard deviations of the paired differences, and ``claims``, the `analysis.claims.planning.PartPlan` of every
        part of claims.yaml.

    Raises
    ------
    UserError
        If the study, its data or its checkpoints cannot be used.
    AnalysisError
        If claims.yaml has a mistake.

    Examples
    --------
    >>> import tempfile, prunebench
    >>> from bench.study.templates import new_study
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = new_study(Path(folder, "mine"), "digits", [], None)
    ...     found = prunebench.plan(Path(folder, "mine"), profile="quick", device="cpu")
    >>> found["todo"] == found["cells"] > 0
    True
    """
    from analysis.evidence.files import refuse_without_evidence
    from prunebench.checks import check_study_folder

    check_study_folder(Path(folder), profile)
    for pilot in pilots:
        refuse_without_evidence(Path(pilot))
    with quick_imports():
        from analysis.evidence.load import load
        from analysis.stats.power import least_effect, least_margin
        from bench.run.open_study import open_study
        from bench.run.plan_summary import summarise_plan
        from prunebench.planned_claims import plan_session

    session = open_study(Path(folder), profile, device)
    models = len(session.study.file.train_seeds) if any(m.seeded for m in session.study.file.models) else 1
    decidable = {
        "models_per_setting": models,
        "least_effect_sd": least_effect(models),
        "least_margin_sd": least_margin(models),
    }
    plans, warnings = plan_session(Path(folder), session, [load(Path(pilot)) for pilot in pilots], sd)
    summary = summarise_plan(session)
    warnings = [*summary["warnings"], *_changes(session), *warnings]
    return {**summary, "warnings": warnings, "decidable": decidable, "claims": plans}


def _changes(session: OpenStudy) -> list[str]:
    """Return one line if a registered study has changed so that a run would be refused."""
    from analysis.claims.read import claims_hash
    from bench.core.errors import UserError
    from bench.study.registered import check_registration

    folder = session.study.folder
    claims = folder / "claims.yaml"
    digest = claims_hash(claims) if claims.exists() else None
    try:
        check_registration(folder, session.study.profile, lambda: session.design, digest)
    except UserError as error:
        return [str(error)]
    return []


def run(
    folder: str | Path,
    profile: str | None = None,
    device: str = "auto",
    *,
    only: Mapping[str, str | float] | None = None,
    limit: int | None = None,
    retry_failed: bool = False,
    cell_timeout: float | None = None,
) -> RunSummary:
    """Compute the missing cells of a study in this process.

    Parameters
    ----------
    folder : str or Path
        Study folder.
    profile : str, optional
        A profile of study.yaml.
    device : {"auto", "cpu", "cuda"}
        Fixed at the study's first run.
    only : mapping of str to str or float, optional
        Axis -> value, such as ``{"sparsity": 0.5}``: compute only the cells that have all of these values.
    limit : int, optional
        Largest number of cells to compute.
    retry_failed : bool, default False
        Compute failed cells again.
    cell_timeout : float, optional
        Seconds after which a cell fails.

    Returns
    -------
    RunSummary
        Numbers of cells ``done``, ``failed``, ``skipped``, ``reused`` and ``left``. A failed cell raises nothing here:
        ``failures`` counts the reasons, ``stopped`` gives the reason of a run that ended early, and ``unchecked``
        lists the groups whose checks failed.

    Raises
    ------
    UserError
        If the study cannot be used, another run holds it, or no cell has the values of `only`.
    AnalysisError
        If claims.yaml has a mistake.

    Notes
    -----
    A run sets the number of torch's threads to that of the study. `load` reads its rows.

    Examples
    --------
    >>> import json, tempfile, prunebench
    >>> study = {
    ...     "name": "small", "data": ["digits"], "models": [{"name": "digits_cnn", "recipe": {"epochs": 1}}],
    ...     "train_seeds": 1, "granularities": ["weight"], "scorers": ["magnitude"], "sparsities": [0.5],
    ... }
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "study.yaml").write_text(json.dumps(study))
    ...     summary = prunebench.run(folder, device="cpu")
    ...     rows = prunebench.load(folder).rows
    >>> summary.done == len(rows), summary.failed
    (True, 0)
    """
    from rich.console import Console

    from bench.core.errors import UserError, suggest
    from bench.store.schema import AXES
    from prunebench.checks import check_study_folder

    axes = [column.name for column in AXES]
    for axis in only or ():
        if axis not in axes:
            raise UserError(f"only: no axis is named {axis!r}: {suggest(axis, axes)}")
    check_study_folder(Path(folder), profile)
    with quick_imports():
        from bench.run.driver import RunOptions
        from bench.run.open_study import open_study
    from bench.study.plan import cells_asked_for

    session = open_study(Path(folder), profile, device)
    cells = cells_asked_for(session.plan, {axis: str(value) for axis, value in only.items()}) if only else None
    options = RunOptions(limit, retry_failed, cells, cell_timeout)
    return run_session(session, options, Console(quiet=True), workers=1)


def run_session(
    session: OpenStudy,
    options: RunOptions,
    console: Console,
    *,
    workers: int | None = None,
    engine: Engine | None = None,
    merge: Sequence[Path] = (),
) -> RunSummary:
    """Run what is missing of an open study, and write notes and progress to a console.

    Parameters
    ----------
    session : OpenStudy
        From `bench.run.open_study.open_study`.
    options : RunOptions
        Which cells to compute, and for how long.
    console : Console
        Receives notes and the progress of the run.
    workers : int, optional
        Processes on this machine; one per GPU where None. 1 computes in this process.
    engine : Engine, optional
        Computes the groups in place of local processes.
    merge : sequence of Path
        Folders of the same study, whose finished rows are imported first.

    Raises
    ------
    UserError
        If claims.yaml cannot be read, a folder to merge holds no run of this study, another run holds the study, or
        the study is registered and has changed since.
    """
    from analysis.claims.read import claims_hash
    from bench.run.driver import Driver
    from bench.run.forecast import group_work
    from bench.run.local import InProcessEngine, local_engine
    from bench.run.open_study import changed_inputs
    from bench.run.progress import Reporter
    from bench.store.database import open_store
    from bench.store.merge import merge_study
    from bench.study.begin import begin_study
    from bench.study.registered import begin_registered, check_registration
    from prunebench.planned_claims import check_claims_against

    study = session.plan.study
    for warning in check_claims_against(study.folder, session):
        console.print(f"warning: {warning}", style="yellow")
    claims = study.folder / "claims.yaml"
    claims_digest = claims_hash(claims) if claims.exists() else None
    record = check_registration(study.folder, study.profile, lambda: session.design, claims_digest)
    for other in merge:
        open_store(other).close()  # report a missing folder before a store is created
    with closing(open_store(study.folder, create=True)) as store, store.lock():
        for note in (*session.notes, *changed_inputs(store, session)):
            console.print(f"note: {note}", style="yellow")
        record = begin_registered(store, study.folder, record, lambda: session.design)
        for change in record.changes if record is not None else ():
            console.print(f"note: changed since the registration: {change}", style="yellow")
        methods = session.registry.records(session.plan.cells())
        begin_study(store, session.plan, session.settings, session.facts, claims_digest, methods)
        for other in merge:
            imported = merge_study(study.folder, store, study.digest(), other)
            console.print(f"{imported} cells imported from {other}")
        driver = Driver(session.plan, session.registry, session.settings, store, options)
        todo = driver.todo()
        with Reporter(len(todo), console) as reporter:
            chosen = engine or local_engine(session.settings, session.registry, study.folder, workers, reporter.stage)
            together = not isinstance(chosen, InProcessEngine)
            work = group_work(session, {cell.id for cell in todo}) if together else None
            return driver.run(chosen, reporter, todo, work)
