"""Searches read from the rows' notes, against the truth that the rows were made with."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from analysis.comparisons import SAME_MASK, escapes, search_gains, searched_escapes
from analysis.evidence import frames, fusion
from analysis.tables import search_summary, search_table
from tests.rows_alone import evidence_of

ESCAPE, GAIN, OVERFIT = {"v1": 0.02, "a5": -0.01}, 0.03, 0.015


def changed(data, where, **values):
    rows = data.rows.copy()
    for column, value in values.items():
        rows.loc[where, column] = value
    return dataclasses.replace(data, rows=rows)


def test_there_is_one_search_per_model_scorer_and_sparsity_whatever_the_repair(fused):
    rows = fused(models=("cnn",)).rows
    found = fusion.searches(rows)
    assert len(frames.searched(rows)) == 2 * len(found)  # two recalibrations
    assert len(found) == 4 * 2 * 2 * 2  # seeds, sparsities, scorers, searches
    assert set(found["recalibration"]) == {"none"}


def test_overfit_is_the_gain_on_the_search_images_less_that_on_the_test_images(fused):
    found = fusion.searches(fused().rows)
    searched = found[found["search"].eq("dbo")]
    by_hand = [
        (note["search_accuracy"] - note["search_accuracy_equal"])
        - (note["test_accuracy"] - note["test_accuracy_equal"])
        for note in (json.loads(text)["search"] for text in searched["notes"])
    ]
    assert searched["overfit"].tolist() == pytest.approx(by_hand)
    assert searched["overfit"].mean() == pytest.approx(OVERFIT)
    assert found.loc[found["search"].eq("equal"), "overfit"].isna().all()


@pytest.mark.parametrize(
    "values", [{"train_overlap": "yes"}, {"train_overlap": "unknown"}, {"search": "dbo(recalibration=cumulative)"}]
)
def test_overfit_is_not_reported_where_it_would_be_something_else(fused, values):
    data = fused()
    found = fusion.searches(changed(data, data.rows["search"].eq("dbo"), **values).rows)
    assert found["overfit"].isna().all()


def test_rows_without_a_finished_search_are_none(study, fused):
    assert fusion.searches(study(seeds=2).rows).empty
    data = fused()
    failed = changed(data, data.rows["search"].ne("none"), state="failed", notes=None)
    assert fusion.searches(failed.rows).empty
    assert fusion.histories(fusion.searches(failed.rows)).empty


def test_histories_are_step_functions_averaged_where_all_models_have_begun(fused):
    data = fused(models=("cnn",), seeds=2, sparsities=(0.5,), searches=("dbo",))
    found = fusion.searches(data.rows)
    found = found[found["scorer"].eq("v1")].assign(search_accuracy_equal=[0.3, 0.5])
    found["history"] = [[[10, 0.2], [30, 0.4]], [[20, 0.6], [25, 0.8]]]
    (name,) = found["method"].unique()
    mean = fusion.histories(found)
    assert name == "v1 + dbo"
    assert mean[["evaluations", "best"]].to_numpy().tolist() == pytest.approx(
        np.array([[20, (0.2 + 0.6) / 2], [25, (0.2 + 0.8) / 2], [30, (0.4 + 0.8) / 2]])
    )
    assert mean["equal"].tolist() == pytest.approx([0.4] * 3)


def test_draws_of_one_model_count_once_in_a_history(fused):
    data = fused(models=("cnn",), seeds=2, sparsities=(0.5,), searches=("dbo",))
    found = fusion.searches(data.rows)
    found = found[found["scorer"].eq("v1")].assign(history=[[[1, 0.2]], [[1, 0.8]]])
    again = found.iloc[:1].assign(calibration_draw=1, history=[[[1, 0.4]]])
    (best,) = fusion.histories(pd.concat([found, again], ignore_index=True))["best"]
    assert best == pytest.approx(((0.2 + 0.4) / 2 + 0.8) / 2)


def test_a_search_is_compared_with_magnitude_and_with_equal_weights(fused):
    rows = fused().rows
    above = searched_escapes(evidence_of(rows)).groupby("method")["difference"].mean()
    truth = {f"{s} + {q}": e + (GAIN if q == "dbo" else 0) for s, e in ESCAPE.items() for q in ("equal", "dbo")}
    assert above.to_dict() == pytest.approx(truth)
    gains = search_gains(evidence_of(rows))
    assert set(gains["method"]) == {"v1 + dbo", "a5 + dbo"}
    assert gains["difference"].tolist() == pytest.approx([GAIN] * len(gains))
    assert set(escapes(evidence_of(rows))["search"]) == {"none"}


def test_scorers_without_a_search_keep_their_family(study, fused):
    plain = study(granularities=("channel",), allocations=("uniform",), seeds=4)
    pd.testing.assert_frame_equal(escapes(evidence_of(plain.rows)), escapes(evidence_of(fused().rows)))


def test_a_search_that_ends_at_equal_weights_is_not_tested(fused):
    data = fused(models=("cnn",))
    rows = data.rows.copy()
    rows["mask"] = rows["mask"].where(rows["search"].eq("none"), "one")
    assert set(search_gains(evidence_of(rows))["category"]) == {SAME_MASK}


def test_the_table_holds_what_was_put_in(fused):
    rows = fused(budget=60, searches=("equal", "dbo(evaluations=60)")).rows
    found = fusion.searches(rows)
    table = search_table(found, searched_escapes(evidence_of(rows)), search_gains(evidence_of(rows))).set_index(
        "Scorer + search"
    )
    searched = table.loc["v1 + dbo (60 evaluations)"]
    assert set(searched["Over magnitude (points)"]) == {"+5.00"}
    assert set(searched["Over equal weights (points)"]) == {"+3.00"}
    assert set(searched["Over-fit (points)"]) == {"+1.50"}
    assert set(searched["Evaluations"]) == {"60"}
    assert set(table.loc["v1 + equal", "Over equal weights (points)"]) == {"\N{EN DASH}"}
    mean = found.loc[found["method"].eq("v1 + equal") & found["sparsity"].eq(0.5), ["model", "test_accuracy"]]
    expected = [f"{100 * v:.2f}" for v in mean.groupby("model", sort=False)["test_accuracy"].mean()]
    equal = table.loc["v1 + equal"]
    assert equal.loc[equal["Sparsity (%)"].eq("50.0"), "Test accuracy, mean (%)"].tolist() == expected


def test_the_summary_averages_over_scorers_and_models(fused):
    summary = search_summary(fusion.searches(fused().rows))
    assert set(summary["Search"]) == {"dbo"}
    assert len(summary) == 2 * 2  # models, sparsities
    assert set(summary["Feature scorers"]) == {"2"}
    assert set(summary["Over equal weights, search images (points)"]) == {"+4.50"}
    assert set(summary["Over equal weights, test images (points)"]) == {"+3.00"}


def test_only_budgets_under_600_are_small(fused):
    assert fusion.small_budgets(fusion.searches(fused().rows)) == []
    small = fused(budget=599, searches=("equal", "cma(evaluations=599)")).rows
    assert fusion.small_budgets(fusion.searches(small)) == ["cma (599 evaluations)"]
    # a user's search whose default is small: its label does not say so, its notes do
    users = fused(budget=20, searches=("equal", "mine")).rows
    assert set(frames.searched(users)["method"]) == {
        f"{s} + {q}" for s in ESCAPE for q in ("equal", "mine (20 evaluations)")
    }
