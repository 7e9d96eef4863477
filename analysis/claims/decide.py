"""From a claims file and the evidence of a study to verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from analysis.claims.gates import Informative, registered_gates
from analysis.claims.outcomes import Outcome, part_outcome
from analysis.claims.planned_power import planned_power
from analysis.claims.read import Claims, read_claims
from analysis.claims.records import ALPHA, Basis, ClaimResult, PartResult, Record, Verdict, versions
from analysis.claims.robustness import robustness_of
from analysis.claims.schema import Claim
from analysis.claims.scope import differs_from, scope_in_words
from analysis.evidence.evidence import Evidence
from analysis.evidence.load import data_hash
from analysis.stats.families import PartP, claim_p_values
from analysis.stats.looks import nominal_levels, repeated_limits

#: Sample, kind, deciding test and margin of a record.
_Tested: TypeAlias = tuple[str, str, str, float | None]


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

    Notes
    -----
    A claim is contradicted if any primary part is; else not testable if any primary part is not; supported if all are
    supported; else inconclusive. A primary part that is not testable stays in the family of Holm's correction, with
    p-values of 1.
    """
    return decide(evidence, read_claims(claims_file))


def decide(evidence: Evidence, claims: Claims, informative: Informative | None = None) -> list[ClaimResult]:
    """Decide claims that were read already; see `decide_claims`.

    Parameters
    ----------
    evidence : Evidence
    claims : Claims
    informative : mapping, optional
        Settings that a pilot found informative; default: those of the registration. Parts without an entry are judged
        on the study's own models.
    """
    if informative is None:
        informative = registered_gates(evidence)
    base = {"data_hash": data_hash(evidence), "versions": versions()}
    seen: dict[_Tested, str] = {}
    found = []
    for claim in claims.claims:
        result = _at_looks(claim, evidence, claims.looks, informative)
        parts = tuple(
            part.model_copy(
                update={"records": tuple(_referenced(r.model_copy(update=base), seen) for r in part.records)}
            )
            for part in result.parts
        )
        same = sorted({(part.id, record.same_as) for part in parts for record in part.records if record.same_as})
        notes = (*result.notes, *(f"part {part} is the same test as {other}" for part, other in same))
        found.append(result.model_copy(update={
            "parts": parts, "notes": notes, "claims_hash": claims.hash,
        }))  # fmt: skip
    return found


def _referenced(record: Record, seen: dict[_Tested, str]) -> Record:
    """Return the record with a reference to an earlier one that tests the same numbers in the same way."""
    if not record.sample or record.by_construction:
        return record
    own = f"{record.claim} {record.part}"
    first = seen.setdefault((record.sample, record.kind, record.test, record.margin), own)
    return record if first == own else record.model_copy(update={"same_as": first})


def _at_looks(
    claim: Claim, evidence: Evidence, looks: tuple[int, int] | None, informative: Informative
) -> ClaimResult:  # fmt: skip
    """Decide a claim at its looks: what was decided at the first look stands, and between the looks nothing is decided.

    Repeated intervals are added to the records.
    """
    if looks is None:
        return _composed(claim, _decided(claim, _outcomes(claim, evidence, informative), ALPHA, evidence, informative))
    levels, complete = nominal_levels(looks, ALPHA), evidence.complete_models
    early = evidence.first_models(looks[0])
    outcomes = _outcomes(claim, early, informative)
    parts = [_with_repeated(part) for part in _decided(claim, outcomes, levels[0], early, informative)]
    if complete < looks[0]:
        note = f"{complete} of the {looks[0]} models of the first look are complete: nothing is decided yet"
        return _noted(_composed(claim, [_undecided(part) for part in parts]), note)
    first = _composed(claim, parts)
    if first.verdict in ("supported", "contradicted"):
        note = f"decided at the first look, with {looks[0]} models at a one-sided level of {levels[0]:.4f}"
        return _noted(first, note)
    if complete < looks[1]:
        return _noted(first, f"not decided at the first look, with {looks[0]} models; the last look has {looks[1]}")
    late = evidence.first_models(looks[1])
    last = [
        now.with_earlier_decisions(before, part, levels[1] / levels[0])
        for now, before, part in zip(_outcomes(claim, late, informative), outcomes, parts, strict=True)
    ]
    parts = [_with_repeated(part) for part in _decided(claim, last, levels[1], late, informative)]
    note = f"last look, with {looks[1]} models at a one-sided level of {levels[1]:.4f}"
    return _noted(_composed(claim, parts), note)


def _noted(result: ClaimResult, note: str) -> ClaimResult:
    return result.model_copy(update={"notes": (*result.notes, note)})


def _undecided(part: PartResult) -> PartResult:
    """Return a part before its first look: identities stand, tests decide nothing."""
    if part.kind == "identity":
        return part
    return part.model_copy(update={
        "verdict": _open(part.verdict),
        "records": tuple(record.model_copy(update={"verdict": _open(record.verdict)}) for record in part.records),
    })  # fmt: skip


def _open(verdict: Verdict) -> Verdict:
    return "not testable" if verdict == "not testable" else "inconclusive"


def _with_repeated(part: PartResult) -> PartResult:
    """Return the part with repeated intervals: the t intervals at the level of the look that the records have."""
    return part.model_copy(update={"records": tuple(_repeated(record) for record in part.records)})


def _repeated(record: Record) -> Record:
    if record.by_construction or record.effect is None or record.low is None or record.df is None:
        return record
    low, high = repeated_limits(record.effect, record.low, record.df, record.alpha)
    return record.model_copy(update={"low_repeated": low, "high_repeated": high})


def _outcomes(claim: Claim, evidence: Evidence, informative: Informative) -> list[Outcome]:
    return [part_outcome(part, evidence, informative.get((claim.id, part.id))) for part in claim.parts]


def _decided(
    claim: Claim, outcomes: Sequence[Outcome], alpha: float, evidence: Evidence, informative: Informative
) -> list[PartResult]:  # fmt: skip
    """Decide the parts of a claim at one level."""
    primary = [outcome for outcome in outcomes if outcome.part.role == "primary"]
    _, adjusted = claim_p_values([PartP(one.p, one.p_contradiction) for one in primary])
    of_primary = dict(zip([one.part.id for one in primary], adjusted, strict=True))
    parts = []
    for outcome in outcomes:
        part, against, factor, family = outcome.part, outcome.p_contradiction, 1, 1
        if part.role == "primary":
            factor = sum(one.p_contradiction >= outcome.p_contradiction for one in primary)  # of Holm's step
            against, family = of_primary[part.id], len(primary)
        result = outcome.decided(alpha, against, factor)
        records = tuple(
            _placed(claim, record).model_copy(update={
                "power": planned_power(part, record), "primary_parts": family,
            }) for record in result.records
        )  # fmt: skip
        robustness = robustness_of(part, evidence, alpha, informative.get((claim.id, part.id)))
        parts.append(result.model_copy(update={"records": records, "robustness": robustness}))
    return parts


def _placed(claim: Claim, record: Record) -> Record:
    """Return the record with what differs from the source's setting; a mean over settings is where all of them are."""
    labels: dict[str, list[str | float]] = {}
    for setting in record.averaged or (record.setting,):
        for column, label in differs_from(claim.setting, setting).items():
            labels.setdefault(column, []).append(label)
    differs = {
        column: found[0] if len(set(found)) == 1 else " and ".join(map(str, dict.fromkeys(found)))
        for column, found in labels.items()
    }
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
    records = [record for part in primary for record in part.records]
    constructed = sum(bool(record.by_construction) for record in records)
    deciding = [record for record in records if record.verdict != "not testable"]
    lost = len(records) - len(deciding) - constructed
    if constructed:
        notes.append(f"{constructed} of {len(records)} settings hold by construction and decide nothing")
    if verdict != "not testable" and lost:
        notes.append(f"{lost} of {len(records)} settings not testable")
    measured = [record for record in deciding if record.kind != "identity"]
    if any(record.descriptive for record in measured):
        notes.append("descriptive only")
    ungated = {record.gate for record in measured}
    if "not judged" in ungated:
        notes.append("the gate could not be judged in every setting")
    # a mismatch of an identity is measured: no definition implies it
    basis: Basis = "measured" if measured or not deciding or verdict == "contradicted" else "by construction"
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
