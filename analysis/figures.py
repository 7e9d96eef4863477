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
from analysis.formats import percent, points
from analysis.style import look

#: Facets side by side.
_COLUMNS = 3
#: Height of a facet and width of a facet, inches.
_WIDTH, _HEIGHT = 3.9, 3.1


def lines(frame: pd.DataFrame, axes: Axes, by: str = "scorer", *, dense: float | None = None) -> None:
    """Draw one line per label of `by` over sparsity, with intervals.

    Parameters
    ----------
    frame : DataFrame
        ``sparsity``, ``mean``, ``low``, ``high`` (fractions; NaN bounds draw no bar) and the column `by`.
    axes : Axes
        Where to draw.
    by : str
        Column whose labels are the lines.
    dense : float, optional
        Accuracy of the dense models, drawn as a horizontal line.
    """
    labels = list(frame[by].unique())
    steps = np.sort(frame["sparsity"].unique())
    gap = min(0.1, float(np.diff(steps).min())) if len(steps) > 1 else 0.05
    if dense is not None:
        axes.axhline(100 * dense, color="#555555", linewidth=0.9, dashes=(2, 2))
    for place, label in enumerate(labels):
        own = frame[frame[by].eq(label)].sort_values("sparsity")
        style = look(str(label))
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
    for before, after, label in zip(steps, steps[1:], axes.get_xticklabels()[1:], strict=False):
        label.set_visible(bool(after - before >= 0.04))


def heat(frame: pd.DataFrame, axes: Axes, limit: float, scorers: Sequence[str], sparsities: Sequence[float]) -> None:
    """Draw differences as a table of colours with their numbers: scorers down, sparsities across.

    A star marks a Holm-adjusted p under 0.05, ``=`` a scorer with the reference's own masks, a blank a
    setting without data.

    Parameters
    ----------
    frame : DataFrame
        ``scorer``, ``sparsity``, ``difference`` (fraction), ``p_holm``, ``category``.
    axes : Axes
        Where to draw.
    limit : float
        Difference (fraction) at which the colour saturates.
    scorers, sparsities : sequence
        Order of rows and columns.
    """
    values = np.full((len(scorers), len(sparsities)), np.nan)
    for row in frame.to_dict("records"):
        i = scorers.index(str(row["scorer"]))
        j = int(np.argmin(np.abs(np.array(sparsities) - row["sparsity"])))
        values[i, j] = row["difference"]
        strong = abs(values[i, j]) > 0.6 * limit
        text = points(values[i, j], 1) + ("*" if row["p_holm"] < 0.05 else "")
        if row["category"] == SAME_MASK:
            text = "="
        axes.text(j, i, text, ha="center", va="center", fontsize=7.5, color="white" if strong else "black")
    axes.imshow(values, cmap="PuOr_r", norm=TwoSlopeNorm(0, -limit, limit), aspect="auto")
    axes.set_xticks(range(len(sparsities)), [percent(s, 0) for s in sparsities])
    axes.set_yticks(range(len(scorers)), list(scorers))
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)


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


def legend(figure: Figure, labels: Sequence[str], shown: dict[str, str], *, dense: bool) -> None:
    """Put one legend for all facets under them.

    Parameters
    ----------
    figure : Figure
        What `facets` returned.
    labels : sequence of str
        Names, in the order in which `lines` drew them.
    shown : dict
        Name -> text to show instead.
    dense : bool
        Whether a line for the dense models was drawn.
    """
    handles: list[Any] = []
    for label in labels:
        style = look(label)
        handles.append(
            Line2D(
                [], [], color=style.colour, marker=style.marker, linestyle=style.dashes,
                markerfacecolor=style.face, label=shown.get(label, label),
            )
        )  # fmt: skip
    if dense:
        handles.append(Line2D([], [], color="#555555", linewidth=0.9, dashes=(2, 2), label="dense"))
    longest = max(len(str(handle.get_label())) for handle in handles)
    room = max(1, int(figure.get_figwidth() / (0.75 + 0.085 * longest)))  # inches of one entry, roughly
    figure.legend(handles=handles, loc="outside lower center", ncols=min(room, len(handles)), handlelength=3.2)
