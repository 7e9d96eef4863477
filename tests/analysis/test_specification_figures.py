"""Specification curves: every reading drawn with its interval, the primary one marked, the choices below."""

import pytest
from matplotlib.colors import to_hex

from analysis.claims.records import Reading
from analysis.specification_figures import MARKS, choices, kind_of, levels_of, specification_curve


def reading(effect, verdict="supported", *, primary=False, by_construction="", **levels):
    return Reading(
        levels=levels, primary=primary, verdict=verdict, by_construction=by_construction, effect=effect,
        low=effect - 1, high=effect + 1, n=10, settings=3,
    )  # fmt: skip


READINGS = [
    reading(-2.0, "contradicted", mode="none", order="a"),
    reading(0.0, by_construction="the corrections cancel", mode="exact", order="a"),
    reading(1.0, "inconclusive", mode="ema", order="b"),
    reading(3.0, primary=True, mode="ema", order="a"),
]


def points(axes):
    """Place, effect and marker of every reading."""
    drawn = [line for line in axes.lines if line.get_marker() in {mark.shape for mark in MARKS.values()}]
    return [(line.get_xdata()[0], line.get_ydata()[0], line.get_marker()) for line in drawn]


def test_every_reading_is_drawn_in_order_with_the_marker_of_its_verdict():
    upper, _ = specification_curve(READINGS, "superiority", None).axes
    assert points(upper) == [(0, -2.0, "v"), (1, 0.0, "s"), (2, 1.0, "o"), (3, 3.0, "^")]
    assert upper.get_ylabel() == "Mean difference (points)"


def test_readings_by_construction_are_hollow_and_grey():
    upper, _ = specification_curve(READINGS, "superiority", None).axes
    (line,) = [line for line in upper.lines if line.get_marker() == "s"]
    assert (to_hex(line.get_markerfacecolor()), to_hex(line.get_color())) == ("#ffffff", "#9a9a9a")


def test_markers_differ_without_colour():
    assert len({mark.shape for mark in MARKS.values()}) == len(MARKS)


def test_the_matrix_has_a_row_per_level_and_a_mark_per_reading():
    _, lower = specification_curve(READINGS, "superiority", None).axes
    assert [label.get_text() for label in lower.get_yticklabels()] == [
        "mode: ema", "mode: none", "mode: exact", "order: a", "order: b",
    ]  # fmt: skip
    chosen = {(line.get_xdata()[0], line.get_ydata()[0]) for line in lower.lines if line.get_markersize() == 6}
    assert chosen == {(0, 1), (0, 3), (1, 2), (1, 3), (2, 0), (2, 4), (3, 0), (3, 3)}
    assert lower.get_xlabel() == "Readings, sorted by mean difference"


def test_the_primary_reading_alone_is_shaded():
    for axes in specification_curve(READINGS, "superiority", None).axes:
        (band,) = axes.patches
        assert band.get_x() < 3 < band.get_x() + band.get_width() < 3.5


@pytest.mark.parametrize(
    ("kind", "limits"), [("superiority", {0.5}), ("noninferiority", {-0.5}), ("equivalence", {-0.5, 0.5})]
)
def test_margin_lines_follow_the_kind(kind, limits):
    upper, _ = specification_curve(READINGS, kind, 0.5).axes
    assert {line.get_ydata()[0] for line in upper.lines if line.get_linestyle() == "--"} == limits
    plain, _ = specification_curve(READINGS, kind, 0.0).axes
    assert not [line for line in plain.lines if line.get_linestyle() == "--"]


def test_a_reading_with_a_margin_of_its_own_has_its_own_line():
    upper, lower = specification_curve(
        [reading(1.0, margin=1.0, primary=True), reading(1.0, margin=2.0)], "superiority", 1.0
    ).axes
    lines = [line for line in upper.lines if line.get_linestyle() == "--"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in lines] == [(-0.5, 1.0), (0.5, 2.0)]
    assert [label.get_text() for label in lower.get_yticklabels()] == ["margin: 1 point", "margin: 2 points"]


def test_choices_are_those_with_several_levels():
    assert choices(READINGS[:2]) == {"mode": ["none", "exact"]}
    assert levels_of(READINGS[:1]) == {"mode": ["none"], "order": ["a"]}
    assert [kind_of(one) for one in READINGS] == ["contradicted", "by construction", "inconclusive", "supported"]
