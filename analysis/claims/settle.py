"""From estimates to verdicts, family by family."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from analysis.claims.contrasts import Estimate
from analysis.records import Record, Verdict, number
from analysis.stats.correction import adjust, holm_alphas
from analysis.stats.intervals import models_to_decide, t_interval


def settle(estimates: Sequence[Estimate]) -> list[Record]:
    """Correct for multiplicity inside each family and decide every record.

    The support of superiority and non-inferiority is Holm-corrected. An equivalence over all pairs is an
    intersection-union test, so its support needs no correction. One refuted record refutes a claim, so the
    p-values of refutation are Holm-corrected for every kind.

    Parameters
    ----------
    estimates : sequence of Estimate
        Of all claims of a study.

    Returns
    -------
    list of Record
        In the same order, each with its verdict.
    """
    families: dict[tuple[str | None, bool], list[int]] = {}
    for place, estimate in enumerate(estimates):
        record = estimate.record
        families.setdefault((record.family, record.kind == "equivalence"), []).append(place)
    decided: dict[int, Record] = {}
    for (_, union), places in families.items():
        members = [estimates[place] for place in places]
        support = [_nan(member.record.p) for member in members]
        against = [_nan(member.record.p_against) for member in members]
        corrected = support if union else adjust(support).tolist()
        refuting = adjust(against).tolist()
        alpha = [_nan(member.record.alpha) for member in members]
        levels = alpha if union else [float(holm_alphas(support, a)[i]) for i, a in enumerate(alpha)]
        for place, member, p, q, level in zip(places, members, corrected, refuting, levels, strict=True):
            interval = t_interval(member.differences, 1 - 2 * level)
            changes: dict[str, Any] = {
                "p_adjusted": number(p),
                "p_against_adjusted": number(q),
                "family_size": len(members),
                "level": interval.level,
                "low": number(interval.low),
                "high": number(interval.high),
            }
            decided[place] = _decide(member.record.model_copy(update=changes), interval.sd, level)
    return [decided[place] for place in range(len(estimates))]


def _nan(value: float | None) -> float:
    return math.nan if value is None else value


def _decide(record: Record, sd: float, level: float) -> Record:
    """Add verdict and reason; `level` is the one-sided alpha that the family leaves to this record."""
    if record.category in ("no data", "not finite"):
        left = [f"{count} {name}" for name, count in record.counts.items()]
        found = "no pair of rows" if record.category == "no data" else "an accuracy is not finite"
        return _with(record, "not testable", found + (f" ({', '.join(left)})" if left else ""))
    if record.category == "chance level":
        return _with(record, "not testable", "both at chance level: equal for want of any signal")
    if record.category == "one model":
        return _with(record, "not testable", "one model: a difference over models has no interval")
    effect, margin = _nan(record.effect), _nan(record.margin)
    if record.category in ("identical", "constant"):
        return _with(record, _by_value(record.kind, effect, margin), "degenerate: every model has this difference")
    alpha = _nan(record.alpha)
    supported = _nan(record.p_adjusted) < alpha
    refuted = _nan(record.p_against_adjusted) < alpha
    if supported or refuted:
        return _with(record, "supported" if supported else "refuted", "")
    if record.test == "sign-flip" and record.repetitions is None and 2.0**-record.n >= level:
        return _with(record, "inconclusive", f"no p under {level:.4g} is attainable with {record.n} models")
    if _nan(record.p_against) < alpha:
        said = f"outside the margin before, not after, Holm's correction over {record.family_size} questions"
        return _with(record, "inconclusive", said)
    bound = margin if record.kind == "superiority" else -margin
    distance = abs(effect - bound) if record.kind != "equivalence" else abs(margin - abs(effect))
    needed = models_to_decide(distance, sd, 1 - 2 * level, start=record.n + 1)
    said = f"about {needed} models would decide" if needed else "more models than can be trained would be needed"
    return _with(record.model_copy(update={"models_needed": needed}), "inconclusive", said)


def _by_value(kind: str, effect: float, margin: float) -> Verdict:
    """Decide differences that are the same for every model by their value."""
    if kind == "equivalence":
        return "supported" if abs(effect) < margin else "refuted"
    bound = margin if kind == "superiority" else -margin
    if effect == bound:
        return "inconclusive"
    return "supported" if effect > bound else "refuted"


def _with(record: Record, verdict: Verdict, reason: str) -> Record:
    said = "; ".join(text for text in (reason, record.reason) if text)
    return record.model_copy(update={"verdict": verdict, "reason": said})
