"""Figures: what is drawn is what is in the frame, one look per name."""

import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis.comparisons import escapes, searched_escapes
from analysis.evidence.emp import emp_rows
from analysis.evidence.fusion import histories, searches
from analysis.evidence.methods import Methods
from analysis.figure_style import styled
from analysis.figures import bands, facets, group_columns, heat, history, legend, lines, plateau
from analysis.report import search_plots
from analysis.report.plots import accuracy, emp, escape, overlap, repairs
from bench.store.methods import earlier_methods
from tests.rows_alone import evidence_of

METHODS = Methods(earlier_methods())

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
    lines(frame(["magnitude"]), axes, METHODS, dense=0.97)
    drawn = axes.containers[0].lines[0]
    assert drawn.get_ydata() == pytest.approx([85, 84, 81, 80.8])
    assert axes.lines[0].get_ydata() == pytest.approx([97, 97])


def test_bars_are_the_interval_and_vanish_where_there_is_none(axes):
    lines(frame(["magnitude"], bounds=0.02), axes, METHODS)
    lines(frame(["taylor"], bounds=np.nan), axes, METHODS)
    heights = [np.ptp(c.lines[2][0].get_segments()[0][:, 1]) for c in axes.containers]
    assert heights == pytest.approx([4, 0])


def test_ticks_too_close_to_read_are_hidden(axes):
    lines(frame(["magnitude"]), axes, METHODS)
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


def test_the_legend_shows_each_scorer_as_it_is_drawn():
    figure = facets(["a"], lambda _, axes: lines(frame(SCORERS), axes, METHODS), x="x", y="y")
    legend(figure, SCORERS[::-1], {}, METHODS)
    drawn = [container.lines[0] for container in figure.axes[0].containers][::-1]
    for line, handle in zip(drawn, figure.legends[0].legend_handles, strict=True):
        for what in ("color", "marker", "markerfacecolor", "linestyle"):
            assert getattr(line, f"get_{what}")() == getattr(handle, f"get_{what}")()


def test_an_empty_title_leaves_its_place_free():
    drawn = []
    figure = facets(["a", "", "b"], lambda number, _: drawn.append(number), x="x", y="y", columns=2)
    assert drawn == [0, 2]
    assert [axes.get_visible() for axes in figure.axes] == [True, False, True, False]


def test_no_text_lies_outside_the_figure_or_on_another(study):
    with styled():
        figure = facets(
            ["a model on a data set"] * 2, lambda _, axes: lines(frame(SCORERS), axes, METHODS), x="x", y="y"
        )
        legend(figure, SCORERS, {"magnitude": "magnitude (+ 5)"}, METHODS, ("dense",))
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
    (first,), (second,) = accuracy(evidence_of(rows)), accuracy(evidence_of(rows))
    assert first.svg == second.svg
    assert "<dc:date>" not in first.svg
    assert "drawn as one line: log_magnitude" in first.caption


def test_no_data_makes_no_figure(study):
    rows = study(seeds=1).rows
    assert accuracy(evidence_of(rows.iloc[:0])) == []
    assert escape(escapes(evidence_of(rows.iloc[:0]))) == []


def test_the_plateau_is_a_dashed_line_without_markers(axes):
    plateau(frame(["magnitude"]), axes)
    (line,) = axes.lines
    assert line.get_ydata() == pytest.approx([85, 84, 81, 80.8])
    assert line.get_marker() == "None"
    assert line.is_dashed()


def test_a_heat_table_may_have_groups_of_columns(axes):
    table = pd.DataFrame({"scorer": "v1", "difference": [0.01, 0.02, 0.03], "p_holm": 1.0, "category": "regular"})
    columns = [("equal", 0.5), ("dbo (60 evaluations)", 0.5), ("dbo (60 evaluations)", 0.8)]
    heat(table.assign(column=columns), axes, 0.1, ["v1"], columns, by="column", labels=["50", "50", "80"])
    group_columns(axes, [name for name, _ in columns])
    assert [text.get_text() for text in axes.texts] == ["+1.0", "+2.0", "+3.0"]
    (above,) = axes.child_axes
    assert [label.get_text() for label in above.get_xticklabels()] == ["equal", "dbo\n(60 evaluations)"]
    assert above.get_xticks().tolist() == [0, 1.5]
    assert [line.get_xdata()[0] for line in axes.lines] == [0.5]


def test_a_history_shows_the_best_in_percent_and_equal_weights_across(axes, fused):
    steps = histories(searches(fused(models=("cnn",), sparsities=(0.5,)).rows))
    own = steps[steps["scorer"].eq("v1")]
    history(own.assign(name="dbo"), axes, METHODS)
    line, across = axes.lines
    assert line.get_xdata().tolist() == [30, 600]
    assert line.get_ydata() == pytest.approx(100 * own["best"])
    assert line.get_drawstyle() == "steps-post"
    assert across.get_ydata() == pytest.approx([100 * own["equal"].iloc[0]] * 2)


def test_every_feature_has_a_band_with_its_name(axes):
    u = np.linspace(0.1, 1, 5)
    table = pd.concat(
        pd.DataFrame({"feature": f, "sparsity": s, "u": u, "value": u})
        for f, s in (("rank", np.nan), ("bump", 0.5), ("bump", 0.8))
    )
    bands(table, axes)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["bump", "rank"]
    heights = sorted(line.get_ydata().min() for line in axes.lines)
    assert [int(height) for height in heights] == [0, 0, 1]


def test_feature_scorers_have_figures_of_their_own(fused):
    data = fused()
    main = [*accuracy(evidence_of(data.rows)), *overlap(evidence_of(data.rows))]
    assert not any(f">{name}<" in figure.svg for figure in main for name in ("v1", "a5"))
    (own,) = search_plots.equal_weights(evidence_of(data.rows))
    assert all(f">{name}<" in own.svg for name in ("v1", "a5", "magnitude (the plateau)"))
    assert ">taylor<" not in own.svg
    (curves,) = search_plots.curves(data.curves, ["v1", "a5"], METHODS)
    assert ">rank<" not in curves.svg  # a scorer without a search has no place among them
    assert "rank by magnitude" in curves.caption


def test_every_figure_names_a_small_budget(fused):
    rows = fused(budget=60, searches=("equal", "dbo(evaluations=60)")).rows
    found = searches(rows)
    escaped = searched_escapes(evidence_of(rows))
    figures = [*search_plots.search_escapes(escaped), *search_plots.search_histories(found, METHODS)]
    assert len(figures) == 1 + 2  # models
    for figure in figures:
        text = re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", figure.svg))
        assert text.count("dbo") == text.count("(60 evaluations)") > 0


def test_courses_are_drawn_at_the_sparsity_with_most_searches(fused):
    found = searches(fused(models=("cnn",), sparsities=(0.5, 0.8), searches=("equal", "dbo", "random_search")).rows)
    (lowest,) = search_plots.search_histories(found, METHODS)
    assert lowest.name.endswith("-50")  # as many at both
    (most,) = search_plots.search_histories(found[~(found["search"].eq("dbo") & found["sparsity"].eq(0.5))], METHODS)
    assert most.name.endswith("-80")


def test_rows_without_a_sparsity_break_no_figure(study, own_sparsities):
    data = study(seeds=2, granularities=("channel",))
    rows, plain = own_sparsities(data).rows, data.rows
    for draw in (accuracy, overlap, repairs, lambda data: escape(escapes(data))):
        drawn, expected = draw(evidence_of(rows)), draw(evidence_of(plain))
        assert [figure.name for figure in drawn] == [figure.name for figure in expected]
    alone = rows[rows["sparsity"].isna() | rows["scorer"].eq("dense")]
    assert [draw(evidence_of(alone)) for draw in (accuracy, overlap, repairs)] == [[], [], []]
    assert escape(escapes(evidence_of(alone))) == []
    drawn = emp(emp_rows(rows), METHODS)
    assert [figure.name for figure in drawn] == ["emp-channel-emp"]
    assert "Accuracy minus dense (points)" in drawn[0].svg


def test_no_feature_scorer_makes_no_figure_of_them(study):
    rows = study(seeds=2).rows
    found = searches(rows)
    assert search_plots.equal_weights(evidence_of(rows)) == search_plots.search_histories(found, METHODS) == []
    assert search_plots.search_escapes(searched_escapes(evidence_of(rows))) == []
    assert search_plots.curves(study(seeds=1).curves, [], METHODS) == []


def test_a_scorer_without_a_record_is_no_control(fused):
    data = fused()
    mine = data.rows["scorer"].eq("a5")
    rows = data.rows.assign(scorer=data.rows["scorer"].mask(mine, "./mine.py:curves"))
    (plain,) = search_plots.equal_weights(evidence_of(data.rows))
    (own,) = search_plots.equal_weights(evidence_of(rows))
    assert "other features" in own.svg
    assert "controls" not in own.svg
    assert "Other families are those of plug-ins." in own.caption
    assert "Other families" not in plain.caption
