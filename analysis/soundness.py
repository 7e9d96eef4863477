"""What the values of every study obey, so that a data file from elsewhere is refused before it is reckoned with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

STATES = ("done", "failed", "skipped", "running")
_NAMED = ("cell", "group", "position", "dataset", "model", "scorer", "search", "correction", "recalibration")
_FRACTIONS = ("sparsity", "accuracy", "sparsity_achieved", "sparsity_parameters", "magnitude_overlap")
_OF_DONE = ("accuracy", "loss", "n_test", "checkpoint", "evaluation")
_JSON = ("notes", "seeds")


class Meta(BaseModel):
    """The types of `StudyData.meta`."""

    model_config = ConfigDict(frozen=True)

    name: str
    description: str
    study_hash: str
    profile: str | None = None
    claims_hash: str | None = None
    registered: str | None = None
    study: dict[str, Any]
    settings: dict[str, Any]
    provenance: dict[str, Any]
    counters: dict[str, Any]
    schema_version: int | None = Field(None, alias="schema")


def fault(rows: pd.DataFrame) -> str | None:
    """Say what no run would have written, or None where every row may be one's.

    Parameters
    ----------
    rows : DataFrame
        The columns of `bench.store.schema.ROWS`, typed.

    Examples
    --------
    >>> from bench.store.reader import planned_rows
    >>> fault(planned_rows([{"cell": "c"}]))
    "column 'group' has a null"
    """
    for name in _NAMED:
        if rows[name].isna().any():
            return f"column {name!r} has a null"
    for name in ("cell", "position"):
        if rows[name].duplicated().any():
            return f"column {name!r} has a value twice"
    if not rows["state"].dropna().isin(STATES).all():
        return "column 'state' has an unknown state"
    for name in _FRACTIONS:
        if not rows[name].dropna().between(0, 1).all():
            return f"column {name!r} is not between 0 and 1"
    done = rows[rows["state"].eq("done")]
    for name in _OF_DONE:
        if done[name].isna().any():
            return f"column {name!r} has a null in a done row"
    if (done["n_test"] < 1).any():
        return "column 'n_test' has a number under 1"
    size = -(-done["n_test"].astype("int64") // 8)
    bits = done["correct"].dropna().map(len)
    if not bits.eq(size[bits.index]).all():
        return "column 'correct' has not one bit per test image"
    for name in _JSON:
        if not rows[name].dropna().drop_duplicates().map(_is_object).all():
            return f"column {name!r} is not JSON"
    reals = rows.select_dtypes("float").drop(columns=["loss", "seconds"])
    return "a number is infinite" if np.isinf(reals.to_numpy()).any() else None


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), Mapping)
    except (ValueError, RecursionError):
        return False
