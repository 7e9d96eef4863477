"""Draw ranks and performance profiles on axes; nothing is computed here."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.evidence.methods import Methods


def critical_difference(mean_ranks: pd.Series, groups: Sequence[Sequence[str]], axes: Axes, methods: Methods) -> None:
    """Draw the mean ranks of methods on a line, with a bar under each group that is not told apart.

    Source: Demsar (2006), JMLR 7, 1. A picture beside the tests, never instead of them. Not by
    `scikit_posthocs.critical_difference_diagram`: its bars may run over a method that differs, and it draws them in
    the order of a set, so that the same data give another SVG in every process.

    Parameters
    ----------
    mean_ranks : Series
        Name -> mean rank, 1 = best.
    groups : sequence of sequences of str
        As `analysis.stats.ranks.cliques` gives them.
    axes : Axes
        Where to draw; 0.2 inches of height for every second method and every level of bars are enough.
    methods : Methods
        How the names are drawn.
    """
    ranks = mean_ranks.sort_values(kind="stable")
    depth = _bars([(float(ranks[list(group)].min()), float(ranks[list(group)].max())) for group in groups], axes)
    left = (len(ranks) + 1) // 2  # the better half is labelled on the left
    edges = float(ranks.iloc[0]), float(ranks.iloc[-1])
    gap = 0.015 * (edges[1] - edges[0])
    for place, (name, rank) in enumerate(ranks.items()):
        style = methods.look(str(name))
        row = -(depth + 1 + (place if place < left else len(ranks) - 1 - place))
        edge = edges[0] - gap if place < left else edges[1] + gap
        axes.plot([edge, rank, rank], [row, row, 0], color=style.colour, linewidth=0.9)
        axes.plot([rank], [0], color=style.colour, marker=style.marker, markerfacecolor=style.face, zorder=4)
        text = f"{name} ({rank:.2f}) " if place < left else f" ({rank:.2f}) {name}"
        axes.text(edge, row, text, ha="right" if place < left else "left", va="center", fontsize=8)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.spines["top"].set(visible=True, position=("data", 0))
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("mean rank (1 = best)")
    axes.set_yticks([])
    axes.set_ylim(-(depth + left) - 0.5, 0.3)
    axes.grid(visible=False)


def _bars(spans: Sequence[tuple[float, float]], axes: Axes) -> int:
    """Draw each bar on the first level where it touches no other; return how many levels that takes."""
    ends: list[float] = []
    for low, high in spans:
        level = next((level for level, end in enumerate(ends) if end < low), len(ends))
        ends[level : level + 1] = [high]
        axes.plot([low, high], [-level - 1] * 2, color="black", linewidth=2.2, solid_capstyle="butt", zorder=3)
    return len(ends)


def performance_profile(frame: pd.DataFrame, axes: Axes, methods: Methods, by: str = "scorer") -> None:
    """Draw the share of runs above a threshold, one step line per label of `by`, with its pointwise band.

    Parameters
    ----------
    frame : DataFrame
        ``threshold``, ``share``, ``low``, ``high`` (fractions; NaN bounds draw no band), as
        `analysis.stats.profiles.performance_profile` gives them, and the column `by`.
    axes : Axes
        Where to draw.
    by : str
        Column whose labels are the lines.
    """
    for label, own in frame.groupby(by, sort=False):
        style = methods.look(str(label))
        x = 100 * own["threshold"]
        axes.fill_between(x, 100 * own["low"], 100 * own["high"], color=style.colour, alpha=0.15, linewidth=0)
        axes.plot(
            x, 100 * own["share"], color=style.colour, linestyle=style.dashes, marker=style.marker,
            markerfacecolor=style.face, markevery=max(1, len(own) // 8), label=str(label),
        )  # fmt: skip
    axes.set_ylim(-2, 102)
