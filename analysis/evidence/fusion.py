"""What the searches for fusion weights found: one row per search, how far it over-fits, and its history."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from analysis.evidence import frames
from bench.store.cell import FULL_BUDGET

#: What names a search; its weights serve every repair.
_SEARCH = [
    *(key for key in frames.BLOCK if key not in ("correction", "recalibration")), *frames.METHOD,
]  # fmt: skip

#: Of a row's notes on its search.
_NOTED = (
    "search_accuracy", "search_accuracy_equal", "test_accuracy", "test_accuracy_equal", "evaluations", "budget",
    "history", "features", "weights",
)  # fmt: skip


def searches(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the searches of a study, read from the notes of their rows.

    Returns
    -------
    DataFrame
        One row per search (equal weights count as one) with the columns of its first row, correction and
        recalibration set to none; then ``search_accuracy``, ``search_accuracy_equal``, ``test_accuracy``,
        ``test_accuracy_equal`` (fractions; the weights found and equal weights; test accuracies without
        repair), ``evaluations``, ``budget``, ``history`` (pairs of evaluations and best search accuracy),
        ``features`` and ``weights`` (lists, in one order) and ``overfit`` (fraction, see `overfit`).
    """
    own = frames.done(frames.searched(rows)).drop_duplicates(_SEARCH)
    notes = [json.loads(text).get("search") if isinstance(text, str) else None for text in own["notes"]]
    known = own.loc[[note is not None for note in notes]]
    found = pd.DataFrame([note for note in notes if note is not None], columns=list(_NOTED), index=known.index)
    joined = known.assign(correction="none", recalibration="none").join(found)
    return joined.assign(overfit=overfit(joined))


def overfit(found: pd.DataFrame) -> pd.Series:
    """Over-fit of each search: what it gains over equal weights on the search images, less its gain on test images.

    NaN for equal weights, for a model that may have seen the search images, and where the search compared
    candidates under a repair, which the test accuracies are without (METHODS section 3, claim P9).
    """
    gain = found["search_accuracy"] - found["search_accuracy_equal"]
    excess = gain - (found["test_accuracy"] - found["test_accuracy_equal"])
    repaired = found["search"].str.contains("correction=|recalibration=")
    known = ~is_equal(found["search"]) & found["train_overlap"].eq("no") & ~repaired
    return excess.where(known.astype(bool)).astype("float64")


def is_equal(search: pd.Series) -> pd.Series:
    """Whether a search label is that of equal weights, whatever its options.

    Examples
    --------
    >>> is_equal(pd.Series(["equal", "equal(recalibration=cumulative)", "dbo"])).tolist()
    [True, True, False]
    """
    return search.astype("str").str.match(r"equal(\(|$)")


def small_budgets(found: pd.DataFrame) -> list[str]:
    """Names of the searches whose budget was under `FULL_BUDGET` evaluations; equal weights have no budget."""
    small = found[~is_equal(found["search"]) & found["budget"].lt(FULL_BUDGET)]
    return list(dict.fromkeys(search_name(row) for row in small.to_dict("records")))


def search_name(row: dict[Any, Any]) -> str:
    """Return the search's part of a method's name, with its budget where that is small.

    Examples
    --------
    >>> search_name({"scorer": "v1", "method": "v1 + dbo (60 evaluations)"})
    'dbo (60 evaluations)'
    """
    return str(row["method"]).removeprefix(f"{row['scorer']} + ")


def histories(found: pd.DataFrame) -> pd.DataFrame:
    """Average the histories of a study's models: best search accuracy after so many evaluations.

    A history is a step function: between two batches the best stays what it was. The mean starts where every
    search has a first value; draws of one model are averaged first.

    Returns
    -------
    DataFrame
        The setting and method; ``evaluations``, ``best`` and ``equal`` (mean search accuracy with equal
        weights), fractions.
    """
    keys = [*frames.SETTING, *frames.METHOD]
    parts = []
    for _, own in found[~is_equal(found["search"])].groupby(keys, sort=False, dropna=False, observed=True):
        steps = [np.array(history, dtype=np.float64) for history in own["history"]]
        grid = np.unique(np.concatenate([step[:, 0] for step in steps]))
        grid = grid[grid >= max(step[0, 0] for step in steps)]
        best = np.stack([step[np.searchsorted(step[:, 0], grid, side="right") - 1, 1] for step in steps])
        models = pd.DataFrame(best).groupby(own["checkpoint"].to_numpy(), sort=False).mean()
        equal = own.groupby("checkpoint", sort=False)["search_accuracy_equal"].mean().mean()
        frame = pd.DataFrame({"evaluations": grid, "best": models.mean().to_numpy(), "equal": equal})
        parts.append(own[keys].iloc[[0] * len(frame)].reset_index(drop=True).join(frame))
    if not parts:
        return pd.DataFrame(columns=[*keys, "evaluations", "best", "equal"])
    return pd.concat(parts, ignore_index=True)
