"""Figures: what is drawn is what is in the frame, one look per name."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from analysis.comparisons import escapes
from analysis.figures import facets, heat, legend, lines
from analysis.report.plots import accuracy, escape
from analysis.style import look, styled

SCORERS = (
    "random", "magnitude", "log_magnitude", "sqrt_magnitude", "square_magnitude", "exp_magnitude", "rank",
    "l2", "gradient", "taylor", "wanda",
)  # fmt: skip


@pytest.fixture
def axes():
    return Figure().subplots()


def frame(scorers, bounds=0.01):
    table = [{"scorer": s, "sparsity": x, "mean": 0.9 - x / 10} for s in scorers for x in (0.5, 0.6, 0.9, 0.92)]
    made = pd.DataFrame(table)
    return made.assign(low=made["mean"] - bounds, high=made["mean"] + bounds)


def test_lines_show_the_means_in_percent(axes):
    lines(frame(["magnitude"]), axes, dense=0.97)
    drawn = axes.containers[0].lines[0]
    assert drawn.get_ydata() == pytest.approx([85, 84, 81, 80.8])
    assert axes.lines[0].get_ydata() == pytest.approx([97, 97])


def test_bars_are_the_interval_and_vanish_where_there_is_none(axes):
    lines(frame(["magnitude"], bounds=0.02), axes)
    lines(frame(["taylor"], bounds=np.nan), axes)
    heights = [np.ptp(c.lines[2][0].get_segments()[0][:, 1]) for c in axes.containers]
    assert heights == pytest.approx([4, 0])


def test_ticks_too_close_to_read_are_hidden(axes):
    lines(frame(["magnitude"]), axes)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["50", "60", "90"]


def test_heat_writes_every_number_and_marks_the_clear_ones(axes):
    table = pd.DataFrame(
        {
            "scorer": ["taylor", "taylor", "rank"], "sparsity": [0.5, 0.8, 0.5],
            "difference": [0.012, -0.2, 0.0],
            "p_holm": [0.2, 0.001, np.nan], "category": ["regular", "regular", "same mask"],
        }
    )  # fmt: skip
    heat(table, axes, 0.1, ["taylor", "rank"], [0.5, 0.8])
    assert [text.get_text() for text in axes.texts] == ["+1.2", "\N{MINUS SIGN}20.0*", "="]
    assert [text.get_color() for text in axes.texts] == ["black", "white", "black"]


def test_our_scorers_look_different_even_in_grey():
    looks = [look(name) for name in SCORERS]
    assert len({(found.marker, str(found.dashes)) for found in looks}) == len(SCORERS)
    assert len({found.marker for found in looks}) == len(SCORERS)
    for found in looks:
        luminance = float(np.dot(to_rgb(found.colour), (0.2126, 0.7152, 0.0722)))
        assert luminance < 0.75  # readable on white


def test_the_legend_shows_each_scorer_as_it_is_drawn():
    figure = facets(["a"], lambda _, axes: lines(frame(SCORERS), axes), x="x", y="y")
    legend(figure, SCORERS[::-1], {})
    drawn = [container.lines[0] for container in figure.axes[0].containers][::-1]
    for line, handle in zip(drawn, figure.legends[0].legend_handles, strict=True):
        for what in ("color", "marker", "markerfacecolor", "linestyle"):
            assert getattr(line, f"get_{what}")() == getattr(handle, f"get_{what}")()


def test_an_unknown_scorer_always_looks_the_same():
    assert look("./mine.py:score") == look("./mine.py:score")
    assert len({look(f"scorer {n}") for n in range(30)}) > 20


def test_an_empty_title_leaves_its_place_free():
    drawn = []
    figure = facets(["a", "", "b"], lambda number, _: drawn.append(number), x="x", y="y", columns=2)
    assert drawn == [0, 2]
    assert [axes.get_visible() for axes in figure.axes] == [True, False, True, False]


def test_no_text_lies_outside_the_figure_or_on_another(study):
    with styled():
        figure = facets(["a model on a data set"] * 2, lambda _, axes: lines(frame(SCORERS), axes), x="x", y="y")
        legend(figure, SCORERS, {"magnitude": "magnitude (+ 5)"}, ("dense",))
        figure.draw_without_rendering()
        page = figure.bbox
        boxes = [text.get_window_extent() for text in figure.legends[0].get_texts()]
        for box in boxes:
            assert page.x0 <= box.x0 < box.x1 <= page.x1
            assert page.y0 <= box.y0 < box.y1 <= page.y1
        overlapping = sum(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert overlapping == 0


def test_svg_is_the_same_every_time_and_carries_no_date(study):
    rows = study(seeds=2, granularities=("weight",), allocations=("uniform",)).rows
    (first,), (second,) = accuracy(rows), accuracy(rows)
    assert first.svg == second.svg
    assert "<dc:date>" not in first.svg
    assert "drawn as one line: log_magnitude" in first.caption


def test_no_data_makes_no_figure(study):
    rows = study(seeds=1).rows
    assert accuracy(rows.iloc[:0]) == []
    assert escape(escapes(rows.iloc[:0])) == []
