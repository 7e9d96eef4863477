"""Draw frames on axes; nothing is computed here and nothing is known of files."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.comparisons import SAME_MASK
from analysis.evidence.methods import Methods
from analysis.formats import percent, points

#: Facets side by side.
_COLUMNS = 3
#: Height of a facet and width of a facet, inches.
_WIDTH, _HEIGHT = 3.9, 3.1
#: Reference lines that have no markers: the dense models, magnitude, equal weights.
_DENSE, _DENSE_DASHES = "#555555", (2, 2)
_PLATEAU, _PLATEAU_DASHES = "#000000", (5, 2)
_EQUAL, _EQUAL_DASHES = "#333333", (1, 1.5)


def lines(frame: pd.DataFrame, axes: Axes, methods: Methods, by: str = "scorer", *, dense: float | None = None) -> None:
    """Draw one line per label of `by` over sparsity, with intervals.

    Parameters
    ----------
    frame : DataFrame
        ``sparsity``, ``mean``, ``low``, ``high`` (fractions; NaN bounds draw no bar) and the column `by`.
    axes : Axes
        Where to draw.
    methods : Methods
        How the labels are drawn.
    by : str
        Column whose labels are the lines.
    dense : float, optional
        Accuracy of the dense models, drawn as a horizontal line.
    """
    parts = {str(name): own for name, own in frame.groupby(by, sort=False)}
    labels = list(parts)
    steps = np.sort(frame["sparsity"].dropna().unique())
    gap = min(0.1, float(np.diff(steps).min())) if len(steps) > 1 else 0.05
    if dense is not None:
        axes.axhline(100 * dense, color=_DENSE, linewidth=0.9, dashes=_DENSE_DASHES)
    for place, label in enumerate(labels):
        own = parts[label].sort_values("sparsity")
        style = methods.look(label)
        # A small sidestep keeps the bars of neighbours apart; it is the same in every facet.
        x = 100 * (own["sparsity"].to_numpy() + gap * 0.05 * (place - (len(labels) - 1) / 2))
        mean = 100 * own["mean"].to_numpy()
        bars = np.abs(100 * np.stack([own["low"], own["high"]]) - mean)
        axes.errorbar(
            x, mean, yerr=np.nan_to_num(bars), color=style.colour, marker=style.marker,
            markerfacecolor=style.face, linestyle=style.dashes, elinewidth=0.8, capsize=1.5, capthick=0.8,
        )  # fmt: skip
    axes.set_xticks(100 * steps, [percent(step, 0 if step * 100 % 1 < 1e-9 else 1) for step in steps])
    # Labels of ticks closer than 4 points would touch.
    for before, after, tick in zip(steps, steps[1:], axes.get_xticklabels()[1:], strict=False):
        tick.set_visible(bool(after - before >= 0.04))


def plateau(frame: pd.DataFrame, axes: Axes) -> None:
    """Draw the reference's means over sparsity as a dashed line without markers.

    Parameters
    ----------
    frame : DataFrame
        ``sparsity``, ``mean`` (fractions).
    axes : Axes
        Where to draw.
    """
    own = frame.sort_values("sparsity")
    axes.plot(100 * own["sparsity"], 100 * own["mean"], color=_PLATEAU, linewidth=1.1, dashes=_PLATEAU_DASHES)


def heat(
    frame: pd.DataFrame, axes: Axes, limit: float, scorers: Sequence[str], columns: Sequence[Any], *,
    by: str = "sparsity", labels: Sequence[str] | None = None,
) -> None:  # fmt: skip
    """Draw differences as a table of colours with their numbers: scorers down, sparsities or others across.

    A star marks a Holm-adjusted p under 0.05, ``=`` a scorer with the reference's own masks, a blank a
    setting without data.

    Parameters
    ----------
    frame : DataFrame
        ``scorer``, the column `by`, ``difference`` (fraction), ``p_holm``, ``category``.
    axes : Axes
        Where to draw.
    limit : float
        Difference (fraction) at which the colour saturates.
    scorers, columns : sequence
        Order of rows, and of the values of `by`.
    by : str
        What stands across.
    labels : sequence of str, optional
        One per column; the default shows them in percent.
    """
    values = np.full((len(scorers), len(columns)), np.nan)
    for row in frame.to_dict("records"):
        i = scorers.index(str(row["scorer"]))
        j = columns.index(row[by])
        values[i, j] = row["difference"]
        strong = abs(values[i, j]) > 0.6 * limit
        text = points(values[i, j], 1) + ("*" if row["p_holm"] < 0.05 else "")
        if row["category"] == SAME_MASK:
            text = "="
        axes.text(j, i, text, ha="center", va="center", fontsize=7.5, color="white" if strong else "black")
    axes.imshow(values, cmap="PuOr_r", norm=TwoSlopeNorm(0, -limit, limit), aspect="auto")
    axes.set_xticks(range(len(columns)), labels or [percent(s, 0) for s in columns])
    axes.set_yticks(range(len(scorers)), list(scorers))
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)


def group_columns(axes: Axes, groups: Sequence[str]) -> None:
    """Write the name of each group of a heat table's columns over it, with a line between two groups.

    Parameters
    ----------
    axes : Axes
        What `heat` drew on.
    groups : sequence of str
        One per column; equal neighbours are a group.
    """
    starts = [place for place, name in enumerate(groups) if place == 0 or name != groups[place - 1]]
    stops = [*starts[1:], len(groups)]
    names = [groups[start].replace(" (", "\n(") for start in starts]
    above = axes.secondary_xaxis("top")
    above.set_xticks([(start + stop - 1) / 2 for start, stop in zip(starts, stops, strict=True)], names)
    above.tick_params(length=0)
    above.spines["top"].set_visible(False)
    for start in starts[1:]:
        axes.axvline(start - 0.5, color="black", linewidth=1.2)


def history(frame: pd.DataFrame, axes: Axes, methods: Methods) -> None:
    """Draw the best search accuracy against evaluations, one stepped line per search.

    Parameters
    ----------
    frame : DataFrame
        ``name`` (of the search), ``evaluations``, ``best``, ``equal`` (fractions): what equal weights reach is a
        dotted line across.
    axes : Axes
        Where to draw.
    methods : Methods
        How the searches are drawn.
    """
    for name, own in frame.groupby("name", sort=False):
        style = methods.look(str(name))
        axes.plot(
            own["evaluations"], 100 * own["best"], color=style.colour, linestyle=style.dashes, marker=style.marker,
            markerfacecolor=style.face, markevery=max(1, len(own) // 5), markersize=3.5, drawstyle="steps-post",
        )  # fmt: skip
    if len(frame):
        axes.axhline(100 * frame["equal"].mean(), color=_EQUAL, linewidth=1.1, dashes=_EQUAL_DASHES)
    axes.set_xlim(left=0)


def bands(frame: pd.DataFrame, axes: Axes) -> None:
    """Draw features against u, each in a band of its own with its name on the left.

    Parameters
    ----------
    frame : DataFrame
        ``feature``, ``sparsity``, ``u`` and ``value`` (0 to 1). Where a feature depends on the sparsity its band
        holds one line for each.
    axes : Axes
        Where to draw.
    """
    parts = {str(name): own for name, own in frame.groupby("feature", sort=False)}
    names = list(parts)
    for place, name in enumerate(reversed(names)):
        own = parts[name]
        axes.axhspan(place, place + 0.82, color="#f2f2f2", linewidth=0)
        for number, (_, line) in enumerate(own.groupby("sparsity", sort=True, dropna=False)):
            shade = ("#000000", "#777777")[number % 2]
            axes.plot(line["u"], place + 0.82 * line["value"], color=shade, linewidth=0.6)
    axes.set_yticks([place + 0.41 for place in range(len(names))], names[::-1])
    axes.set_ylim(-0.1, len(names))
    axes.set_xlim(0.1, 1)
    axes.set_xticks([0.1, 0.25, 0.5, 0.75, 1], ["0.1", "0.25", "0.5", "0.75", "1"])
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


def change_against_sparsity(frame: pd.DataFrame, axes: Axes, methods: Methods) -> None:
    """Draw one point per method: sparsity reached across, change of accuracy up, with intervals.

    Parameters
    ----------
    frame : DataFrame
        ``method``, ``sparsity_achieved``, ``mean``, ``low``, ``high`` (fractions; NaN bounds draw no bar).
    axes : Axes
        Where to draw.
    methods : Methods
        How the methods are drawn.
    """
    axes.axhline(0, color=_DENSE, linewidth=0.9, dashes=_DENSE_DASHES)
    for row in frame.to_dict("records"):
        style = methods.look(str(row["method"]))
        bars = np.nan_to_num([[row["mean"] - row["low"]], [row["high"] - row["mean"]]])
        axes.errorbar(
            [100 * row["sparsity_achieved"]], [100 * row["mean"]], yerr=100 * bars, color=style.colour,
            marker=style.marker, markerfacecolor=style.face, linestyle="none", elinewidth=0.8, capsize=1.5,
            capthick=0.8,
        )  # fmt: skip


def facets(
    titles: Sequence[str], draw: Callable[[int, Axes], None], *, x: str, y: str, columns: int = _COLUMNS,
    width: float = _WIDTH, height: float = _HEIGHT, share_y: bool = True,
) -> Figure:  # fmt: skip
    """Lay out one axes per title and let `draw` fill it.

    Parameters
    ----------
    titles : sequence of str
        One per facet; an empty one leaves its place free.
    draw : callable
        Called with the number of the facet and its axes.
    x, y : str
        Axis labels, with units.
    columns : int
        Facets side by side at most.
    width, height : float
        Of one facet, inches.
    share_y : bool
        One scale for all.
    """
    rows = -(-len(titles) // columns)
    columns = -(-len(titles) // rows)  # four facets stand two by two, not three and one
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=share_y)
    for number, axes in enumerate(grid.flat):
        if number >= len(titles) or not titles[number]:
            axes.set_visible(False)
            continue
        draw(number, axes)
        axes.set_title("\n".join(textwrap.wrap(titles[number], 48)))
        below = number + columns
        if below >= len(titles) or not titles[below]:
            axes.set_xlabel(x)
        if number % columns == 0 and y:
            axes.set_ylabel(y)
    return figure


def legend(
    figure: Figure, labels: Sequence[str], shown: dict[str, str], methods: Methods, references: Sequence[str] = (), *,
    joined: bool = True,
) -> None:  # fmt: skip
    """Put one legend for all facets under them.

    Parameters
    ----------
    figure : Figure
        What `facets` returned.
    labels : sequence of str
        Names, in the order in which `lines` drew them.
    shown : dict
        Name -> text to show instead.
    methods : Methods
        How the names are drawn.
    references : sequence of {"dense", "plateau", "equal"}
        Lines without markers that were drawn.
    joined : bool
        Whether lines join the markers.
    """
    handles: list[Any] = []
    for label in labels:
        style = methods.look(label)
        handles.append(
            Line2D(
                [], [], color=style.colour, marker=style.marker, linestyle=style.dashes if joined else "none",
                markerfacecolor=style.face, label=shown.get(label, label),
            )
        )  # fmt: skip
    looks: dict[str, dict[str, Any]] = {
        "dense": {"color": _DENSE, "linewidth": 0.9, "dashes": _DENSE_DASHES, "label": "dense"},
        "plateau": {"color": _PLATEAU, "linewidth": 1.1, "dashes": _PLATEAU_DASHES, "label": "magnitude (the plateau)"},
        "equal": {"color": _EQUAL, "linewidth": 1.1, "dashes": _EQUAL_DASHES, "label": "equal weights"},
    }
    handles += [Line2D([], [], **looks[name]) for name in references]
    longest = max(len(str(handle.get_label())) for handle in handles)
    room = max(1, int(figure.get_figwidth() / (0.75 + 0.085 * longest)))  # inches of one entry, roughly
    rows = -(-len(handles) // room)
    figure.set_figheight(figure.get_figheight() + 0.2 * max(0, rows - 3))  # a long legend takes nothing from the axes
    figure.legend(handles=handles, loc="outside lower center", ncols=min(room, len(handles)), handlelength=3.2)
