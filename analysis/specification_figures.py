"""Draw specification curves: the estimate of a part under every reading, above the choices of each reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.claims.records import Reading
from analysis.figure_style import styled


class Mark(NamedTuple):
    """Marker of a kind of reading."""

    shape: str
    edge: str
    face: str


BY_CONSTRUCTION = "by construction"
#: Verdict of a reading, or `BY_CONSTRUCTION` -> marker; shapes and fills differ, so that greyscale is enough.
MARKS: Mapping[str, Mark] = MappingProxyType({
    "supported": Mark("^", "#0072b2", "#0072b2"),
    "inconclusive": Mark("o", "#000000", "#ffffff"),
    "contradicted": Mark("v", "#d55e00", "#d55e00"),
    "not testable": Mark("x", "#000000", "#000000"),
    BY_CONSTRUCTION: Mark("s", "#9a9a9a", "#ffffff"),
})  # fmt: skip
_PRIMARY = "#efe3b0"
_MARGIN_DASHES = (4, 2)


def kind_of(reading: Reading) -> str:
    """Return the key of `MARKS` for a reading."""
    return BY_CONSTRUCTION if reading.by_construction else reading.verdict


def choices(readings: Sequence[Reading]) -> dict[str, list[str]]:
    """Return choice -> levels, in order of appearance from the primary reading on, for choices with several levels.

    Examples
    --------
    >>> base = {"verdict": "supported", "n": 1}
    >>> choices([Reading(levels={"order": "b", "mode": "x"}, primary=False, **base),
    ...          Reading(levels={"order": "a", "mode": "x"}, primary=True, **base)])
    {'order': ['a', 'b']}
    """
    return {name: levels for name, levels in levels_of(readings).items() if len(levels) > 1}


def levels_of(readings: Sequence[Reading]) -> dict[str, list[str]]:
    """Return choice -> levels, in order of appearance from the primary reading on."""
    found: dict[str, list[str]] = {}
    for reading in sorted(readings, key=lambda one: not one.primary):
        for name, level in reading.levels.items():
            levels = found.setdefault(name, [])
            if _text(level) not in levels:
                levels.append(_text(level))
    return found


def _text(level: str | float) -> str:
    return level if isinstance(level, str) else f"{level:g}"


def specification_curve(readings: Sequence[Reading], kind: str, margin: float | None) -> Figure:
    """Draw the readings of a part in the given order.

    Parameters
    ----------
    readings : sequence of Reading
        With an effect, in percentage points.
    kind : str
        superiority, noninferiority or equivalence; it places the margin lines.
    margin : float or None
        Percentage points; a reading with a level of the choice ``margin`` has its own.
    """
    rows = [(name, level) for name, levels in choices(readings).items() for level in levels]
    width = min(11.0, max(6.4, 2.6 + 0.3 * len(readings)))
    height = 0.5 + 0.19 * len(rows)
    with styled():
        figure = Figure(figsize=(width, 3.0 + height), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2.5, height), squeeze=True)
        _curve(upper, readings, kind, margin)
        _matrix(lower, readings, rows)
        _legend(figure, readings, kind, margin)
    return figure


def _curve(axes: Axes, readings: Sequence[Reading], kind: str, margin: float | None) -> None:
    axes.axhline(0, color="#000000", linewidth=0.9)
    for place, reading in enumerate(readings):
        if reading.primary:
            _mark_primary(axes, place, len(readings))
        for limit in _limits(kind, _margin(reading, margin)):
            axes.plot([place - 0.5, place + 0.5], [limit, limit], color="#555555", linewidth=0.9, dashes=_MARGIN_DASHES)
        mark, effect = MARKS[kind_of(reading)], reading.effect or 0.0
        low, high = (effect if bound is None else bound for bound in (reading.low, reading.high))
        axes.errorbar(
            [place], [effect], yerr=[[effect - low], [high - effect]], color=mark.edge, marker=mark.shape,
            markerfacecolor=mark.face, markersize=7 if reading.primary else 5, linestyle="none", elinewidth=1.0,
            capsize=2,
        )  # fmt: skip
    axes.set_ylabel("Mean difference (points)")
    axes.grid(visible=False, axis="x")
    axes.set_xlim(-0.6, len(readings) - 0.4)
    axes.tick_params(axis="x", length=0, labelbottom=False)


def _mark_primary(axes: Axes, place: int, readings: int) -> None:
    """Shade the column of the primary reading; among few readings, only a part of their wide columns."""
    half = min(0.45, 0.07 * readings)
    axes.axvspan(place - half, place + half, color=_PRIMARY, linewidth=0, zorder=0)


def _limits(kind: str, margin: float | None) -> tuple[float, ...]:
    """Return where the margin lines of a kind of part are; none for a margin of 0."""
    if not margin:
        return ()
    return {"superiority": (margin,), "noninferiority": (-margin,)}.get(kind, (-margin, margin))


def _matrix(axes: Axes, readings: Sequence[Reading], rows: Sequence[tuple[str, str]]) -> None:
    for place, reading in enumerate(readings):
        if reading.primary:
            _mark_primary(axes, place, len(readings))
        for row, (name, level) in enumerate(rows):
            chosen = name in reading.levels and _text(reading.levels[name]) == level
            axes.plot(
                [place], [row], marker="s", linestyle="none", markersize=6 if chosen else 2.5,
                color="#000000" if chosen else "#c4c4c4",
            )  # fmt: skip
    for row in range(1, len(rows)):
        if rows[row][0] != rows[row - 1][0]:
            axes.axhline(row - 0.5, color="#aaaaaa", linewidth=0.6)
    axes.set_yticks(range(len(rows)), [_row_title(*row) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel("Readings, sorted by mean difference")
    axes.grid(visible=False)
    axes.tick_params(length=0, labelbottom=False)


def _row_title(name: str, level: str) -> str:
    unit = "" if name != "margin" else " point" if level == "1" else " points"
    return f"{name.replace('_', ' ')}: {level}{unit}"


def _legend(figure: Figure, readings: Sequence[Reading], kind: str, margin: float | None) -> None:
    handles = [
        Line2D([], [], color=mark.edge, marker=mark.shape, markerfacecolor=mark.face, label=name)
        for name, mark in MARKS.items() if any(kind_of(reading) == name for reading in readings)
    ]  # fmt: skip
    handles.append(Line2D([], [], color=_PRIMARY, linewidth=7, label="primary reading"))
    if any(_limits(kind, _margin(reading, margin)) for reading in readings):
        handles.append(Line2D([], [], color="#555555", linewidth=0.9, dashes=_MARGIN_DASHES, label="margin"))
    room = max(2, int(figure.get_figwidth() / 1.5))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(room, len(handles)))


def _margin(reading: Reading, margin: float | None) -> float | None:
    own = reading.levels.get("margin", margin)
    return float(own) if isinstance(own, (int, float)) else None
