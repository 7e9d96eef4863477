"""The figures of scorers across settings: critical-difference pictures and performance profiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import facets
from analysis.overview import Common, Ranking, profiles
from analysis.overview_tables import scope_title
from analysis.ranks_figures import critical_difference, performance_profile
from analysis.report.drawing import Facet, Plot, finish
from analysis.style import styled


def critical_differences(rankings: Sequence[Ranking]) -> list[Plot]:
    """Draw mean ranks, one figure per granularity and allocation, one facet per data set and model."""
    spaces: dict[tuple[str, str], list[Ranking]] = {}
    for one in rankings:
        spaces.setdefault((one.common.granularity, one.common.allocation), []).append(one)
    plots = []
    for (granularity, allocation), own in spaces.items():

        def draw(number: int, axes: Axes, own: Sequence[Ranking] = own) -> None:
            critical_difference(own[number].mean_ranks, own[number].groups, axes)

        rows = max((len(one.common.scorers) + 1) // 2 + len(one.groups) for one in own)
        titles = [f"{scope_title(one.common)} ({len(one.common.checkpoints)} models)" for one in own]
        with styled():
            figure = facets(
                titles, draw, x="mean rank (1 = best)", y="", columns=1, width=8.0, height=0.8 + 0.2 * rows,
                share_y=False,
            )  # fmt: skip
        caption = (
            "A picture beside the tests, not one of them: mean rank of every scorer over trained models (1 = best), by "
            "mean accuracy over the sparsities. A thick bar joins scorers that Wilcoxon's tests with Holm's correction "
            "do not tell apart; where there is no bar at all, the models are too few for any pair to be told apart. "
            f"Granularity {granularity}, allocation {allocation}, no repair."
        )
        places = [Facet(*place) for place in own[-1].common.places]
        plots.append(finish(f"ranks-{granularity}-{allocation}", figure, caption, places))
    return plots


def performance_profiles(commons: Sequence[Common]) -> list[Plot]:
    """Draw the profile of every scorer beside magnitude's, one figure per granularity and allocation."""
    plots = []
    for common in commons:
        found = profiles(common)
        reference = found[found["scorer"].eq(common.plateau)].assign(low=np.nan, high=np.nan)
        names = [name for name in common.names if name != common.plateau]

        def draw(
            number: int, axes: Axes, found: pd.DataFrame = found, reference: pd.DataFrame = reference,
            names: list[str] = names,
        ) -> None:  # fmt: skip
            performance_profile(pd.concat([found[found["scorer"].eq(names[number])], reference]), axes)
            axes.set_xticks(range(0, 101, 25))

        with styled():
            figure = facets(
                names, draw, x="Accuracy kept (% of dense)", y="Runs above (%)", columns=5, width=2.35, height=1.9
            )
        caption = (
            "Performance profiles: the share of runs (a trained model at a sparsity) that keep more of the dense "
            "model's accuracy than stands across, with pointwise 95 % bands over models. Black: magnitude. "
            f"{scope_title(common)[0].upper()}{scope_title(common)[1:]}, granularity {common.granularity}, allocation "
            f"{common.allocation}, no repair."
        )
        places = [Facet(*place) for place in common.places]
        plots.append(finish(f"profiles-{common.granularity}-{common.allocation}", figure, caption, places))
    return plots
