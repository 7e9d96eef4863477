"""Tables of verdicts and of the records behind them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis import narrate
from analysis.claims.records import ClaimResult, Record
from analysis.formats import NONE, count, decimal, p_value, percent, points, short, span, where


def verdict_table(results: Sequence[ClaimResult]) -> pd.DataFrame:
    """One row per claim: verdict, what to read beside it, and whether it was registered before the data."""
    return pd.DataFrame(
        [
            {
                "Claim": result.id,
                "What it says": result.text,
                "Verdict": result.verdict,
                "Beside it": "; ".join(result.notes) or NONE,
                "Setting": result.setting or NONE,
                "Registered before data": "yes" if result.registered else "no",
                "Claims hash": short(result.claims_hash),
                "Source": result.source,
            }
            for result in results
        ],
        columns=[
            "Claim", "What it says", "Verdict", "Beside it", "Setting", "Registered before data",
            "Claims hash",
            "Source",
        ],
    )  # fmt: skip


def identity_table(results: Sequence[ClaimResult]) -> pd.DataFrame:
    """One row per record of an identity: cells compared, mismatches, and what was left out."""
    rows = [
        {
            "Claim": r.claim, "Part": r.part, "Where": where(r.setting), "Models": count(r.n),
            "Cells compared": count(r.comparisons), "Mismatches": count(r.mismatches),
            "Tolerance (points)": decimal(None if r.tolerance is None else 100 * r.tolerance),
            "Largest difference (points)": decimal(None if r.effect is None else 100 * r.effect),
            "Also counted": "; ".join(f"{count(v)} {k}" for k, v in r.counts.items()) or NONE,
            "Outside the scope": ", ".join(r.names) or NONE, "Verdict": r.verdict, "Reason": r.reason or NONE,
        }
        for r in _records(results) if r.kind == "identity"
    ]  # fmt: skip
    return pd.DataFrame(rows)


def contrast_table(results: Sequence[ClaimResult]) -> pd.DataFrame:
    """One row per record of a statistical part, with its decision path."""
    return pd.DataFrame([_contrast_row(r) for r in _records(results) if r.kind != "identity"])


def _contrast_row(record: Record) -> dict[str, str]:
    p = record.two_sided
    confidence = NONE if record.level is None else percent(record.level, 1)
    correction = "Benjamini-Hochberg" if record.scan else "none" if record.kind == "equivalence" else "Holm"
    dz = "" if record.d_z_low is None else f" ({decimal(record.d_z_low)} to {decimal(record.d_z_high)})"
    return {
        "Claim": record.claim, "Part": record.part, "Where": where(record.setting, compared=True),
        "Estimand": record.estimand,
        "Models": count(record.n), "Mean (points)": points(record.effect),
        "Interval (points)": f"{span(record.low, record.high, signed=True)} ({confidence} %)",
        "Margin (points)": NONE if record.margin is None else decimal(100 * record.margin),
        "Deciding test": record.test, "p": p_value(record.p), "p adjusted": p_value(record.p_adjusted),
        "p against": p_value(record.p_against_adjusted),
        "Family": f"{record.family} ({record.family_size}, {correction})",
        "d_z (95 % interval)": decimal(record.d_z) + dz, "P(A > B)": decimal(record.p_superior),
        "Two-sided p: t, sign-flip, Wilcoxon": ", ".join(
            p_value(p.get(name)) for name in ("paired t", "sign-flip", "Wilcoxon")
        ) if p else NONE,
        "Paper's number": NONE if record.paper_value is None else f"{points(record.paper_value)}: {record.size}",
        "Also found": narrate.details(record) or NONE,
        "Left out": "; ".join(f"{count(v)} {k}" for k, v in record.counts.items()) or NONE,
        "Verdict": record.verdict + (" (descriptive only)" if record.descriptive else ""),
        "Reason": record.reason or NONE,
    }  # fmt: skip


def _records(results: Sequence[ClaimResult]) -> list[Record]:
    return [record for result in results for part in result.parts for record in part.records]
