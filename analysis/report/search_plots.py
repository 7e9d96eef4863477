"""The figures of feature scorers: equal weights, searches, histories and curves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from analysis.evidence import frames
from analysis.evidence.evidence import Evidence
from analysis.evidence.fusion import histories, is_equal, search_name
from analysis.evidence.methods import Methods
from analysis.figure_style import styled
from analysis.figures import bands, facets, group_columns, heat, history, legend, lines, plateau
from analysis.formats import percent
from analysis.report.drawing import SPARSITY, Facet, Plot, by_space, facets_of, finish, plot, within
from bench.core.method import OTHER_FEATURES

#: Families that the caption of equal weights explains.
_EXPLAINED = ("smooth indicators", "raw indicators", "controls")


def _families(scorers: Sequence[str], methods: Methods) -> dict[str, str]:
    """Return the family of every feature scorer, the families in catalogue order."""
    found = {scorer: methods.family(scorer, OTHER_FEATURES) or OTHER_FEATURES for scorer in scorers}
    known = [record.family for record in methods.of_kind("scorer")]
    order = list(dict.fromkeys([*(family for family in known if family), *found.values()]))
    return dict(sorted(found.items(), key=lambda item: order.index(item[1])))


def equal_weights(data: Evidence) -> list[Plot]:
    """Accuracy of the feature scorers with equal weights, one facet per model and family, without repair."""
    plots, methods = [], data.known_methods
    main = frames.done(frames.unrepaired(data.main))
    for granularity, allocation, cells in by_space(main):
        frame = frames.summarise(frames.per_model(cells))
        reference = frame[frame["scorer"].eq(frames.MAGNITUDE)]
        own = frame[frame["search"].eq(frames.EQUAL)]
        family_of = _families(frames.ordered(own["scorer"]), methods)
        families = list(dict.fromkeys(family_of.values()))
        have = [(place, family) for place in facets_of(own) for family in families]
        if not have:
            continue

        def draw(
            number: int, axes: Axes, own: pd.DataFrame = own, reference: pd.DataFrame = reference,
            have: list[tuple[Facet, str]] = have, family_of: dict[str, str] = family_of,
        ) -> None:  # fmt: skip
            place, family = have[number]
            shown = within(own, place)
            lines(shown[shown["scorer"].map(family_of) == family], axes, methods)
            plateau(within(reference, place), axes)

        more = "" if set(families) <= set(_EXPLAINED) else "Other families are those of plug-ins. "
        plots.append(
            plot(
                f"features-{granularity}-{allocation}", [place for place, _ in have], draw,
                "Feature scorers with equal weights: accuracy on the test images; bars: 95 % t intervals over models. "
                "What lies above the dashed line escapes the plateau. Smooth indicators are summaries of the logistic "
                "map's orbits, smoothed over u; raw ones are not; controls have nothing to do with the map. "
                f"{more}"
                f"Granularity {granularity}, allocation {allocation}, no correction, no recalibration.",
                y="Top-1 accuracy (%)", methods=methods, labels=frames.ordered(own["scorer"]), columns=len(families),
                references=("plateau",), titles=[f"{place.title}: {family}" for place, family in have],
            )
        )  # fmt: skip
    return plots


def search_escapes(compared: pd.DataFrame) -> list[Plot]:
    """Difference from magnitude of every search: scorers down, searches and sparsities across."""
    plots = []
    limit = max(0.02, float(compared["difference"].abs().quantile(0.9))) if len(compared) else 0.02
    for granularity, allocation, cells in by_space(compared):
        named = cells.assign(name=[search_name(row) for row in cells.to_dict("records")])
        named["column"] = list(zip(named["name"], named["sparsity"], strict=True))
        order = frames.ordered(named["name"])
        columns = sorted(set(named["column"]), key=lambda c: (order.index(c[0]), c[1]))
        places = facets_of(cells)
        scorers = frames.ordered(cells["scorer"])

        def draw(
            number: int, axes: Axes, named: pd.DataFrame = named, places: list[Facet] = places,
            scorers: list[str] = scorers, columns: Sequence[tuple[str, float]] = columns,
        ) -> None:  # fmt: skip
            labels = [percent(sparsity, 0) for _, sparsity in columns]
            heat(within(named, places[number]), axes, limit, scorers, columns, by="column", labels=labels)
            group_columns(axes, [name for name, _ in columns])

        fewest = min(Counter(name for name, _ in columns).values())
        with styled():
            figure = facets(
                [place.title for place in places], draw, x=SPARSITY, y="", columns=1,
                # the name of a search stands over its columns and needs 1.2 inches
                width=1.6 + max(0.5, 1.2 / fewest) * len(columns), height=1.5 + 0.24 * len(scorers),
            )  # fmt: skip
        caption = (
            "Accuracy minus magnitude's in the same block, mean over models, in percentage points, by search and "
            "sparsity. * Holm-adjusted p under 0.05 (paired t, all settings of this section one family); = the same "
            f"masks as magnitude; blank: no data. Granularity {granularity}, allocation {allocation}."
        )
        plots.append(finish(f"searches-{granularity}-{allocation}", figure, caption, places))
    return plots


def search_histories(found: pd.DataFrame, methods: Methods) -> list[Plot]:
    """Best search accuracy against evaluations: one line per search, one facet per feature scorer.

    Of the sparsities the one at which most searches were made, else the lowest: the courses are much alike.
    """
    sought = found[~is_equal(found["search"]) & found["sparsity"].notna()]
    if sought.empty:
        return []
    made = sought.groupby("sparsity")["search"].nunique().reset_index()
    chosen = float(made["sparsity"].iloc[int(made["search"].to_numpy().argmax())])
    steps = histories(found[found["sparsity"].eq(chosen)])
    steps = steps.assign(name=[search_name(row) for row in steps.to_dict("records")])
    plots = []
    for granularity, allocation, cells in by_space(steps):
        for (dataset, model, _), own in cells.groupby(["dataset", "model", "sparsity"], sort=False):
            scorers = frames.ordered(own["scorer"])

            def draw(number: int, axes: Axes, own: pd.DataFrame = own, scorers: list[str] = scorers) -> None:
                history(own[own["scorer"].eq(scorers[number])], axes, methods)

            place, removed = Facet(str(dataset), str(model)), 100 * float(own["sparsity"].iloc[0])
            with styled():
                figure = facets(
                    scorers, draw, x="Evaluations", y="Search accuracy (%)", columns=5, width=2.35, height=1.9,
                    share_y=False,
                )  # fmt: skip
                legend(figure, frames.ordered(own["name"]), {}, methods, ("equal",))
            caption = (
                f"Course of the searches: {place.title}, {removed:g} % sparsity. Best accuracy on the "
                "search images after so many evaluations, mean over models; one facet per feature scorer, each with a "
                f"scale of its own. Dotted across: equal weights. Other sparsities are in the table. "
                f"Granularity {granularity}, allocation {allocation}."
            )
            name = f"histories-{granularity}-{allocation}-{dataset}-{model}-{removed:g}"
            plots.append(finish(name, figure, caption, [place]))
    return plots


def curves(features: pd.DataFrame, wanted: Sequence[str], methods: Methods) -> list[Plot]:
    """Draw the features of the `wanted` scorers against u, one facet per scorer."""
    known = features[features["scorer"].isin(wanted)]
    if known.empty:
        return []
    draws = known["draw"].nunique()
    shown = known[known["draw"].eq(known["draw"].min())]
    scorers = list(_families(frames.ordered(shown["scorer"]), methods))
    most = int(shown.groupby("scorer")["feature"].nunique().max())
    parts = {str(scorer): own for scorer, own in shown.groupby("scorer", sort=False)}

    def draw(number: int, axes: Axes) -> None:
        bands(parts[scorers[number]], axes)

    with styled():
        figure = facets(
            scorers, draw, x="u (rank by magnitude within the layer)", y="", columns=3, height=0.9 + 0.3 * most,
            share_y=False,
        )  # fmt: skip
    caption = (
        "The features of every feature scorer that are functions of u, a unit's rank by magnitude within its layer: "
        "0.1 is the smallest unit, 1 the largest. a5 and a5_log6 are raw; v1, its parts and a5_log6_smooth are the "
        "same features smoothed. Each band is one feature, from 0 at its foot to 1 at its top; its weight says "
        "whether, and how much, high values speak for keeping a unit. The diagonal named u is magnitude's own order."
    )
    if shown["sparsity"].notna().any():
        caption += " A feature that depends on the target sparsity has one line for each, in turn black and grey."
    if draws > 1:
        caption += f" Random features are shown for the first of {draws} calibration draws."
    return [finish("curves", figure, caption, ())]
