"""From measured complexity to tables of text (METHODS section 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.evidence import frames
from analysis.evidence.fusion import search_name
from analysis.formats import NONE, count, decimal, percent
from analysis.kappa.approximation import INTERPOLATED, LARGEST
from analysis.kappa.curves import Curves, DrawsInterval, ScorerComplexity, worst


def kappa_table(results: Sequence[ScorerComplexity]) -> pd.DataFrame:
    """One row per scorer with the largest values of its features, then one per feature: kappa measured and by design.

    Parameters
    ----------
    results : sequence of ScorerComplexity
        What `analysis.kappa.curves.measure` returned.

    Returns
    -------
    DataFrame
        Text: ``Scorer``, ``Feature``, ``Drawdown``, ``D`` (least degree of a best polynomial), ``Interpolation`` (its
        upper bound), ``Cosine``, ``Wavelet`` (least degrees in these bases), ``kappa``, ``By design``.
    """
    return pd.DataFrame([row for result in results for row in _rows(result)])


def _rows(result: ScorerComplexity) -> list[dict[str, str]]:
    every = result.features
    names = [one.feature for one in every]
    groups = [(name, [one]) for name, one in zip(names, every, strict=True)]
    if len(every) > 1:
        groups.insert(0, (f"largest of {len(every)}", list(every)))
    return [
        {
            "Scorer": scorer_title(result), "Feature": name, "Drawdown": decimal(max(one.drawdown for one in own), 3),
            "D": degree(worst([one.degrees["polynomial"] for one in own])),
            "Interpolation": degree(worst([one.interpolation for one in own]), max(INTERPOLATED)),
            "Cosine": degree(worst([one.degrees["cosine"] for one in own])),
            "Wavelet": degree(worst([one.degrees["wavelet"] for one in own])),
            "kappa": str(max(one.kappa for one in own)),
            "By design": designed(result.by_design) if place == 0 else "",
        }
        for place, (name, own) in enumerate(groups)
    ]  # fmt: skip


def scorer_title(curves: Curves | ScorerComplexity) -> str:
    """Name a scorer with the sparsity and the draw that its curves belong to, where they depend on these."""
    at = "" if curves.sparsity is None else f" at {percent(curves.sparsity, 0)} %"
    return curves.scorer + at + (f", draw {curves.draw}" if curves.draw else "")


def plain(result: ScorerComplexity) -> dict[str, Any]:
    """Return what was measured as plain values, for JSON; a degree above every one tried is null."""
    return {
        "scorer": result.scorer, "sparsity": result.sparsity, "draw": result.draw, "kappa": result.kappa,
        "kappa_by_design": result.by_design, "features": [
            {
                "feature": one.feature, "kappa": one.kappa, "drawdown": one.drawdown, "degrees": dict(one.degrees),
                "interpolation": one.interpolation, "best_degree": one.best.degree, "best_error": one.best.error,
            }
            for one in result.features
        ],
    }  # fmt: skip


def degree(value: int | None, largest: int = LARGEST) -> str:
    """Show a least degree; where none up to the largest one tried was enough, that is said.

    Examples
    --------
    >>> degree(5), degree(None), degree(None, 1024)
    ('5', '> 64', '> 1,024')
    """
    return f"> {count(largest)}" if value is None else count(value)


def designed(value: int | str | None) -> str:
    """Show kappa by design.

    Examples
    --------
    >>> designed(0), designed("fake"), designed(None) == NONE
    ('0', 'fake', True)
    """
    return NONE if value is None else str(value)


def fused_table(summary: pd.DataFrame) -> pd.DataFrame:
    """One row per setting, scorer and search: kappa of the fused curves, one column per sparsity.

    An entry is the median over models, with the range where they differ; a dash where there is no search.

    Parameters
    ----------
    summary : DataFrame
        What `analysis.kappa.study.fused_summary` returned.
    """
    keys = [*frames.NETWORK, "scorer", "search"]
    steps = sorted(summary["sparsity"].dropna().unique())
    rows = []
    for _, own in summary.groupby(keys, sort=False, dropna=False):
        first = own.iloc[0].to_dict()
        entries = {_at(step): NONE for step in steps} | {
            _at(row["sparsity"]): _entry(row) for row in own.to_dict("records")
        }
        rows.append({
            "Data set": first["dataset"], "Model": first["model"], "Granularity": first["granularity"],
            "Allocation": first["allocation"], "Scorer": first["scorer"], "Search": search_name(first),
            "By design": designed(first["by_design"]), "Models": _range(own["n"]), **entries,
        })  # fmt: skip
    return pd.DataFrame(rows).fillna(NONE)


def _at(sparsity: Any) -> str:
    return "set by the allocation" if pd.isna(sparsity) else f"{percent(sparsity, 0)} %"


def _entry(row: Mapping[Any, Any]) -> str:
    median = f"{row['median']:g}"
    return median if row["least"] == row["most"] else f"{median} ({row['least']:g} to {row['most']:g})"


def _range(values: pd.Series) -> str:
    low, high = int(values.min()), int(values.max())
    return count(low) if low == high else f"{count(low)} to {count(high)}"


def draws_table(found: Mapping[str, DrawsInterval]) -> pd.DataFrame:
    """One row per scorer with random features: interpolation degree over draws, the largest of its features.

    Parameters
    ----------
    found : mapping
        Scorer -> what `analysis.kappa.curves.over_draws` returned.
    """
    largest = max(INTERPOLATED)

    def show(value: float) -> str:
        return degree(None, largest) if value > largest else f"{value:g}"

    return pd.DataFrame([
        {
            "Scorer": scorer, "Draws": count(one.draws), "Interpolation, median": show(one.median),
            f"{percent(one.level, 0)} % bootstrap interval": f"{show(one.low)} to {show(one.high)}",
            "Range": f"{show(one.least)} to {show(one.most)}",
        }
        for scorer, one in found.items()
    ])  # fmt: skip
