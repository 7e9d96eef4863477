"""What effective model pruning (EMP) kept: the notes of its rows, one line per cell."""

from __future__ import annotations

import json
import math
from typing import Any

import pandas as pd

from analysis.evidence import frames

#: Kept mass this far below its bound is rounding, not a violation.
_ROUNDING = 1e-9


def emp_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the unrepaired rows of EMP with what it noted, summed up over its scopes (layers, or all at once).

    Returns
    -------
    DataFrame
        The rows with all their columns; ``n_eff`` and ``k`` (units, summed), ``s_eff`` (fraction of the scores'
        mass; the least of any scope) and ``bound`` (of that scope), ``scopes``, ``violations`` (scopes whose
        kept mass is below its bound by more than 1e-9), ``bounded`` (scopes that have one), ``slack`` (least
        mass above a bound), ``change`` (fraction: accuracy minus the dense model's). NaN where nothing is known.
    """
    own = frames.done(frames.unrepaired(frames.pruned(rows)))
    notes = [
        json.loads(text).get("emp") if isinstance(text, str) and '"emp"' in text else None for text in own["notes"]
    ]
    chosen = own.loc[[bool(note) for note in notes]]
    found = pd.DataFrame([_summed(note) for note in notes if note], columns=_COLUMNS, index=chosen.index)
    return chosen.join(found).assign(change=chosen["accuracy"] - chosen["dense_accuracy"])


_COLUMNS = ["n_eff", "k", "s_eff", "bound", "scopes", "violations", "bounded", "slack"]


def _summed(scopes: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Sum up the scopes of one cell.

    Examples
    --------
    >>> conv = {"n_eff": 2.5, "k": 2, "s_eff": 0.9, "bound": 0.7}
    >>> fc = {"n_eff": 4.0, "k": 4, "s_eff": 0.8, "bound": 0.85}
    >>> _summed({"conv": conv, "fc": fc})
    {'n_eff': 6.5, 'k': 6, 's_eff': 0.8, 'bound': 0.85, 'scopes': 2, 'violations': 1, 'bounded': 2, 'slack': -0.05}
    """
    parts = list(scopes.values())
    known = [part for part in parts if part["s_eff"] is not None]
    least = min(known, key=lambda part: part["s_eff"], default={})
    bound = least.get("bound")
    above = [part["s_eff"] - part["bound"] for part in known if part["bound"] is not None]
    return {
        "n_eff": sum(part["n_eff"] for part in known) if known else math.nan,
        "k": sum(part["k"] for part in parts),
        "s_eff": least.get("s_eff", math.nan),
        "bound": math.nan if bound is None else bound,
        "scopes": len(parts),
        "violations": sum(slack < -_ROUNDING for slack in above),
        "bounded": len(above),
        "slack": round(min(above), 12) if above else math.nan,
    }  # fmt: skip
