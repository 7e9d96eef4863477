"""Figures become files that are the same every time."""

import io

import pytest
from matplotlib.figure import Figure

from analysis.figure_style import styled
from analysis.figures import facets
from analysis.report.drawing import finish


def a_figure():
    with styled():
        return facets(["one", "two", "three"], lambda number, axes: axes.plot([0, number]), x="x", y="y")


def test_a_figure_drawn_once_is_the_one_that_matplotlib_draws_twice():
    expected, figure = io.StringIO(), a_figure()
    with styled():
        figure.savefig(expected, format="svg", metadata={"Date": None, "Creator": None})
    assert finish("f", a_figure(), "", ()).svg == expected.getvalue()


@pytest.mark.parametrize("layout", [None, "constrained"])
def test_a_figure_is_drawn_with_or_without_a_layout(layout):
    with styled():
        figure = Figure(layout=layout)
        figure.subplots().plot([0, 1])
    plot = finish("name", figure, "A caption.", ())
    assert plot.svg.startswith("<?xml")
    assert (plot.name, plot.caption, plot.alt) == ("name", "A caption.", "Figure name")
