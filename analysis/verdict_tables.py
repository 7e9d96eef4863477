"""Tables of verdicts and of the records behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from analysis.claims.records import ClaimResult, PartResult, Record
from analysis.formats import NONE, count, decimal, p_value, percent, signed, signed_span, where
from analysis.record_sentences import details, direction, planned
from analysis.verdict_sentences import caveats, differences_above_zero, part_heading, robustness_sentence

_OPTIONAL = ("Scope", "Differences above 0", "Robustness", "Caveats")
#: Position of the source's value relative to the 95 % interval.
_PLACES = {"agrees": "inside", "smaller": "above", "larger": "below", "cannot tell": "inside, with 0"}


def verdict_table(results: Sequence[ClaimResult], registration: str) -> pd.DataFrame:
    """Return one row per claim: its verdict, and what it rests on; optional columns without an entry are left out.

    Parameters
    ----------
    results : sequence of ClaimResult
    registration : str
        Level of the study's registration.
    """
    columns = [
        "Claim", "Statement", "Verdict", "Scope", "Basis", "Models", "Differences above 0", "Robustness",
        "Registration", "Caveats",
    ]  # fmt: skip
    rows = []
    for result in results:
        tested = result.verdict != "not testable"
        primary = [record for part in result.parts if part.role == "primary" for record in part.records]
        values = (
            result.id, result.text, result.verdict, result.scope or NONE, result.basis if tested else NONE,
            count(result.models) if tested else NONE, differences_above_zero(primary) or NONE,
            result.robustness or NONE, registration, caveats(result.notes) or NONE,
        )  # fmt: skip
        rows.append(dict(zip(columns, values, strict=True)))
    frame = pd.DataFrame(rows, columns=columns)
    return frame.drop(columns=[name for name in _OPTIONAL if frame[name].eq(NONE).all()])


def part_table(results: Sequence[ClaimResult]) -> pd.DataFrame:
    """Return one row per part: role, quantifier, verdict and combined p-values."""
    rows = []
    for result in results:
        for part in result.parts:
            role, _, rest = part_heading(part).partition(", ")
            rows.append({
                "Claim": result.id, "Part": part.id, "Statement": part.text or result.text, "Role": role,
                "Quantifier": rest.rpartition(":")[0], "Settings": count(len(part.records)),
                "Verdict": part.verdict, "p, support": _part_p(part, part.p),
                "p, contradiction": _part_p(part, part.p_contradiction),
                "p, contradiction, adjusted": _part_p(part, part.p_contradiction_adjusted),
                "Readings": NONE if part.robustness is None else robustness_sentence(part.robustness),
                "Reason": part.reason or NONE, "Source": result.source,
            })  # fmt: skip
    return pd.DataFrame(rows)


def _part_p(part: PartResult, value: float | None) -> str:
    return NONE if part.kind == "identity" or part.verdict == "not testable" else p_value(value)


def identity_table(results: Sequence[ClaimResult]) -> pd.DataFrame:
    """Return one row per record of an identity: cells compared, mismatches, and cells that were left out."""
    rows = [
        {
            "Claim": r.claim, "Part": r.part, "Role": r.role, "Where": where(r.setting), "Models": count(r.n),
            "Cells compared": count(r.comparisons), "Mismatches": count(r.mismatches),
            "Tolerance (points)": decimal(r.tolerance), "Largest difference (points)": decimal(r.effect),
            "Cells not compared": _counts(r),
            "Layers outside the scope": ", ".join(r.names) or NONE, "Verdict": r.verdict, "Reason": r.reason or NONE,
        }
        for r in _records(results) if r.kind == "identity"
    ]  # fmt: skip
    return pd.DataFrame(rows)


def contrast_table(results: Sequence[ClaimResult]) -> pd.DataFrame:
    """Return one row per record of a statistical part, with its decision path."""
    return pd.DataFrame([_contrast_row(r) for r in _records(results) if r.kind != "identity"])


def _interval(record: Record) -> str:
    """Return the limits of the interval; those of a study with two looks are marked as repeated."""
    if record.low_repeated is not None:
        return f"{signed_span(record.low_repeated, record.high_repeated)} (repeated)"
    return signed_span(record.low, record.high)


def _contrast_row(record: Record) -> dict[str, str]:
    raw, adjusted = record.reported_p
    dz = "" if record.d_z_low is None else f" ({decimal(record.d_z_low)} to {decimal(record.d_z_high)})"
    paper = NONE
    if record.paper_value is not None:
        paper = f"{signed(record.paper_value)} ({_PLACES[record.size or 'cannot tell']})"
    settings = where(record.setting, compared=True)
    return {
        "Claim": record.claim, "Part": record.part, "Role": record.role,
        "Where": f"mean over {count(record.settings)} settings, {settings}" if record.settings > 1 else settings,
        "Estimand": record.estimand, "Models": count(record.n),
        "Mean difference (points)": signed(record.effect), "95 % CI (points)": _interval(record),
        "Margin (points)": decimal(record.margin), "Verdict": record.verdict, "p": p_value(raw),
        "p, adjusted": p_value(adjusted), "Direction of p": direction(record), "Questions": count(record.questions),
        "Deciding test": record.test, "Planned effect": planned(record),
        "Power (%)": percent(record.power, 0), "Gate": record.gate or NONE, "d_z (95 % CI)": decimal(record.d_z) + dz,
        "P(A > B)": decimal(record.p_superior),
        "Two-sided p: t, sign-flip, Wilcoxon": _two_sided(record),
        "Skewness": f"{decimal(record.skewness)}{' (over 1)' if abs(record.skewness or 0.0) > 1 else ''}",
        "Paper's value (position to the CI)": paper, "Further results": details(record) or NONE,
        "Cells not used": _counts(record), "By construction": record.by_construction or NONE,
        "Same test as": record.same_as or NONE,
        "Reason": "; ".join(text for text in (record.reason, "descriptive only" * record.descriptive) if text) or NONE,
    }  # fmt: skip


def _two_sided(record: Record) -> str:
    if not record.two_sided:
        return NONE
    text = ", ".join(p_value(record.two_sided.get(name)) for name in ("paired t", "sign-flip", "Wilcoxon"))
    return f"{text} (disagree)" if record.disagree else text


def _counts(record: Record) -> str:
    return "; ".join(f"{count(number)} {name}" for name, number in record.counts.items()) or NONE


def _records(results: Sequence[ClaimResult]) -> Iterator[Record]:
    for result in results:
        for part in result.parts:
            yield from part.records
