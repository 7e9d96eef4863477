"""Common steps of identities: settings, counts of cells without a value, and the record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from analysis.claims.arms import setting_of
from analysis.claims.parts import Part
from analysis.claims.questions import Question
from analysis.claims.records import Record

#: A record is made for each of these.
_PER = ("dataset", "model", "granularity")


def settings_of(rows: pd.DataFrame) -> Iterator[tuple[dict[str, str | float], pd.DataFrame]]:
    """Yield the rows of every data set, model and granularity."""
    for key, cells in rows.groupby(list(_PER), sort=False, dropna=False, observed=True):
        yield setting_of(dict(zip(_PER, key, strict=True))), cells


def identity_question(
    part: Part, setting: dict[str, str | float], estimand: str, compared: pd.DataFrame, mismatches: int,
    counts: dict[str, int], **more: Any,
) -> Question:  # fmt: skip
    """Return the question of one setting of an identity.

    Parameters
    ----------
    part : Part
    setting : dict
        Column -> label.
    estimand : str
        What is equal, in words.
    compared : DataFrame
        Cells that were compared.
    mismatches : int
        How many of them differ.
    counts : dict
        Reason -> number of cells that were not compared.
    **more
        Further fields of the record.
    """
    fixed = setting_of({column: names[0] for column, names in part.where.items() if len(names) == 1})
    counts = {name: count for name, count in counts.items() if count}
    record = Record(
        part=part.id, role=part.role, over=part.over, kind="identity", estimand=estimand, setting={**setting, **fixed},
        n=int(compared["checkpoint"].nunique()), comparisons=len(compared), mismatches=mismatches, counts=counts,
        category="no data" if compared.empty else "regular", **more,
    )  # fmt: skip
    return Question(record)


def unevaluated(rows: pd.DataFrame) -> dict[str, int]:
    """Count the cells that were not evaluated, by state and reason."""
    states = rows["state"].fillna("to do").replace("running", "to do")
    reasons = rows["reason"].where(rows["reason"].isna(), ": " + rows["reason"].fillna(""))
    outcomes = (states + reasons.fillna(""))[states.ne("done")]
    return {str(name): int(number) for name, number in outcomes.value_counts(sort=False).items()}
