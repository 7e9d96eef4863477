"""From estimates to verdicts, family by family."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from analysis.claims.contrasts import Estimate
from analysis.claims.records import Record, Verdict, number
from analysis.stats.correction import Correction, adjust, holm_alphas
from analysis.stats.intervals import models_to_decide, t_interval
from analysis.stats.power import Test, attainable_p


def settle(estimates: Sequence[Estimate]) -> list[Record]:
    """Correct for multiplicity inside each family and decide every record.

    The support of a claim is Holm-corrected. An equivalence over all pairs is an intersection-union test, so its
    support needs no correction. One refuted record refutes a claim, so the p-values of refutation are
    Holm-corrected for every kind. Parts with `scan` decide nothing and are corrected by Benjamini and Hochberg.
    A setting in which the question cannot arise (every cell skipped) is no member of its family; one whose cells
    failed or were not run is.

    Parameters
    ----------
    estimates : sequence of Estimate
        Of all claims of a study.

    Returns
    -------
    list of Record
        In the same order, each with its verdict.
    """
    families: dict[tuple[str | None, bool, bool], list[int]] = {}
    for place, estimate in enumerate(estimates):
        record = estimate.record
        families.setdefault((record.family, record.kind == "equivalence", record.scan), []).append(place)
    decided: dict[int, Record] = {}
    for (_, union, scan), places in families.items():
        asked = [place for place in places if not _void(estimates[place].record)]
        for place in set(places) - set(asked):
            decided[place] = _decide(estimates[place].record, math.nan, math.nan)
        members = [estimates[place] for place in asked]
        support = [_nan(member.record.p) for member in members]
        against = [_nan(member.record.p_against) for member in members]
        method: Correction = "bh" if scan else "holm"
        corrected = support if union else adjust(support, method).tolist()
        refuting = adjust(against, method).tolist()
        alpha = [_nan(member.record.alpha) for member in members]
        levels = alpha if union or scan else [float(holm_alphas(support, a)[i]) for i, a in enumerate(alpha)]
        opposed = alpha if scan else [float(holm_alphas(against, a)[i]) for i, a in enumerate(alpha)]
        columns = zip(asked, members, corrected, refuting, levels, opposed, strict=True)
        for place, member, p, q, level, opposing in columns:
            changes: dict[str, Any] = {
                "p_adjusted": number(p), "p_against_adjusted": number(q), "family_size": len(members),
            }  # fmt: skip
            interval = t_interval(member.differences, 1 - 2 * level)
            record = _decide(member.record.model_copy(update=changes), interval.sd, level)
            # the interval that agrees with the decision: at the level that Holm leaves to its direction
            shown = t_interval(member.differences, 1 - 2 * opposing) if record.verdict == "refuted" else interval
            if member.differences.size:
                told = {"level": shown.level, "low": number(shown.low), "high": number(shown.high)}
                record = record.model_copy(update=told)
            decided[place] = record
    return [decided[place] for place in range(len(estimates))]


def _void(record: Record) -> bool:
    """Whether the question does not arise: no data, and no cell that failed or is still to do."""
    return record.category == "no data" and not (record.counts.get("failed") or record.counts.get("to do"))


def _nan(value: float | None) -> float:
    return math.nan if value is None else value


#: Kinds of which data without any difference are the contrary.
_ORDERS = ("trend", "sign change", "difference")

#: Category of degenerate data -> why it decides nothing.
_UNDECIDABLE = {
    "chance level": "all at chance level: equal for want of any signal",
    "one model": "one model: a difference over models has no interval",
    "too few points": "too few sparsities (or other levels) to tell",
    "one model per architecture": "one model per architecture: a mixed model is not fitted",
    "not converged": "the mixed model did not converge",
}


def _decide(record: Record, sd: float, level: float) -> Record:
    """Add verdict and reason; `level` is the one-sided alpha that the family leaves to this record."""
    if record.category in ("no data", "not finite"):
        left = [f"{count} {name}" for name, count in record.counts.items()]
        found = "no row to compare" if record.category == "no data" else "an accuracy is not finite"
        return _with(record, "not testable", found + (f" ({', '.join(left)})" if left else ""))
    if record.category not in ("regular", "identical", "constant"):
        return _with(record, "not testable", _UNDECIDABLE.get(record.category, record.category))
    effect, margin = _nan(record.effect), _nan(record.margin)
    if record.kind in _ORDERS and record.category != "regular":
        return _with(record, "refuted", "degenerate: every model has the same value at every level")
    if record.category in ("identical", "constant"):
        return _with(record, _by_value(record.kind, effect, margin), "degenerate: every model has this difference")
    alpha = _nan(record.alpha)
    supported = _nan(record.p_adjusted) < alpha
    refuted = _nan(record.p_against_adjusted) < alpha
    if supported or refuted:
        return _with(record, "supported" if supported else "refuted", "")
    least = attainable_p(_ATTAINABLE.get(record.test, "t"), record.n)
    if record.repetitions is None and least >= level:
        return _with(record, "inconclusive", f"no p under {level:.4g} is attainable with {record.n} models")
    if _nan(record.p_against) < alpha:
        said = f"refuted before, not after, Holm's correction over {record.family_size} questions"
        return _with(record, "inconclusive", said)
    if _nan(record.p) < alpha:
        said = f"supported before, not after, Holm's correction over {record.family_size} questions"
        return _with(record, "inconclusive", said)
    if record.effect is None or record.margin is None or math.isnan(sd):
        return _with(record, "inconclusive", "")
    bound = margin if record.kind == "superiority" else -margin
    distance = abs(effect - bound) if record.kind != "equivalence" else abs(margin - abs(effect))
    needed = models_to_decide(distance, sd, 1 - 2 * level, start=record.n + 1)
    said = f"about {needed} models would decide" if needed else "more models than can be trained would be needed"
    return _with(record.model_copy(update={"models_needed": needed}), "inconclusive", said)


#: Name of a record's test -> that of its least attainable p.
_ATTAINABLE: dict[str, Test] = {
    "sign-flip": "sign-flip",
    "sign-flip max-T": "max-t",
    "sign-flip max-T, both signs": "max-t",
}


def _by_value(kind: str, effect: float, margin: float) -> Verdict:
    """Decide differences that are the same for every model by their value."""
    if kind == "equivalence":
        return "supported" if abs(effect) < margin else "refuted"
    if kind == "superiority":
        return "supported" if effect > margin else "refuted"
    bound = -margin
    if effect == bound:
        return "inconclusive"
    return "supported" if effect > bound else "refuted"


def _with(record: Record, verdict: Verdict, reason: str) -> Record:
    said = "; ".join(text for text in (reason, record.reason) if text)
    return record.model_copy(update={"verdict": verdict, "reason": said})
