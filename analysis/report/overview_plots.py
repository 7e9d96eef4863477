"""The figures of scorers across settings: critical-difference pictures and performance profiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.evidence.methods import Methods
from analysis.figure_style import styled
from analysis.figures import facets
from analysis.overview import Common, Ranking, profiles
from analysis.overview_tables import scope_title
from analysis.ranks_figures import critical_difference, performance_profile
from analysis.report.drawing import Facet, Plot, finish


def critical_differences(rankings: Sequence[Ranking], methods: Methods) -> list[Plot]:
    """Draw mean ranks, one facet per ranking."""
    if not rankings:
        return []

    def draw(number: int, axes: Axes) -> None:
        critical_difference(rankings[number].mean_ranks, rankings[number].groups, axes, methods)

    rows = max((len(one.common.scorers) + 1) // 2 + len(one.groups) for one in rankings)
    titles = [
        f"{one.common.granularity}, {one.common.allocation}: {scope_title(one.common)} ({len(one.common.checkpoints)})"
        for one in rankings
    ]
    with styled():
        figure = facets(
            titles, draw, x="mean rank (1 = best)", y="", columns=1, width=8.0, height=0.8 + 0.2 * rows, share_y=False,
        )  # fmt: skip
    caption = (
        "A picture of the ranks, not a test: mean rank of every scorer over trained models (their number in "
        "brackets), by mean accuracy over the sparsities, without repair. A thick bar joins scorers that Wilcoxon's "
        "tests with Holm's correction do not distinguish; where there is no bar, every pair is distinguished, or the "
        "models are too few for any to be. Rankings in which they are too few, while another has enough, are in "
        "the table alone."
    )
    places = list(dict.fromkeys(Facet(*place) for one in rankings for place in one.common.places))
    return [finish("ranks", figure, caption, places)]


def performance_profiles(commons: Sequence[Common], methods: Methods) -> list[Plot]:
    """Draw the profile of every scorer next to magnitude's, one figure per granularity and allocation."""
    plots = []
    for common in commons:
        found = profiles(common)
        reference = found[found["scorer"].eq(common.plateau or "")].assign(low=np.nan, high=np.nan)
        names = [name for name in common.names if name != common.plateau]

        def draw(
            number: int, axes: Axes, found: pd.DataFrame = found, reference: pd.DataFrame = reference,
            names: list[str] = names,
        ) -> None:  # fmt: skip
            own = found[found["scorer"].eq(names[number])]
            performance_profile(pd.concat([own, reference]), axes, methods)
            axes.set_xticks(range(0, 101, 25))

        with styled():
            figure = facets(
                names, draw, x="Accuracy kept (% of dense)", y="Runs above (%)", columns=5, width=2.35, height=1.9
            )
        bands = (
            "with pointwise 95 % bands over models" if found["low"].notna().any()
            else "without bands, as there is one model per architecture"
        )  # fmt: skip
        caption = (
            "Performance profiles: the share of runs (a trained model at a sparsity) that keep more of the dense "
            f"model's accuracy than stands across, {bands}. Black: magnitude. "
            f"{scope_title(common)[0].upper()}{scope_title(common)[1:]}, granularity {common.granularity}, allocation "
            f"{common.allocation}, no repair."
        )
        places = [Facet(*place) for place in common.places]
        plots.append(finish(f"profiles-{common.granularity}-{common.allocation}", figure, caption, places))
    return plots
