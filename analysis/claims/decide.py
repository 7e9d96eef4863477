"""From a claims file and the evidence of a study to verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from analysis.claims.across import across_estimates
from analysis.claims.contrasts import Estimate, mean_estimates
from analysis.claims.identities import identity_records
from analysis.claims.read import Claims, read_claims
from analysis.claims.records import ClaimResult, PartResult, Record, Verdict, versions
from analysis.claims.schema import Claim, Combination, Contrast, IdentityPart, Part, Reevaluation
from analysis.claims.select import in_setting, lacking, missing
from analysis.claims.settle import settle
from analysis.claims.values import LACKING
from analysis.evidence.load import data_hash
from bench.store.reader import StudyData


def decide_claims(data: StudyData, claims_file: Path) -> list[ClaimResult]:
    """Decide every claim of a study.

    Parameters
    ----------
    data : StudyData
        The evidence; an incomplete study is decided on what there is, and the rest is counted.
    claims_file : Path
        ``STUDY/claims.yaml``.

    Returns
    -------
    list of ClaimResult
        In the order of the file.

    Raises
    ------
    AnalysisError
        If the file is missing or wrong.
    """
    return decide(data, read_claims(claims_file))


def decide(data: StudyData, claims: Claims) -> list[ClaimResult]:
    """Decide claims that were read already; see `decide_claims`."""
    evidence = {"data_hash": data_hash(data), "versions": versions()}
    records: dict[tuple[str, str], list[Record]] = {}
    estimates: list[Estimate] = []
    for claim in claims.claims:
        for part in claim.parts:
            base = {"claim": claim.id, "in_paper_setting": False, **evidence}
            records[claim.id, part.id] = []
            if lacking(data.rows, part):
                continue
            if isinstance(part, IdentityPart):
                records[claim.id, part.id] = identity_records(part, data, base)
            elif isinstance(part, Contrast | Combination):
                estimates.extend(mean_estimates(part, claim, data, base))
            else:
                estimates.extend(across_estimates(part, claim, data, base))
    for record in settle(estimates):
        records[record.claim, record.part].append(record)
    registered = claims.hash == data.meta.get("claims_hash")
    return [
        _compose(
            claim,
            [_part(claim, part, records[claim.id, part.id], data) for part in claim.parts],
            registered,
            claims,
        )
        for claim in claims.claims
    ]


def _part(claim: Claim, part: Part, records: Sequence[Record], data: StudyData) -> PartResult:
    """Compose a part: refuted if any record is, supported if every testable one is."""
    placed = tuple(r.model_copy(update={"in_paper_setting": in_setting(claim, r.setting)}) for r in records)
    testable = [record.verdict for record in placed if record.verdict != "not testable"]
    if testable:
        verdict, reason = _all_or_any(testable), ""
        if verdict == "supported" and any(_lost(record) for record in placed):
            verdict, reason = "inconclusive", "settings that failed or were not run may not agree"
    elif placed:
        verdict, reason = "not testable", _why_not(part, placed)
    elif isinstance(part, Reevaluation):
        verdict, reason = "not testable", "no shared evaluation was done again"
    else:
        verdict, reason = "not testable", missing(data.rows, part)
    return PartResult(
        id=part.id, text=part.text, kind=part.kind, verdict=verdict, reason=reason, scan=part.scan, records=placed
    )


def _why_not(part: Part, records: Sequence[Record]) -> str:
    """Say why no record of a part is testable: what its value lacks where that is all, else the first reason."""
    value = getattr(part, "value", "accuracy")
    if value != "accuracy" and all(r.n == 0 and not (set(r.counts) & {"failed", "to do"}) for r in records):
        return LACKING[value]
    return records[0].reason


def _lost(record: Record) -> bool:
    """Whether a setting that the claim speaks of has no verdict because its cells failed or were not run."""
    return record.verdict == "not testable" and any(record.counts.get(state) for state in ("failed", "to do"))


def _all_or_any(verdicts: Sequence[Verdict]) -> Verdict:
    if "refuted" in verdicts:
        return "refuted"
    if all(verdict == "supported" for verdict in verdicts):
        return "supported"
    return "inconclusive"


def _compose(claim: Claim, parts: Sequence[PartResult], registered: bool, claims: Claims) -> ClaimResult:
    needed = [
        result for part, result in zip(claim.parts, parts, strict=True)
        if not part.scan and (part.required or result.verdict != "not testable")
    ]  # fmt: skip
    blocked = [result for result in needed if result.verdict == "not testable"]
    notes: list[str] = []
    verdict: Verdict
    if blocked and not any(result.verdict == "refuted" for result in needed):
        verdict = "not testable"
        notes.extend(f"part {result.id}: {result.reason}" for result in blocked)
    elif needed:
        verdict = _all_or_any([result.verdict for result in needed])
    else:
        verdict = "not testable"
        notes.extend(f"part {result.id}: {result.reason}" for result in parts)
    for part, result in zip(claim.parts, parts, strict=True):
        if result not in needed and not part.scan and part.without and verdict != "not testable":
            notes.append(part.without)
    records = [record for result in needed for record in result.records if record.verdict != "not testable"]
    untested = sum(len(result.records) for result in needed) - sum(
        record.verdict != "not testable" for result in needed for record in result.records
    )
    if untested and verdict != "not testable":
        notes.append(f"{untested} of {sum(len(result.records) for result in needed)} settings not testable")
    if any(record.descriptive and record.kind != "identity" for record in records):
        notes.append("descriptive only")
    setting = ""
    if records and claim.setting:
        setting = "in the paper's setting" if all(record.in_paper_setting for record in records) else "transfer"
    return ClaimResult(
        id=claim.id, text=claim.text, source=claim.source, verdict=verdict, notes=tuple(notes),
        setting=setting, registered=registered, claims_hash=claims.hash, parts=tuple(parts),
    )  # fmt: skip
