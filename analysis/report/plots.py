"""The figures of a report: which rows go into which facet of which figure."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.evidence import frames
from analysis.evidence.evidence import Evidence
from analysis.evidence.methods import Methods
from analysis.figure_style import styled
from analysis.figures import change_against_sparsity, facets, heat, legend, lines
from analysis.report.drawing import SPARSITY, Facet, Plot, by_space, facets_of, finish, plot, within


def accuracy(data: Evidence) -> list[Plot]:
    """Accuracy of the scorers without a search against sparsity, without repair.

    One figure per granularity and allocation.
    """
    methods = data.known_methods
    dense = data.dense_evaluated
    baseline = dense[dense["recalibration"].eq("none")].groupby(["dataset", "model"], sort=False)["accuracy"].mean()
    plots = []
    for granularity, allocation, cells in by_space(data.plain):
        frame = frames.summarise(frames.per_model(cells))
        kept, same = _merge_equal(frame)
        places = facets_of(frame)

        def draw(number: int, axes: Axes, kept: pd.DataFrame = kept, places: list[Facet] = places) -> None:
            facet = places[number]
            lines(within(kept, facet), axes, methods, dense=baseline.get((facet.dataset, facet.model)))

        bars = "bars: 95 % t intervals over models" if frame["n"].gt(1).any() else "one model each: no intervals"
        plots.append(
            plot(
                f"accuracy-{granularity}-{allocation}", places, draw,
                f"Accuracy on the test images; {bars}. Granularity {granularity}, allocation {allocation}, "
                "no correction, no recalibration. Markers are set apart sideways so that bars do not "
                "hide each other.",
                y="Top-1 accuracy (%)", methods=methods, labels=frames.ordered(kept["scorer"]), same=same,
                references=() if baseline.empty else ("dense",),
            )
        )  # fmt: skip
    return plots


def overlap(data: Evidence) -> list[Plot]:
    """Overlap of the scorers without a search with the magnitude mask, one figure per granularity and allocation."""
    plots, methods = [], data.known_methods
    for granularity, allocation, cells in by_space(data.plain[data.plain["magnitude_overlap"].notna()]):
        frame = frames.summarise(frames.per_model(cells, "magnitude_overlap"), "magnitude_overlap")
        kept, same = _merge_equal(frame)
        places = facets_of(frame)

        def draw(number: int, axes: Axes, kept: pd.DataFrame = kept, places: list[Facet] = places) -> None:
            lines(within(kept, places[number]), axes, methods)
            axes.set_ylim(-3, 105)

        plots.append(
            plot(
                f"overlap-{granularity}-{allocation}", places, draw,
                "Jaccard overlap: kept units in common with the magnitude mask of the same budget, as a "
                "share of the units kept by either; mean over models with 95 % t interval. "
                f"Granularity {granularity}, allocation {allocation}.",
                y="Mask overlap (%)", methods=methods, labels=frames.ordered(kept["scorer"]), same=same,
            )
        )  # fmt: skip
    return plots


def escape(compared: pd.DataFrame) -> list[Plot]:
    """Difference from magnitude as a table of colours, one figure per granularity and allocation."""
    plots = []
    largest = compared["difference"].abs().quantile(0.9) if len(compared) else 0.0
    limit = max(0.02, float(largest))
    for granularity, allocation, cells in by_space(compared):
        places = facets_of(cells)
        scorers = frames.ordered(cells["scorer"])
        sparsities = sorted(float(s) for s in cells["sparsity"].dropna().unique())

        def draw(
            number: int, axes: Axes, cells: pd.DataFrame = cells, places: list[Facet] = places,
            scorers: list[str] = scorers, sparsities: list[float] = sparsities,
        ) -> None:  # fmt: skip
            heat(within(cells, places[number]), axes, limit, scorers, sparsities)

        with styled():
            figure = facets(
                [place.title for place in places], draw, x=SPARSITY, y="",
                width=1.3 + 0.55 * len(sparsities), height=1.0 + 0.24 * len(scorers),
            )  # fmt: skip
        caption = (
            "Accuracy minus magnitude's in the same block, mean over models, in percentage points. * "
            "Holm-adjusted p under 0.05 (paired t, all settings of this section one family); = the same "
            "masks as magnitude, equal by construction; blank: no data. "
            f"Granularity {granularity}, allocation {allocation}."
        )
        plots.append(finish(f"escape-{granularity}-{allocation}", figure, caption, places))
    return plots


def repairs(data: Evidence) -> list[Plot]:
    """Corrections against sparsity, one facet per model and recalibration."""
    plots, methods, main = [], data.known_methods, data.main
    counts = main.groupby(["method", "granularity", "allocation"], sort=False)["correction"].nunique()
    for method, granularity, allocation in counts[counts.gt(1)].index:
        chosen = main[
            main["method"].eq(method) & main["granularity"].eq(granularity) & main["allocation"].eq(allocation)
        ]
        frame = frames.summarise(frames.per_model(chosen))
        frame = frame[frame["sparsity"].notna()]
        order = frames.ordered(main["recalibration"])
        have = [(place, recalibration) for place in facets_of(frame) for recalibration in order]
        there = [within(frame, place)["recalibration"].eq(name).any() for place, name in have]
        if not have:
            continue

        def draw(number: int, axes: Axes, frame: pd.DataFrame = frame, have: list[tuple[Facet, str]] = have) -> None:
            place, recalibration = have[number]
            cells = within(frame, place)
            lines(cells[cells["recalibration"].eq(recalibration)], axes, methods, by="correction")

        plots.append(
            plot(
                f"repairs-{method}-{granularity}-{allocation}", [place for place, _ in have], draw,
                f"Corrections compared under each recalibration; scorer {method}, granularity {granularity}, "
                f"allocation {allocation}; bars: 95 % t intervals over models. Corrections that coincide "
                "hide each other.",
                y="Top-1 accuracy (%)", methods=methods, labels=frames.ordered(frame["correction"]),
                columns=len(order), titles=[
                    f"{place.title}, recalibration: {name}" if drawn else ""
                    for (place, name), drawn in zip(have, there, strict=True)
                ],
            )
        )  # fmt: skip
    return plots


def emp(kept: pd.DataFrame, methods: Methods) -> list[Plot]:
    """Change of accuracy against the sparsity that EMP reached, one figure per granularity and allocation.

    Feature scorers are in the table alone.
    """
    plots = []
    for (granularity, allocation), cells in frames.unsearched(kept).groupby(["granularity", "allocation"], sort=False):
        keys = [*frames.SETTING, *frames.METHOD]
        frame = frames.summarise(frames.per_model(cells, "change"), "change")
        reached = cells.groupby(keys, sort=False, dropna=False)["sparsity_achieved"].mean().reset_index()
        frame = frame.merge(reached, on=keys)
        places = facets_of(frame)

        def draw(number: int, axes: Axes, frame: pd.DataFrame = frame, places: list[Facet] = places) -> None:
            change_against_sparsity(within(frame, places[number]), axes, methods)

        with styled():
            figure = facets(
                [place.title for place in places], draw, x="Sparsity achieved (% of prunable units removed)",
                y="Accuracy minus dense (points)",
            )  # fmt: skip
            legend(figure, frames.ordered(frame["method"]), {}, methods, ("dense",), joined=False)
        caption = (
            "Accuracy of the pruned minus the dense model, without repair, against the sparsity that effective model "
            "pruning chose by itself; one point per scorer, means over models, bars: 95 % t intervals. "
            f"Granularity {granularity}, allocation {allocation}."
        )
        plots.append(finish(f"emp-{granularity}-{allocation}", figure, caption, places))
    return plots


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
