"""From measured complexity and kappa(S) to tables of text and sentences (METHODS section 7, STATISTICS rule 11)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from analysis.complexity import PAPER, Change
from analysis.complexity_study import RAW, SMOOTH, Setting
from analysis.evidence.fusion import is_equal
from analysis.formats import NONE, count, decimal, p_value, percent, points, span
from analysis.kappa.curves import ScorerComplexity
from analysis.kappa_tables import degree, scorer_title


def points_table(settings: Sequence[Setting]) -> pd.DataFrame:
    """One row per data set, model, search and sparsity: both escapes, the 95 % set of kappa, bootstrap shares."""
    return pd.DataFrame([
        _where(setting) | {
            "Sparsity (%)": percent(point.sparsity, 1), "Models": count(setting.found.models),
            "Escape, class 1 (points)": points(point.escapes[0].mean),
            "95 % t interval, class 1": span(point.escapes[0].low, point.escapes[0].high, signed=True),
            "Max-T p, class 1 (descriptive)": p_value(point.p[0]),
            "Escape, class 2 (points)": points(point.escapes[1].mean),
            "95 % t interval, class 2": span(point.escapes[1].low, point.escapes[1].high, signed=True),
            "Max-T p, class 2 (descriptive)": p_value(point.p[1]),
            "Margin (points)": decimal(100 * point.kappa_set.margin), "kappa, 95 % set": str(point.kappa_set),
            "Bootstrap share, kappa >= 1 (descriptive)": decimal(point.at_least[0]),
            "Bootstrap share, kappa >= 2 (descriptive)": decimal(point.at_least[1]),
            "kappa in the paper": str(in_paper(point.sparsity)),
            "Remark": NONE if point.category == "regular" else point.category,
        }
        for setting in settings for point in setting.found.points
    ])  # fmt: skip


def in_paper(sparsity: float) -> int:
    """Return the kappa that the paper says a sparsity needs.

    Examples
    --------
    >>> [in_paper(sparsity) for sparsity in (0.6, 0.7, 0.8)]
    [0, 1, 2]
    """
    return sum(sparsity >= threshold for threshold in PAPER.values())


def changes_table(settings: Sequence[Setting]) -> pd.DataFrame:
    """One row per data set, model and search: where kappa(S) rises, under a heading with the paper's threshold."""
    rows = []
    for setting in settings:
        trend, grid = setting.found.trend, [point.sparsity for point in setting.found.points]
        row = _where(setting) | {"Sparsities (%)": ", ".join(f"{100 * s:g}" for s in grid)}
        for change in setting.found.changes:
            row[f"To kappa {change.kappa} (paper: {percent(change.paper, 0)} %)"] = change_point(change, grid)
            row[f"To kappa {change.kappa}, 95 % of resamples"] = _bracket(change)
        row["Page's trend of e_2 - e_1, p"] = p_value(None if trend is None else trend.p)
        row["p against"] = p_value(None if trend is None else trend.p_against)
        rows.append(row)
    return pd.DataFrame(rows)


def change_point(change: Change, grid: Sequence[float]) -> str:
    """Say where P(kappa(S) >= k) crosses 1/2, or why that cannot be told.

    Examples
    --------
    >>> nan = math.nan
    >>> change_point(Change(1, "estimated", 0.654, 0.6, 0.7, 0.6, 0.8, 0.65), (0.6, 0.7))
    '65.4 %'
    >>> change_point(Change(2, "never", nan, nan, nan, 0.8, math.inf, 0.75), (0.7, 0.8))
    'not up to 80 %'
    """
    if change.outcome == "estimated":
        return f"{percent(change.sparsity, 1)} %"
    if change.outcome == "not estimable between grid points":
        return f"between {100 * change.below:g} and {100 * change.above:g} %"
    if change.outcome == "always":
        return f"at {100 * min(grid):g} % or below"
    if change.outcome == "never":
        return f"not up to {100 * max(grid):g} %"
    return change.outcome


def _bracket(change: Change) -> str:
    """Show grid points as an interval; beyond the grid it has no end."""
    low, high = change.low, change.high
    if math.isnan(low):
        return NONE
    if math.isinf(low) and math.isinf(high):
        return "anywhere"
    if math.isinf(low):
        return f"up to {100 * high:g} %"
    return f"from {100 * low:g} %" + (" on" if math.isinf(high) else f" to {100 * high:g} %")


def premium_table(settings: Sequence[Setting]) -> pd.DataFrame:
    """One row per data set, model, search and sparsity: the wiggle premium, raw minus smooth features."""
    return pd.DataFrame([
        _where(setting) | {
            "Sparsity (%)": percent(row["sparsity"], 1), "Models": count(row["n"]),
            f"{RAW} less {SMOOTH} (points)": points(row["mean"]),
            "95 % t interval (points)": span(row["low"], row["high"], signed=True),
            "p, above 0": p_value(row["p_above"]), "p, below 0": p_value(row["p_below"]),
            "Remark": NONE if row["category"] == "regular" else row["category"],
        }
        for setting in settings for row in setting.premium.to_dict("records")
    ])  # fmt: skip


def _where(setting: Setting) -> dict[str, str]:
    return {"Data set": setting.dataset, "Model": setting.model, "Search": setting.search}


def classes_sentence(settings: Sequence[Setting]) -> str:
    """Say which scorers stand for the classes."""
    said = {k: "; or ".join(dict.fromkeys(", ".join(one.classes[k]) for one in settings)) for k in (1, 2)}
    return (
        f"Class 1 is the mean of {said[1]}, class 2 that of {said[2]}: the scorers that claim P3 names, as far as the "
        "study has them."
    )


def agreement_sentence(settings: Sequence[Setting]) -> str:
    """Count where the 95 % set of kappa is a single value, and how it compares with the paper's."""
    pairs = [(point.kappa_set, in_paper(point.sparsity)) for one in settings for point in one.found.points]
    known = [(found.kappa, paper) for found, paper in pairs if found.kappa is not None]
    equal, lower = sum(ours == paper for ours, paper in known), sum(ours < paper for ours, paper in known)
    held = sum(found.kappa is None and paper in found.values for found, paper in pairs)
    text = (
        f"In the paper kappa 0 is enough below {percent(PAPER[1], 0)} % sparsity, 1 from there, and 2 from "
        f"{percent(PAPER[2], 0)} %. Here the 95 % set is a single value at {count(len(known))} of {count(len(pairs))} "
        f"points: the paper's value at {count(equal)}, a lower one at {count(lower)}, a higher one at "
        f"{count(len(known) - equal - lower)}."
    )
    if len(known) < len(pairs):
        text += (
            f" At the other {count(len(pairs) - len(known))} points kappa is undecided; the set contains the paper's "
            f"value at {count(held)} of them."
        )
    return text


def limits_sentence(settings: Sequence[Setting]) -> str:
    """Say what cannot be estimated for want of sparsities; empty where nothing is."""
    few: dict[tuple[float, ...], list[str]] = {}
    for one in settings:
        grid = tuple(point.sparsity for point in one.found.points)
        if len(grid) < 3:
            few.setdefault(grid, []).append(one.search)
    if not few:
        return ""
    said = [
        f"{', '.join(dict.fromkeys(searches))} ({', '.join(f'{100 * s:g}' for s in grid)} %)" if grid
        else f"{', '.join(dict.fromkeys(searches))} (none that all models have)"
        for grid, searches in few.items()
    ]  # fmt: skip
    return (
        "A trend needs three sparsities, and a change of kappa is seen only between two of them. Too few for a trend: "
        f"{'; '.join(said)}."
    )


def premium_sentence(settings: Sequence[Setting]) -> str:
    """Say at how many points the wiggle premium is above or below zero."""
    parts = [one.premium for one in settings if len(one.premium)]
    if not parts:
        return ""
    rows = pd.concat(parts)
    constant = rows["category"].eq("constant")  # decided by its value
    above = int(((rows["p_above"] <= 0.025) | (constant & rows["mean"].gt(0))).sum())
    below = int(((rows["p_below"] <= 0.025) | (constant & rows["mean"].lt(0))).sum())
    same = int(rows["category"].eq("identical").sum())
    text = (
        f"Wiggle premium ({RAW} less {SMOOTH}): above zero at {count(above)} of {count(len(rows))} points, below zero "
        f"at {count(below)} (max-T over the sparsities of a search, 2.5 % each way)"
    )
    return text + (f"; at {count(same)} the two have the same accuracy in every model." if same else ".")


def design_sentence(results: Sequence[ScorerComplexity]) -> str:
    """Say which scorers measure another kappa than they were designed to have."""
    known = [one for one in results if isinstance(one.by_design, int)]
    other = {one.scorer: one for one in known if one.kappa != one.by_design}
    scorers = {one.scorer for one in known}
    if not scorers:
        return ""
    said = [
        f"{scorer_title(one)} ({one.by_design} by design, measured {one.kappa}: {_culprits(one)})"
        for one in other.values()
    ]
    text = f"Of {count(len(scorers))} scorers with a kappa by design, {count(len(scorers) - len(other))} measure it"
    return f"{text}; not so {', '.join(said)}." if said else f"{text}."


def _culprits(result: ScorerComplexity) -> str:
    worst = [one for one in result.features if one.kappa == result.kappa]
    return ", ".join(f"{one.feature} with D {degree(one.degrees['polynomial'])}" for one in worst)


def fused_sentence(summary: pd.DataFrame) -> str:
    """Say how often the fused score, which is what prunes, has the kappa that its features were designed to have."""
    known = summary[[isinstance(value, int) for value in summary["by_design"]]]
    if known.empty:
        return ""
    said = []
    for name, own in (("equal", known[is_equal(known["search"])]), ("searched", known[~is_equal(known["search"])])):
        if len(own):
            gap = own["median"] - own["by_design"].astype(float)
            said.append(
                f"with {name} weights its median over models is the one by design in {count(gap.eq(0).sum())} of "
                f"{count(len(own))} settings, lower in {count(gap.lt(0).sum())}, higher in {count(gap.gt(0).sum())}"
            )
    return f"What prunes is the fused score, the weighted sum of the features: {'; '.join(said)}."
