"""Choose the rows that a part of a claim speaks of, and say in words where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd

from analysis.claims.schema import (
    AnyOf,
    Claim,
    Contrast,
    Differs,
    MaskIdentity,
    Part,
    Range,
    Terms,
    Values,
)
from analysis.evidence import frames


def labels(column: pd.Series, wanted: Values) -> list[Any]:
    """Return the labels of a column that `wanted` names, in the order of `wanted`.

    A label means itself; where the column lacks it, the labels of this name with any options; one with ``*`` is
    a pattern.

    Examples
    --------
    >>> labels(pd.Series(["dbo(evaluations=60)", "cma"]), ("dbo", "cma"))
    ['dbo(evaluations=60)', 'cma']
    >>> labels(pd.Series(["asr", "asr(order=sequential)"]), ("asr",)), labels(pd.Series(["vgg16", "vit"]), ("vgg*",))
    (['asr'], ['vgg16'])
    """
    there = list(column.dropna().unique())
    found: list[Any] = []
    for one in wanted:
        if one in there:
            found.append(one)
        elif isinstance(one, str):
            pattern = one if "*" in one else None
            found += [
                label for label in there
                if isinstance(label, str) and (fnmatchcase(label, pattern) if pattern else label.startswith(f"{one}("))
            ]  # fmt: skip
    return list(dict.fromkeys(found))


def select(rows: pd.DataFrame, part: Part, also: Mapping[str, Values] | None = None) -> pd.DataFrame:
    """Return the planned pruned rows that match the part's filters and those of `also`.

    Parameters
    ----------
    rows : DataFrame
        Rows of the store.
    part : part of a claim
        Its `where` and `sparsities` apply.
    also : mapping, optional
        Column -> labels wanted.
    """
    # column by column on places: rows are wide, and most parts leave few of them
    places = np.flatnonzero(rows["scorer"].ne("dense").to_numpy(dtype=bool))
    for column, wanted in [*part.where.items(), *(also or {}).items()]:
        values = rows[column].iloc[places]
        places = places[values.isin(labels(values, wanted)).to_numpy(dtype=bool)]
    if part.sparsities is not None:
        requested = rows["sparsity"].to_numpy(dtype=np.float64)[places]
        if isinstance(part.sparsities, Range):
            inside = (requested >= part.sparsities.least - 1e-9) & (requested <= part.sparsities.most + 1e-9)
        else:
            inside = np.isclose(requested[:, None], np.array(part.sparsities)[None, :], rtol=0, atol=1e-9).any(axis=1)
        places = places[inside]
    return rows.iloc[places]


def lacking(rows: pd.DataFrame, part: Part) -> bool:
    """Whether the study has fewer different labels than the part needs."""
    return any(select(rows, part)[column].nunique() < least for column, least in part.distinct.items())


def missing(rows: pd.DataFrame, part: Part) -> str:
    """Say which of the part's needs the study does not meet."""
    needs: list[tuple[str, Values]] = [*part.where.items()]
    if isinstance(part, Contrast | AnyOf):
        needs += [(part.axis, part.of), (part.axis, (part.against,))]
    if isinstance(part, MaskIdentity):
        needs += [("scorer", part.scorers), ("scorer", (part.reference,))]
    if isinstance(part, Differs) and part.of is not None:
        needs += [(part.axis, part.of)]
    if isinstance(part, Terms):
        needs += [(column, wanted) for term in part.terms for column, wanted in term.of.items()]
    planned = frames.pruned(rows)
    for column, wanted in needs:
        if not labels(planned[column], wanted):
            return f"the study has no cell with {column.replace('_', ' ')} {' or '.join(map(str, wanted))}"
    for column, least in part.distinct.items():
        there = select(rows, part)[column].nunique()
        if there < least:
            return f"the study has {there} of the {least} values of {column.replace('_', ' ')} that this needs"
    if part.sparsities is not None and planned["sparsity"].notna().any() and select(rows, part).empty:
        return f"the study has no cell at {_sparsities(part.sparsities)} that meets the other conditions of this part"
    return "the study has no cell that meets all conditions of this part"


def _sparsities(wanted: tuple[float, ...] | Range) -> str:
    if isinstance(wanted, Range):
        return f"a sparsity from {wanted.least:g} to {wanted.most:g}"
    return f"sparsity {' or '.join(f'{value:g}' for value in wanted)}"


def in_setting(claim: Claim, setting: Mapping[str, str | float]) -> bool:
    """Whether a record's setting matches the one that the paper names, for all that both know."""
    return bool(claim.setting) and all(
        any(fnmatchcase(str(setting[column]), pattern) for pattern in patterns)
        for column, patterns in claim.setting.items()
        if column in setting
    )


def describe(values: Mapping[str, Any]) -> dict[str, str | float]:
    """Return a setting as plain values; nulls are left out.

    Examples
    --------
    >>> describe({"model": "vit", "sparsity": np.float64(0.5), "allocation": None})
    {'model': 'vit', 'sparsity': 0.5}
    """
    plain = {key: value for key, value in values.items() if not pd.isna(value)}
    return {key: value if isinstance(value, str) else float(value) for key, value in plain.items()}
