"""Choose the rows that a part of a claim speaks of, and say in words where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd

from analysis import frames
from analysis.claims.schema import Claim, Contrast, MaskIdentity, Reevaluation, RepairIdentity, Values


def select(
    rows: pd.DataFrame,
    part: MaskIdentity | Reevaluation | RepairIdentity | Contrast,
    labels: Mapping[str, Values],
) -> pd.DataFrame:
    """Return the planned pruned rows that match the part's filters and `labels`.

    Parameters
    ----------
    rows : DataFrame
        Rows of the store.
    part : part of a claim
        Its `where` and `sparsities` apply.
    labels : mapping
        Column -> labels wanted.
    """
    chosen = frames.pruned(rows)
    for column, wanted in [*part.where.items(), *labels.items()]:
        chosen = chosen[chosen[column].isin(wanted)]
    if part.sparsities is not None:
        requested = chosen["sparsity"].to_numpy(dtype=np.float64)
        near = np.isclose(requested[:, None], np.array(part.sparsities)[None, :], rtol=0, atol=1e-9)
        chosen = chosen[near.any(axis=1)]
    return chosen


def missing(rows: pd.DataFrame, part: MaskIdentity | Reevaluation | RepairIdentity | Contrast) -> str:
    """Say which of the part's needs the study does not meet at all; empty if each label occurs somewhere."""
    needs: list[tuple[str, Values]] = [*part.where.items()]
    if isinstance(part, Contrast):
        needs += [(part.axis, part.of), (part.axis, (part.against,))]
    if isinstance(part, MaskIdentity):
        needs += [("scorer", part.scorers), ("scorer", (part.reference,))]
    planned = frames.pruned(rows)
    for column, labels in needs:
        if not planned[column].isin(labels).any():
            return f"the study has no cell with {column.replace('_', ' ')} {' or '.join(map(str, labels))}"
    return "the study has no cell that meets all conditions of this part"


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
