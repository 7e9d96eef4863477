"""From measured alignment to a table of text (METHODS section 8)."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.alignment import MEASURES
from analysis.evidence import frames
from analysis.formats import NONE, count, decimal, percent

_KEYS = [*frames.SETTING, *frames.METHOD]
#: Alignment is measured in float32 before any repair.
_AXES = {
    name: heading
    for name, heading in frames.HEADINGS.items()
    if name not in ("precision", "correction", "recalibration")
}
_HEADINGS = {
    "layer": "rho, whole layer", "window": "rho, near the threshold", "pooled": "rho, pooled",
    "overlap": "Jaccard overlap",
}  # fmt: skip


def alignment_table(found: pd.DataFrame) -> pd.DataFrame:
    """One row per setting and method: each measure with its intervals, and what has no correlation.

    Parameters
    ----------
    found : DataFrame
        What `analysis.alignment.alignments` returned.
    """
    parts = {name: own.set_index(_KEYS) for name, own in found.groupby("measure", sort=False)}
    frame = found[found["measure"].eq(MEASURES[0])]
    table = {
        heading: [str(v) for v in frame[column].astype("object").fillna(NONE)]
        for column, heading in _AXES.items()
        if not column.startswith("calibration") or frame[column].nunique() > 1
    }
    table["Sparsity (%)"] = [percent(v, 1) for v in frame["sparsity"]]
    table["Models"] = [count(v) for v in parts["overlap"]["n"]]
    table["Layers"] = [count(v) for v in frame["layers"]]
    for name, heading in _HEADINGS.items():
        rows = parts[name].to_dict("records")
        table[heading] = [decimal(row["mean"]) for row in rows]
        table[f"{heading}, 95 % over models"] = [_between(row["low"], row["high"]) for row in rows]
        if name in ("layer", "window"):
            table[f"{heading}, 95 % over layers"] = [_between(row["block_low"], row["block_high"]) for row in rows]
    missing = zip(*(parts[name].to_dict("records") for name in MEASURES), strict=True)
    table["Without a correlation"] = [_missing(dict(zip(MEASURES, rows, strict=True))) for rows in missing]
    return pd.DataFrame(table)


def _between(low: float, high: float) -> str:
    return NONE if pd.isna(low) or pd.isna(high) else f"{decimal(low)} to {decimal(high)}"


def _missing(rows: dict[str, dict[Any, Any]]) -> str:
    """Count what has no correlation, by measure and reason."""
    reasons = (("few", "under 3 units"), ("constant", "constant scores"))
    named = (("layer", "layer"), ("window", "near the threshold"), ("pooled", "pooled"))
    said = [
        f"{title}: {count(rows[name][key])} {reason}" for name, title in named for key, reason in reasons
        if rows[name][key]
    ]  # fmt: skip
    return "; ".join(said) or NONE
