"""Compare the claims of a study with its planned cells, and plan what they can decide.

Importing this module loads pandas and SciPy, but not torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.claims.check import check_claims, named_labels, shortfalls
from analysis.claims.planning import PartPlan, plan_parts
from analysis.claims.read import Claims, read_claims
from analysis.claims.schema import claims_path
from analysis.errors import MistakesError
from analysis.evidence.evidence import Evidence
from bench.core.registry import KINDS, Registry
from bench.store.reader import empty, planned_rows
from bench.store.registration import REGISTRATION
from bench.store.schema import CHECKS, DENSE
from bench.study.plan import axis_values

if TYPE_CHECKING:
    from bench.run.open_study import OpenStudy


def planned_evidence(session: OpenStudy) -> Evidence:
    """Return the planned cells of an open study as evidence of which nothing was run.

    Cells that the plan skips, such as those of a scorer that is not defined for their granularity, are left out: they
    never have a result.
    """
    cells = [cell for cell in session.plan.cells() if not cell.skip]
    rows = planned_rows({**axis_values(cell), "cell": cell.id, "position": n} for n, cell in enumerate(cells))
    images = rows["dataset"].map({label: facts.test for label, facts in session.facts.items()})
    datasets = {
        label: {"num_classes": facts.num_classes, "chance": facts.chance} for label, facts in session.facts.items()
    }
    record = session.record
    meta = {
        "name": session.study.file.name, "profile": session.study.profile, "provenance": {"datasets": datasets},
        **({REGISTRATION: record.model_dump(mode="json")} if record is not None else {}),
    }  # fmt: skip
    return Evidence(
        rows.assign(n_test=images.astype(rows["n_test"].dtype)), empty(CHECKS), empty(DENSE), meta,
        recorded=session.registry.records(cells),
    )  # fmt: skip


def check_claims_against(folder: Path, session: OpenStudy) -> list[str]:
    """Compare the claims of a study with its planned cells, and return the warnings.

    Parameters
    ----------
    folder : Path
        Study folder.
    session : OpenStudy
        From `bench.run.open_study.open_study`.

    Returns
    -------
    list of str
        One line each; empty without claims.yaml.

    Raises
    ------
    MistakesError
        If the claims name what neither the study nor the catalogue has, or use cells that the study does not have.
    """
    if not claims_path(folder).exists():
        return []
    return compare_claims(planned_evidence(session), read_claims(claims_path(folder)), session.registry)


def plan_session(
    folder: Path, session: OpenStudy, pilots: Sequence[Evidence] = (), sd: float | None = None
) -> tuple[list[PartPlan], list[str]]:
    """Check and plan the claims of a study.

    Parameters
    ----------
    folder, session
        As for `check_claims_against`.
    pilots : sequence of Evidence
        Studies that give spread and informative settings.
    sd : float, optional
        Standard deviation over models of the paired differences, in percentage points.

    Returns
    -------
    plans : list of PartPlan
        One per part; empty without claims.yaml.
    warnings : list of str
        Those of `check_claims_against`, and the primary parts that the planned models cannot decide.

    Raises
    ------
    MistakesError
        As `check_claims_against`.
    """
    if not claims_path(folder).exists():
        return [], []
    claims, evidence = read_claims(claims_path(folder)), planned_evidence(session)
    warnings = compare_claims(evidence, claims, session.registry)
    plans, undecidable = plan_claims(evidence, claims, pilots=pilots, sd=sd)
    return plans, [*warnings, *undecidable]


def compare_claims(evidence: Evidence, claims: Claims, registry: Registry) -> list[str]:
    """Compare claims with the cells of a study, run or not, and return the warnings.

    Raises
    ------
    MistakesError
        As `check_claims_against`.
    """
    whole = evidence.meta.get("profile") is None
    found = check_claims(evidence, claims, _catalogue(evidence, claims, registry), whole=whole)
    if found.mistakes:
        raise MistakesError(found.mistakes)
    return list(found.warnings)


def plan_claims(
    evidence: Evidence, claims: Claims, *, pilots: Sequence[Evidence] = (), sd: float | None = None,
    models: Sequence[int] = (), power: float = 0.8,
) -> tuple[list[PartPlan], list[str]]:  # fmt: skip
    """Plan every part of the claims, and describe the primary parts that the planned models cannot decide.

    Parameters
    ----------
    evidence, claims, pilots, sd, models, power
        See `analysis.claims.planning.plan_parts`.
    """
    plans = plan_parts(evidence, claims, pilots=pilots, sd=sd, models=models, power=power)
    return plans, shortfalls(plans, claims, power)


def _catalogue(evidence: Evidence, claims: Claims, registry: Registry) -> dict[str, list[str]]:
    """Return column -> names that a study can have; timm's are listed only if a claim names an unknown model."""
    names = {kind: registry.names(kind) for kind in KINDS}
    unknown = [name for name in named_labels(claims, "model") - set(names["model"]) if "*" not in name]
    if any(not evidence.labels("model", (name,)) for name in unknown):
        names["model"] += import_module("timm").list_models()  # loads torch
    return names
