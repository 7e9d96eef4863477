"""kappa(S) of a study's settings, and its tables and sentences."""

import math

import numpy as np
import pytest

from analysis.complexity import Change
from analysis.complexity_study import study_complexity
from analysis.complexity_tables import (
    agreement_sentence,
    change_point,
    changes_table,
    classes_sentence,
    design_sentence,
    fused_sentence,
    limits_sentence,
    points_table,
    premium_sentence,
    premium_table,
)
from analysis.evidence import frames
from analysis.kappa.curves import Curves, measure
from analysis.kappa.study import fused as fused_curves
from analysis.kappa.study import fused_summary


@pytest.fixture(scope="module")
def data(fused):
    return fused(seeds=6, sparsities=(0.5, 0.7, 0.8), recalibrations=("none",))


@pytest.fixture(scope="module")
def settings(data):
    return study_complexity(data.rows)


def test_every_model_and_search_is_a_setting(settings):
    assert [(one.model, one.search) for one in settings] == [
        ("cnn", "equal"), ("cnn", "dbo"), ("vit", "equal"), ("vit", "dbo"),
    ]  # fmt: skip
    for one in settings:
        assert one.classes == {1: ("v1",), 2: ("a5",)}
        assert [point.sparsity for point in one.found.points] == [0.5, 0.7, 0.8]
        assert one.found.models == 6


def test_the_true_escapes_decide_kappa(settings):
    """With equal weights v1 escapes by 2 points and a5 falls by 1; a search lifts both, so v1 is enough."""
    for one in settings:
        assert [point.kappa for point in one.found.points] == [1, 1, 1]
        lift = 3 if one.search == "dbo" else 0
        assert [point.escapes[0].mean for point in one.found.points] == pytest.approx([0.02 + lift / 100] * 3)
        assert one.premium["mean"].to_numpy() == pytest.approx([-0.03] * 3)


def test_repairs_weights_and_other_allocations_are_left_out(fused, settings):
    spaces = {"granularities": ("channel", "weight"), "allocations": ("uniform", "global")}
    more = fused(seeds=6, sparsities=(0.5, 0.7, 0.8), **spaces)
    for one, other in zip(settings, study_complexity(more.rows), strict=True):
        assert (one.model, one.search) == (other.model, other.search)
        assert [point.kappa for point in one.found.points] == [point.kappa for point in other.found.points]
    weights = fused(granularities=("weight",))
    assert study_complexity(weights.rows) == []


def test_a_class_without_a_scorer_is_no_setting(data):
    assert study_complexity(data.rows[data.rows["scorer"].ne("a5")]) == []
    assert study_complexity(frames.unsearched(data.rows)) == []


def test_without_the_premiums_scorers_there_is_no_premium(data):
    rows = data.rows.assign(scorer=data.rows["scorer"].replace({"v1": "v1b_var"}))
    found = study_complexity(rows)
    assert [one.classes[1] for one in found] == [("v1b_var",)] * 4
    assert all(one.premium.empty for one in found)
    assert premium_sentence(found) == ""
    assert premium_table(found).empty


def test_sentences_count_what_the_table_shows(settings):
    table = points_table(settings)
    assert len(table) == 12
    one = table[~table["kappa, 95 % set"].str.startswith("undecided")]
    agree = (one["kappa, 95 % set"] == one["kappa in the paper"]).sum()
    sentence = agreement_sentence(settings)
    assert f"is a single value at {len(one)} of 12 points: the paper's value at {agree}" in sentence
    assert "a single value at 12 of 12 points: the paper's value at 4, a lower one at 4, a higher one at 4." in sentence
    assert "Class 1 is the mean of v1, class 2 that of a5" in classes_sentence(settings)
    assert "below zero at 12 " in premium_sentence(settings)
    assert limits_sentence(settings) == ""


def test_two_sparsities_are_said_to_be_too_few(fused):
    found = study_complexity(fused(seeds=6, sparsities=(0.7, 0.8)).rows)
    assert "Too few for a trend: equal, dbo (70, 80 %)." in limits_sentence(found)
    table = changes_table(found)
    assert set(table["Sparsities (%)"]) == {"70, 80"}
    assert set(table["Page's trend of e_2 - e_1, p"]) == {"\N{EN DASH}"}
    assert set(table["To kappa 1 (paper: 65 %)"]) == {"at 70 % or below"}
    assert set(table["To kappa 1, 95 % of resamples"]) == {"up to 70 %"}
    assert set(table["To kappa 2 (paper: 75 %)"]) == {"not up to 80 %"}
    assert set(table["To kappa 2, 95 % of resamples"]) == {"from 80 % on"}


def test_too_few_models_have_no_bootstrap_shares(fused):
    found = study_complexity(fused(seeds=3).rows)
    assert set(points_table(found)["Bootstrap share, kappa >= 1 (descriptive)"]) == {"\N{EN DASH}"}
    assert set(changes_table(found)["To kappa 1 (paper: 65 %)"]) == {"not decidable"}


def test_one_model_leaves_kappa_undecided(fused):
    found = study_complexity(fused(seeds=1, sparsities=(0.7,)).rows)
    points = len(points_table(found))
    assert set(points_table(found)["kappa, 95 % set"]) == {"undecided (0, 1 or 2)"}
    assert (
        f"a single value at 0 of {points} points: the paper's value at 0, a lower one at 0, a higher one at 0. At the "
        f"other {points} points kappa is undecided; the set contains the paper's value at {points} of them."
    ) in agreement_sentence(found)


def test_the_margin_is_that_of_a_claim_unless_another_is_given(fused, settings):
    """Three of 400 test images are more than half a point; v1 escapes by 2 to 5 points."""
    assert {point.kappa_set.margin for one in settings for point in one.found.points} == {3 / 400}
    assert set(points_table(settings)["Margin (points)"]) == {"0.75"}
    wide = study_complexity(fused(seeds=6, sparsities=(0.5, 0.7, 0.8)).rows, margin=0.1)
    assert {point.kappa_set.values for one in wide for point in one.found.points} == {(0,)}


@pytest.mark.parametrize(
    ("outcome", "sentence"),
    [
        ("not estimable between grid points", "between 60 and 70 %"),
        ("not monotone", "not monotone"),
        ("always", "at 50 % or below"),
    ],
)
def test_every_outcome_of_a_change_has_words(outcome, sentence):
    change = Change(1, outcome, math.nan, 0.6, 0.7, 0.6, 0.7, 0.65)
    assert change_point(change, (0.5, 0.6, 0.7)) == sentence


def test_scorers_that_measure_another_kappa_are_named():
    u = np.linspace(0.1, 1, 301)
    rough = np.sign(np.sin(60 * u))
    curves = [
        Curves("rank", None, 0, ("u",), u, u[None], by_design=0),
        Curves("v1", None, 0, ("mean", "jump"), u, np.stack([np.sin(6 * u), rough]), by_design=1),
        Curves("mine", None, 0, ("u",), u, u[None]),
    ]
    sentence = design_sentence(measure(curves))
    assert sentence == (
        "Of 2 scorers with a kappa by design, 1 measure it; not so v1 (1 by design, measured 2: jump with D > 64)."
    )
    assert design_sentence(measure(curves[2:])) == ""


def test_fused_scores_are_counted_against_their_design(data):
    summary = fused_summary(fused_curves(data))
    sentence = fused_sentence(summary)
    equal = summary[summary["search"].eq("equal")]
    assert set(equal["median"]) == {0}  # two rising features with equal weights rise
    assert f"with equal weights its median over models is the one by design in 0 of {len(equal)}" in sentence
    assert fused_sentence(summary.assign(by_design="fake")) == ""
