"""Draw how scorers align with magnitude; nothing is computed here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.evidence import frames
from analysis.figure_style import styled
from analysis.figures import facets
from analysis.formats import percent

#: Measure -> text, colour, marker, fill, place beside the middle of the lane.
_LOOKS = {
    "layer": ("whole layer", "#000000", "o", "#000000", 0.17),
    "window": ("near the threshold", "#0072b2", "s", "white", -0.17),
}


def lanes(frame: pd.DataFrame, axes: Axes, methods: Sequence[str]) -> None:
    """Draw a lane per method: mean correlation with magnitude over whole layers and near the threshold.

    A pale bar is the interval over models, a thin one with caps that over layers.

    Parameters
    ----------
    frame : DataFrame
        ``method``, ``measure``, ``mean``, ``low``, ``high``, ``block_low``, ``block_high`` (plain numbers; NaN bounds
        draw no bar), as of `analysis.alignment.alignments`, of one setting.
    axes : Axes
        Where to draw.
    methods : sequence of str
        Names from the top lane to the lowest.
    """
    for place in (-1, 0, 1):
        axes.axvline(place, color="#555555", linewidth=0.8, dashes=(2, 2))
    for measure, (_, colour, marker, face, beside) in _LOOKS.items():
        own = frame[frame["measure"].eq(measure) & frame["mean"].notna()]
        y = [len(methods) - 1 - methods.index(str(name)) + beside for name in own["method"]]
        mean = own["mean"].to_numpy(dtype=np.float64)
        axes.hlines(y, own["low"], own["high"], color=colour, linewidth=4, alpha=0.25)
        bars = np.abs(own[["block_low", "block_high"]].to_numpy(dtype=np.float64).T - mean)
        axes.errorbar(
            mean, y, xerr=np.nan_to_num(bars), color=colour, marker=marker, markerfacecolor=face, linestyle="none",
            elinewidth=0.8, capsize=1.5, capthick=0.8, markersize=3.5,
        )  # fmt: skip
    axes.set_yticks(range(len(methods)), list(methods)[::-1])
    axes.set_ylim(-0.6, len(methods) - 0.4)
    axes.set_xlim(-1.05, 1.05)
    axes.tick_params(axis="y", length=0)


def alignment(found: pd.DataFrame, granularity: str, allocation: str, sparsity: float) -> Figure:
    """Lay out one facet per model: the lanes of all methods at one sparsity.

    Parameters
    ----------
    found : DataFrame
        What `analysis.alignment.alignments` returned.
    granularity, allocation : str
        Which settings.
    sparsity : float
        At whose rank the threshold lies.
    """
    at = found["granularity"].eq(granularity) & found["allocation"].eq(allocation) & found["sparsity"].eq(sparsity)
    chosen = found[at]
    methods = frames.ordered(chosen["method"])
    parts = list(chosen.groupby(["dataset", "model"], sort=False))
    with styled():
        figure = facets(
            [f"{model} on {dataset}" for (dataset, model), _ in parts],
            lambda number, axes: lanes(parts[number][1], axes, methods),
            x="Spearman rho, score against magnitude", y="", width=3.6, height=0.9 + 0.19 * len(methods),
        )  # fmt: skip
        handles = [
            Line2D([], [], color=colour, marker=marker, markerfacecolor=face, linestyle="none", label=text)
            for text, colour, marker, face, _ in _LOOKS.values()
        ]
        handles[1].set_label(f"near the threshold of sparsity {percent(sparsity, 0)} %")
        pale = Line2D([], [], color="#000000", linewidth=4, alpha=0.25, label="95 % over models")
        thin = Line2D([], [], color="#000000", linewidth=0.8, marker="|", label="95 % over layers")
        figure.legend(handles=[*handles, pale, thin], loc="outside lower center", ncols=2)
    return figure
