"""Sums of arms, paired within each model, against sums by hand."""

import numpy as np
import pytest
from analysis.claims.samples import samples

from analysis.claims.schema import Combination, Contrast
from analysis.errors import AnalysisError

PLAIN = {"granularity": "channel", "allocation": "uniform", "correction": "none", "recalibration": "none"}


def combination(terms, **more):
    return Combination.model_validate(
        {"id": "a", "text": "t", "estimand": "combination", "kind": "superiority", "terms": terms, "where": PLAIN}
        | more
    )


def by_hand(rows, scorer, search="none", model="cnn", sparsity=0.8):
    own = rows[rows["scorer"].eq(scorer) & rows["search"].eq(search) & rows["model"].eq(model)]
    for column, label in PLAIN.items():
        own = own[own[column].eq(label)]
    return own[own["sparsity"].eq(sparsity)].groupby("checkpoint")["accuracy"].mean()


def find(found, model="cnn", sparsity=0.8):
    (one,) = (s for s in found if s.setting["model"] == model and s.setting["sparsity"] == sparsity)
    return one


@pytest.mark.parametrize("draws", [1, 3])
def test_a_weighted_sum_of_arms_is_that_of_the_rows(fused, draws):
    rows = fused(draws=draws).rows
    terms = [
        {"of": {"scorer": "a5", "search": "dbo"}},
        {"weight": -2, "of": {"scorer": "a5", "search": "equal"}},
        {"of": {"scorer": "magnitude"}},
    ]
    one = find(samples(rows, combination(terms)))
    wanted = by_hand(rows, "a5", "dbo") - 2 * by_hand(rows, "a5", "equal") + by_hand(rows, "magnitude")
    assert one.values.sort_index().to_numpy() == pytest.approx(wanted.sort_index().to_numpy())
    assert one.words == "mean accuracy of (a5 + dbo) minus 2 x (a5 + equal) plus magnitude, paired by model"
    assert one.counts == {}


def test_a_class_is_the_mean_of_its_scorers_that_the_study_has(fused):
    rows = fused().rows
    terms = [
        {"of": {"scorer": ["v1", "a5", "not_there"], "search": "dbo"}},
        {"weight": -1, "of": {"scorer": "magnitude"}},
    ]
    one = find(samples(rows, combination(terms)))
    wanted = (by_hand(rows, "v1", "dbo") + by_hand(rows, "a5", "dbo")) / 2 - by_hand(rows, "magnitude")
    assert one.values.sort_index().to_numpy() == pytest.approx(wanted.sort_index().to_numpy())


def test_a_model_without_one_of_the_arms_is_left_out_and_counted(fused, changed):
    data = fused()
    lost = data.rows["scorer"].eq("v1") & data.rows["train_seed"].eq(0) & data.rows["search"].eq("dbo")
    terms = [{"of": {"scorer": ["v1", "a5"], "search": "dbo"}}, {"weight": -1, "of": {"scorer": "magnitude"}}]
    one = find(samples(changed(data, lost, state="failed", accuracy=np.nan).rows, combination(terms)))
    assert len(one.values) == 3
    assert one.counts == {"failed": 1, "without a partner": 1}


def test_a_searched_scorer_needs_the_name_of_its_search(fused):
    with pytest.raises(AnalysisError, match="must say which search: valid: equal, dbo"):
        samples(fused().rows, combination([{"of": {"scorer": "v1"}}]))


def test_a_name_stands_for_its_options_where_the_plain_label_is_missing(fused):
    rows = fused(searches=("equal", "dbo(evaluations=60)"), budget=60).rows
    terms = [{"of": {"scorer": "v1", "search": "dbo"}}, {"weight": -1, "of": {"scorer": "magnitude"}}]
    assert "v1 + dbo(evaluations=60)" in find(samples(rows, combination(terms))).words


def test_arms_that_reached_other_sparsities_are_no_pair(study, own_sparsities):
    data = own_sparsities(study())
    part = Contrast.model_validate({
        "id": "a", "text": "t", "estimand": "contrast", "kind": "superiority", "of": ["taylor"], "against": "magnitude",
        "where": {"allocation": ["2:4", "emp"], "recalibration": "none"},
    })  # fmt: skip
    found = {s.setting["allocation"]: s for s in samples(data.rows, part)}
    assert len(found["2:4"].values) == 10
    assert found["emp"].values.empty
    assert found["emp"].counts == {"without a partner": 10}


def test_an_accuracy_that_is_not_finite_is_not_averaged_away(fused, changed):
    data = fused(draws=2)
    bad = data.rows["scorer"].eq("magnitude") & data.rows["train_seed"].eq(0) & data.rows["calibration_draw"].eq(0)
    terms = [{"of": {"scorer": "v1", "search": "dbo"}}, {"weight": -1, "of": {"scorer": "magnitude"}}]
    one = find(samples(changed(data, bad, accuracy=np.nan).rows, combination(terms)))
    assert one.values.isna().sum() == 1
