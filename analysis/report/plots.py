"""The figures of a report: which rows go into which facet of which figure."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import frames
from analysis.figures import facets, heat, legend, lines
from analysis.style import styled

_SPARSITY = "Sparsity (% of prunable units removed)"


@dataclass(frozen=True)
class Plot:
    """One figure: file name without ending, caption, text for those who cannot see it, and the SVG."""

    name: str
    caption: str
    alt: str
    svg: str


class _Facet(NamedTuple):
    dataset: str
    model: str

    @property
    def title(self) -> str:
        return f"{self.model} on {self.dataset}"


def accuracy(rows: pd.DataFrame) -> list[Plot]:
    """Accuracy against sparsity, one figure per granularity and allocation, without repair."""
    dense = frames.done(rows[rows["scorer"].eq("dense") & rows["recalibration"].eq("none")])
    baseline = dense.groupby(["dataset", "model"], sort=False)["accuracy"].mean()
    plots = []
    for granularity, allocation, cells in _figures(frames.done(frames.unrepaired(frames.main_rows(rows)))):
        frame = frames.summarise(frames.per_model(cells))
        kept, same = _merge_equal(frame)
        places = _facets(frame)

        def draw(number: int, axes: Axes, kept: pd.DataFrame = kept, places: list[_Facet] = places) -> None:
            facet = places[number]
            lines(_within(kept, facet), axes, dense=baseline.get((facet.dataset, facet.model)))

        bars = "bars: 95 % t intervals over models" if frame["n"].gt(1).any() else "one model each: no intervals"
        plots.append(
            _plot(
                f"accuracy-{granularity}-{allocation}", places, draw,
                f"Accuracy on the test images; {bars}. Granularity {granularity}, allocation {allocation}, "
                "no correction, no recalibration. Markers are set apart sideways so that bars do not "
                "hide each other.",
                y="Top-1 accuracy (%)", labels=frames.ordered(kept["scorer"]), same=same,
                dense=not baseline.empty,
            )
        )  # fmt: skip
    return plots


def overlap(rows: pd.DataFrame) -> list[Plot]:
    """Overlap with the magnitude mask against sparsity, one figure per granularity and allocation."""
    plots = []
    main = frames.done(frames.unrepaired(frames.main_rows(rows)))
    for granularity, allocation, cells in _figures(main[main["magnitude_overlap"].notna()]):
        frame = frames.summarise(frames.per_model(cells, "magnitude_overlap"), "magnitude_overlap")
        kept, same = _merge_equal(frame)
        places = _facets(frame)

        def draw(number: int, axes: Axes, kept: pd.DataFrame = kept, places: list[_Facet] = places) -> None:
            lines(_within(kept, places[number]), axes)
            axes.set_ylim(-3, 105)

        plots.append(
            _plot(
                f"overlap-{granularity}-{allocation}", places, draw,
                "Jaccard overlap: kept units in common with the magnitude mask of the same budget, as a "
                "share of the units kept by either; mean over models with 95 % t interval. "
                f"Granularity {granularity}, allocation {allocation}.",
                y="Mask overlap (%)", labels=frames.ordered(kept["scorer"]), same=same,
            )
        )  # fmt: skip
    return plots


def escape(compared: pd.DataFrame) -> list[Plot]:
    """Difference from magnitude as a table of colours, one figure per granularity and allocation."""
    plots = []
    largest = compared["difference"].abs().quantile(0.9) if len(compared) else 0.0
    limit = max(0.02, float(largest))
    for granularity, allocation, cells in _figures(compared):
        places = _facets(cells)
        scorers = frames.ordered(cells["scorer"])
        sparsities = sorted(float(s) for s in cells["sparsity"].dropna().unique())

        def draw(
            number: int, axes: Axes, cells: pd.DataFrame = cells, places: list[_Facet] = places,
            scorers: list[str] = scorers, sparsities: list[float] = sparsities,
        ) -> None:  # fmt: skip
            heat(_within(cells, places[number]), axes, limit, scorers, sparsities)

        with styled():
            figure = facets(
                [place.title for place in places], draw, x=_SPARSITY, y="",
                width=1.3 + 0.55 * len(sparsities), height=1.0 + 0.24 * len(scorers),
            )  # fmt: skip
        caption = (
            "Accuracy minus magnitude's in the same block, mean over models, in percentage points. * "
            "Holm-adjusted p under 0.05 (paired t, all settings of this section one family); = the same "
            "masks as magnitude, equal by construction; blank: no data. "
            f"Granularity {granularity}, allocation {allocation}."
        )
        plots.append(_finish(f"escape-{granularity}-{allocation}", figure, caption, places))
    return plots


def repairs(rows: pd.DataFrame) -> list[Plot]:
    """Corrections against sparsity, one facet per model and recalibration."""
    plots = []
    main = frames.main_rows(rows)
    counts = main.groupby(["scorer", "granularity", "allocation"], sort=False)["correction"].nunique()
    for scorer, granularity, allocation in counts[counts.gt(1)].index:
        chosen = main[
            main["scorer"].eq(scorer) & main["granularity"].eq(granularity) & main["allocation"].eq(allocation)
        ]
        frame = frames.summarise(frames.per_model(chosen))
        frame = frame[frame["sparsity"].notna()]
        order = frames.ordered(main["recalibration"])
        have = [(place, recalibration) for place in _facets(frame) for recalibration in order]
        there = [_within(frame, place)["recalibration"].eq(name).any() for place, name in have]
        if not have:
            continue

        def draw(number: int, axes: Axes, frame: pd.DataFrame = frame, have: list[tuple[_Facet, str]] = have) -> None:
            place, recalibration = have[number]
            cells = _within(frame, place)
            lines(cells[cells["recalibration"].eq(recalibration)], axes, by="correction")

        plots.append(
            _plot(
                f"repairs-{scorer}-{granularity}-{allocation}", [place for place, _ in have], draw,
                f"Corrections compared under each recalibration; scorer {scorer}, granularity {granularity}, "
                f"allocation {allocation}; bars: 95 % t intervals over models. Corrections that coincide "
                "hide each other.",
                y="Top-1 accuracy (%)", labels=frames.ordered(frame["correction"]),
                columns=len(order), titles=[
                    f"{place.title}, recalibration: {name}" if drawn else ""
                    for (place, name), drawn in zip(have, there, strict=True)
                ],
            )
        )  # fmt: skip
    return plots


def _figures(rows: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """One part per granularity and allocation, of the cells that have a requested sparsity."""
    chosen = rows[rows["sparsity"].notna()]
    for (granularity, allocation), cells in chosen.groupby(["granularity", "allocation"], sort=False):
        yield str(granularity), str(allocation), cells


def _facets(frame: pd.DataFrame) -> list[_Facet]:
    distinct = frame[["dataset", "model"]].drop_duplicates()
    return [_Facet(str(d), str(m)) for d, m in zip(distinct["dataset"], distinct["model"], strict=True)]


def _within(frame: pd.DataFrame, place: _Facet) -> pd.DataFrame:
    return frame[frame["dataset"].eq(place.dataset) & frame["model"].eq(place.model)]


def _merge_equal(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Leave out the scorers that coincide with magnitude everywhere, and name them."""
    keys = ["dataset", "model", "sparsity"]
    curves = {
        str(name): own.sort_values(keys)[[*keys, "mean", "low", "high"]].reset_index(drop=True)
        for name, own in frame.groupby("scorer", sort=False)
    }
    plateau = curves.get(frames.MAGNITUDE)
    if plateau is None:
        return frame, []
    same = [
        name
        for name, own in curves.items()
        if name != frames.MAGNITUDE
        and own[keys].equals(plateau[keys])
        and np.allclose(own[["mean", "low", "high"]], plateau[["mean", "low", "high"]], atol=1e-12, equal_nan=True)
    ]
    if not same:
        return frame, []
    return frame[~frame["scorer"].isin(same)], same


def _plot(
    name: str, places: list[_Facet], draw: Callable[[int, Axes], None], caption: str, *, y: str, labels:
    list[str], same: list[str] | None = None, dense: bool = False, titles: list[str] | None = None, columns:
    int = 3,
) -> Plot:  # fmt: skip
    if same:
        caption += f" Equal to magnitude in every point, and so drawn as one line: {', '.join(same)}."
    with styled():
        figure = facets(titles or [place.title for place in places], draw, x=_SPARSITY, y=y, columns=columns)
        legend(figure, labels, {frames.MAGNITUDE: f"magnitude (+ {len(same)})"} if same else {}, dense=dense)
    return _finish(name, figure, caption, places)


def _finish(name: str, figure: Figure, caption: str, places: list[_Facet]) -> Plot:
    buffer = io.StringIO()
    with styled():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    alt = f"Figure {name}: {', '.join(dict.fromkeys(place.title for place in places))}"
    return Plot(file_name(name), caption, alt, buffer.getvalue())


def file_name(text: str) -> str:
    """Return a name that is safe in every file system and still distinct.

    Examples
    --------
    >>> file_name("accuracy-weight-uniform")
    'accuracy-weight-uniform'
    >>> file_name("accuracy-weight-../x")
    'accuracy-weight-x-f6dced'
    """
    plain = re.sub(r"[^A-Za-z0-9_-]+", "", text)
    return plain if plain == text else f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
