"""The numbers that a claim can be about: the accuracy, or a number made from a row and its notes."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis.evidence.fusion import overfit
from analysis.evidence.fusion import searches as read_searches

#: Share of the dense model's accuracy above chance that a setting must keep to be informative.
KEPT = 0.1

#: Why a row may lack a value; shown where no row has it.
LACKING: dict[str, str] = {
    "accuracy": "no accuracy",
    "change": "the dense model of these cells was not evaluated",
    "above_kept": "the dense model of these cells was not evaluated",
    "overfit": ("over-fit is not known: the dense models may have seen the search images, or nothing was searched"),
    "above_dense": "these rows were computed before channel variances were stored; rerun the cells to test this",
    "coexisting": "these rows were computed before channel variances were stored; rerun the cells to test this",
    "variance_loss": "these rows were computed before channel variances were stored; rerun the cells to test this",
}

#: Name of a value in words.
WORDS: dict[str, str] = {
    "accuracy": "accuracy",
    "change": "accuracy above the dense model's",
    "above_kept": "accuracy above a tenth of the dense model's",
    "overfit": "over-fit of the search",
    "above_dense": "share of channels whose variance exceeds the dense one after the correction",
    "coexisting": "share of layers in which nearly collapsed and healthy channels coexist",
    "variance_loss": "mean share of its variance that a channel lost",
}


def with_value(rows: pd.DataFrame, name: str) -> pd.Series:
    """Return a value for every row; NaN where it has none.

    Parameters
    ----------
    rows : DataFrame
        Rows of the store.
    name : str
            ``accuracy``; ``change``: accuracy minus that of the dense model without recalibration; ``above_kept``:
        accuracy minus `KEPT` times that of the dense model, for gates; ``overfit``: see
        `analysis.evidence.fusion.overfit`, for rows without repair; of the channels of a corrected cell, see
        `bench.repairs.channels`: ``above_dense`` (``above_after / channels``), ``coexisting``
        (``mixed_layers / layers``) and ``variance_loss`` (``loss``). All are in percentage points.
    """
    return 100 * _VALUES[name](rows).astype("float64")


def _overfit(rows: pd.DataFrame) -> pd.Series:
    plain = rows[rows["correction"].eq("none") & rows["recalibration"].eq("none")]
    return overfit(read_searches(plain)).reindex(rows.index)


def _channels(rows: pd.DataFrame, number: Callable[[dict[str, float]], float]) -> pd.Series:
    notes = rows["notes"].astype("object")
    notes = notes[[isinstance(text, str) and '"channels"' in text for text in notes]]
    found = [number(json.loads(text)["channels"]) for text in notes]
    return pd.Series(found, index=notes.index, dtype="float64").reindex(rows.index)


def _share(part: str, whole: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda rows: _channels(rows, lambda n: n[part] / n[whole] if n[whole] else np.nan)


_VALUES: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "accuracy": lambda rows: rows["accuracy"],
    "change": lambda rows: rows["accuracy"] - rows["dense_accuracy"],
    "above_kept": lambda rows: rows["accuracy"] - KEPT * rows["dense_accuracy"],
    "overfit": _overfit,
    "above_dense": _share("above_after", "channels"),
    "coexisting": _share("mixed_layers", "layers"),
    "variance_loss": lambda rows: _channels(rows, lambda n: np.nan if n["loss"] is None else n["loss"]),
}
