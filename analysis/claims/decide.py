"""From a claims file and the evidence of a study to verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from analysis.claims.gates import Setting
from analysis.claims.outcomes import part_outcome
from analysis.claims.read import Claims, read_claims
from analysis.claims.records import ALPHA, Basis, ClaimResult, PartResult, Record, Verdict, versions
from analysis.claims.robustness import robustness_of
from analysis.claims.schema import Claim
from analysis.claims.scope import differs_from, scope_in_words
from analysis.evidence.evidence import Evidence
from analysis.evidence.load import data_hash
from analysis.stats.families import PartP, claim_p_values
from analysis.stats.looks import nominal_levels

#: (claim, part) -> settings that a pilot found informative, as stored at registration.
Informative = Mapping[tuple[str, str], Sequence[Setting]]


def decide_claims(evidence: Evidence, claims_file: Path) -> list[ClaimResult]:
    """Decide every claim of a study.

    Parameters
    ----------
    evidence : Evidence
        An incomplete study is decided on the rows that it has; the missing ones are counted.
    claims_file : Path
        ``STUDY/claims.yaml``.

    Returns
    -------
    list of ClaimResult
        In the order of the file.

    Raises
    ------
    AnalysisError
        If the file is missing or has a mistake.
    """
    return decide(evidence, read_claims(claims_file))


def decide(evidence: Evidence, claims: Claims, informative: Informative | None = None) -> list[ClaimResult]:
    """Decide claims that were read already; see `decide_claims`.

    Parameters
    ----------
    evidence : Evidence
    claims : Claims
    informative : mapping, optional
        Settings that a pilot found informative; parts without an entry are judged on the study's own models.
    """
    base = {"data_hash": data_hash(evidence), "versions": versions()}
    registered = claims.hash == evidence.meta.get("claims_hash")
    seen: dict[tuple[str, str, float | None], str] = {}
    found = []
    for claim in claims.claims:
        result = _at_looks(claim, evidence, claims.looks, informative or {})
        parts = tuple(
            part.model_copy(update={"records": tuple(_referenced(r.model_copy(update=base), seen) for r in part.records)})
            for part in result.parts
        )
        same = sorted({(part.id, record.same_as) for part in parts for record in part.records if record.same_as})
        notes = (*result.notes, *(f"part {part} is the same test as {other}" for part, other in same))
        found.append(result.model_copy(update={
            "parts": parts, "notes": notes, "registered": registered, "claims_hash": claims.hash,
        }))  # fmt: skip
    return found


def _referenced(record: Record, seen: dict[tuple[str, str, float | None], str]) -> Record:
    """Return the record with a reference to an earlier one that tests the same numbers in the same way."""
    if not record.sample or record.by_construction:
        return record
    own = f"{record.claim} {record.part}"
    first = seen.setdefault((record.sample, record.kind, record.margin), own)
    return record if first == own else record.model_copy(update={"same_as": first})


def _at_looks(
    claim: Claim, evidence: Evidence, looks: tuple[int, int] | None, informative: Informative
) -> ClaimResult:  # fmt: skip
    """Decide a claim at its looks: a decision of the first look stands."""
    if looks is None:
        return _decided(claim, evidence, ALPHA, informative)
    levels = nominal_levels(looks, ALPHA)
    models = evidence.models_per_architecture
    if models < looks[0]:
        result = _decided(claim, evidence, levels[0], informative)
        note = f"{models} of {looks[0]} models of the first look: nothing is decided yet"
        return _undecided(result, note)
    first = _decided(claim, evidence.first_models(looks[0]), levels[0], informative)
    note = f"decided at the first look, with {looks[0]} models at a one-sided level of {levels[0]:.4f}"
    if first.verdict in ("supported", "contradicted"):
        return first.model_copy(update={"notes": (*first.notes, note)})
    if models < looks[1]:
        return _undecided(first, f"not decided at the first look with {looks[0]} models; the last look has {looks[1]}")
    last = _decided(claim, evidence.first_models(looks[1]), levels[1], informative)
    note = f"decided at the last look, with {looks[1]} models at a one-sided level of {levels[1]:.4f}"
    return last.model_copy(update={"notes": (*last.notes, note)})


def _undecided(result: ClaimResult, note: str) -> ClaimResult:
    verdict: Verdict = "not testable" if result.verdict == "not testable" else "inconclusive"
    return result.model_copy(update={"verdict": verdict, "notes": (*result.notes, note)})


def _decided(claim: Claim, evidence: Evidence, alpha: float, informative: Informative) -> ClaimResult:
    """Decide a claim at one level."""
    outcomes = [part_outcome(part, evidence, informative.get((claim.id, part.id))) for part in claim.parts]
    primary = [outcome for outcome in outcomes if outcome.part.role == "primary"]
    _, adjusted = claim_p_values([PartP(one.p, one.p_contradiction) for one in primary])
    of_primary = dict(zip([one.part.id for one in primary], adjusted, strict=True))
    parts = []
    for outcome in outcomes:
        against = of_primary.get(outcome.part.id, outcome.p_contradiction)
        result = outcome.decided(alpha, against, len(primary) if outcome.part.role == "primary" else 1)
        records = tuple(_placed(claim, record) for record in result.records)
        parts.append(result.model_copy(update={
            "records": records, "robustness": robustness_of(outcome.part, evidence, alpha),
        }))  # fmt: skip
    return _composed(claim, parts)


def _placed(claim: Claim, record: Record) -> Record:
    differs = differs_from(claim.setting, record.setting)
    return record.model_copy(update={
        "claim": claim.id, "in_paper_setting": bool(claim.setting) and not differs, "differs": differs,
    })  # fmt: skip


def _composed(claim: Claim, parts: Sequence[PartResult]) -> ClaimResult:
    """Compose the verdict of a claim from its primary parts."""
    primary = [part for part in parts if part.role == "primary"]
    verdicts = [part.verdict for part in primary]
    notes: list[str] = []
    verdict: Verdict = "inconclusive"
    if "contradicted" in verdicts:
        verdict = "contradicted"
    elif "not testable" in verdicts:
        verdict = "not testable"
        notes += [f"part {part.id}: {part.reason}" for part in primary if part.verdict == "not testable"]
    elif set(verdicts) == {"supported"}:
        verdict = "supported"
    deciding = [record for part in primary for record in part.records if record.verdict != "not testable"]
    planned = sum(len(part.records) for part in primary)
    if verdict != "not testable" and len(deciding) < planned:
        notes.append(f"{planned - len(deciding)} of {planned} settings not testable")
    measured = [record for record in deciding if record.kind != "identity"]
    if any(record.descriptive for record in measured):
        notes.append("descriptive only")
    ungated = {record.gate for record in measured}
    if "not judged" in ungated:
        notes.append("the gate could not be judged in every setting")
    basis: Basis = "measured" if measured or not deciding else "by construction"
    return ClaimResult(
        id=claim.id, text=claim.text, source=claim.source, verdict=verdict, notes=tuple(notes), basis=basis,
        scope=scope_in_words(claim.setting, deciding), models=min((record.n for record in deciding), default=0),
        robustness=_robustness_in_words(primary), parts=tuple(parts),
    )  # fmt: skip


def _robustness_in_words(primary: Sequence[PartResult]) -> str:
    """Describe how the readings of the primary parts compare."""
    found = [part.robustness for part in primary if part.robustness is not None]
    if not found:
        return ""
    tally = {"supported": 0, "inconclusive": 0, "contradicted": 0}
    for one in found:
        for verdict, number in one.tally().items():
            tally[verdict] += number
    total = sum(tally.values())
    if total <= len(found):
        return "the study has the primary reading alone" if total else ""
    depends = sorted({axis for one in found for axis in one.depends_on})
    word = "robust" if all(one.robust for one in found) else "not robust"
    shown = ", ".join(f"{number} {verdict}" for verdict, number in tally.items())
    return f"{word}: of {total} readings {shown}" + (f"; depends on {', '.join(depends)}" if depends else "")
