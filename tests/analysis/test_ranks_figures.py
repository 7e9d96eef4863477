"""Pictures of ranks hold what the frames say."""

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis.evidence.methods import Methods
from analysis.figure_style import styled
from analysis.ranks_figures import critical_difference, performance_profile
from analysis.stats import profiles
from bench.store.methods import earlier_methods

METHODS = Methods(earlier_methods())

RANKS = pd.Series({"wanda": 2.0, "magnitude": 1.0, "random": 4.0, "taylor": 3.0})


def bars(axes):
    return [tuple(line.get_xdata()) for line in axes.lines if line.get_linewidth() == 2.2]


def test_every_method_stands_at_its_rank_and_every_group_has_a_bar():
    axes = Figure().subplots()
    critical_difference(RANKS, [("magnitude", "wanda"), ("wanda", "taylor", "random")], axes, METHODS)
    labels = [text.get_text().strip() for text in axes.texts]
    assert labels == ["magnitude (1.00)", "wanda (2.00)", "(3.00) taylor", "(4.00) random"]
    assert bars(axes) == [(1.0, 2.0), (2.0, 4.0)]
    levels = {line.get_ydata()[0] for line in axes.lines if line.get_linewidth() == 2.2}
    assert levels == {-1, -2}  # they touch at rank 2, so they stand on two levels
    points = {line.get_color(): line.get_xdata()[0] for line in axes.lines if line.get_marker() != "None"}
    assert points[METHODS.look("wanda").colour] == 2.0
    places = [text.get_position() for text in axes.texts]
    assert len(set(places)) == len(places)  # no label over another


def test_bars_that_do_not_touch_share_a_level():
    axes = Figure().subplots()
    critical_difference(RANKS, [("magnitude", "wanda"), ("taylor", "random")], axes, METHODS)
    assert {line.get_ydata()[0] for line in axes.lines if line.get_linewidth() == 2.2} == {-1}


@pytest.mark.parametrize("groups", [[], [("a", "b", "c")]])
def test_equal_ranks_can_be_drawn(groups):
    axes = Figure().subplots()
    critical_difference(pd.Series({"a": 2.0, "b": 2.0, "c": 2.0}), groups, axes, METHODS)
    assert len(axes.texts) == 3
    assert len(bars(axes)) == len(groups)


def test_a_profile_has_a_line_and_a_band_per_method():
    rng = np.random.default_rng(1)
    thresholds = np.linspace(0, 1, 21)
    frame = pd.concat(
        profiles.performance_profile(rng.random((6, 3)), thresholds, resamples=50).assign(scorer=name)
        for name in ("magnitude", "wanda")
    )
    with styled():
        figure = Figure()
        axes = figure.subplots()
        performance_profile(frame, axes, METHODS)
        figure.savefig(io.BytesIO(), format="svg")
    assert [line.get_label() for line in axes.lines] == ["magnitude", "wanda"]
    assert len(axes.collections) == 2
    assert axes.lines[0].get_ydata() == pytest.approx(100 * frame.loc[frame["scorer"].eq("magnitude"), "share"])
    assert axes.lines[0].get_xdata() == pytest.approx(100 * thresholds)
