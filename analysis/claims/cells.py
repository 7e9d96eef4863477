"""The planned cells that a part of a claim uses, those of each of its arms, and what a study lacks to test it."""

from __future__ import annotations

import pandas as pd

from analysis.claims.parts import Part, Term
from analysis.evidence.evidence import Evidence
from analysis.evidence.labels import matching_labels


def chosen_rows(evidence: Evidence, part: Part) -> pd.DataFrame:
    """Return the planned pruned rows that a part is about."""
    return evidence.select(part.where, *part.limits)


def part_cells(part: Part, evidence: Evidence) -> pd.DataFrame:
    """Return the planned cells that a part uses: those of its arms among the rows that its filters choose."""
    rows = chosen_rows(evidence, part)
    if not part.arms():
        return rows
    used = pd.Series(False, index=rows.index)
    for term in part.arms():
        used |= rows.index.isin(arm_cells(rows, term).index)
    return rows[used]


def arm_cells(rows: pd.DataFrame, term: Term) -> pd.DataFrame:
    """Return the rows that have the labels of an arm."""
    for column, names in term.of.items():
        rows = rows[rows[column].isin(matching_labels(rows[column].dropna().unique(), names))]
    return rows


def arms_in_words(part: Part) -> str:
    """Describe what a part compares.

    Examples
    --------
    >>> from analysis.claims.estimands.contrast import Contrast
    >>> arms_in_words(Contrast(estimand="contrast", kind="superiority", of=["taylor", "snip"], against="magnitude"))
    'taylor, snip minus magnitude'
    """
    found = ""
    sign = " = " if part.kind == "identity" else " minus "
    for term in part.arms():
        arm = " + ".join(", ".join(map(str, names)) for names in term.of.values())
        if len(term.of) > 1 and len(part.arms()) > 1:
            arm = f"({arm})"
        weight = "" if abs(term.weight) == 1 else f"{abs(term.weight):g} x "
        joint = (sign if term.weight < 0 else " plus ") if found else ("-" if term.weight < 0 else "")
        found += joint + weight + arm
    return found


def lacking(part: Part, evidence: Evidence) -> str:
    """Return what the study lacks to test a part; empty if nothing."""
    for column, names in part.needs():
        if not evidence.labels(column, names):
            return f"the study has no cell with {column.replace('_', ' ')} {' or '.join(map(str, names))}"
    rows = chosen_rows(evidence, part)
    for column, names in part.needs():
        if len(rows) and column not in part.where and not matching_labels(rows[column].dropna().unique(), names):
            missing = f"{column.replace('_', ' ')} {' or '.join(map(str, names))}"
            return f"the study has no cell with {missing} that meets the other conditions of this part"
    for column, least in part.distinct.items():
        present = rows[column].nunique()
        if present < least:
            return f"the study has {present} of the {least} values of {column.replace('_', ' ')} that this part needs"
    return ""
