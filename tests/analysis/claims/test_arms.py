"""Sums of arms, paired within each model, against sums by hand."""

import numpy as np
import pytest

from analysis.claims.arms import pairs_with, samples, setting_of, sum_of_terms
from analysis.claims.estimands.combination import Combination
from analysis.claims.estimands.contrast import Contrast
from analysis.errors import AnalysisError
from analysis.evidence.evidence import Evidence

PLAIN = {"granularity": "channel", "allocation": "uniform", "correction": "none", "recalibration": "none"}


def combination(terms, **more):
    return Combination.model_validate(
        {"id": "a", "text": "t", "estimand": "combination", "kind": "superiority", "terms": terms, "where": PLAIN}
        | more
    )


def summed(data, part, value="accuracy", along=None):
    evidence = Evidence.of(data)
    return samples(evidence, part, sum_of_terms(evidence, part, part.terms), value, along)


def by_hand(rows, scorer, search="none", model="cnn", sparsity=0.8):
    own = rows[rows["scorer"].eq(scorer) & rows["search"].eq(search) & rows["model"].eq(model)]
    for column, label in PLAIN.items():
        own = own[own[column].eq(label)]
    return 100 * own[own["sparsity"].eq(sparsity)].groupby("checkpoint")["accuracy"].mean()


def find(found, model="cnn", sparsity=0.8):
    (one,) = (s for s in found if s.setting["model"] == model and s.setting["sparsity"] == sparsity)
    return one


@pytest.mark.parametrize("draws", [1, 3])
def test_a_weighted_sum_of_arms_is_that_of_the_rows(fused, draws):
    data = fused(draws=draws)
    rows = data.rows
    terms = [
        {"of": {"scorer": "a5", "search": "dbo"}},
        {"weight": -2, "of": {"scorer": "a5", "search": "equal"}},
        {"of": {"scorer": "magnitude"}},
    ]
    one = find(summed(data, combination(terms)))
    wanted = by_hand(rows, "a5", "dbo") - 2 * by_hand(rows, "a5", "equal") + by_hand(rows, "magnitude")
    assert one.values.sort_index().to_numpy() == pytest.approx(wanted.sort_index().to_numpy())
    assert one.words == "mean accuracy of (a5 + dbo) minus 2 x (a5 + equal) plus magnitude, paired by model"
    assert one.counts == {}


def test_a_class_is_the_mean_of_its_scorers_that_the_study_has(fused):
    data = fused()
    rows = data.rows
    terms = [
        {"of": {"scorer": ["v1", "a5", "not_there"], "search": "dbo"}},
        {"weight": -1, "of": {"scorer": "magnitude"}},
    ]
    one = find(summed(data, combination(terms)))
    wanted = (by_hand(rows, "v1", "dbo") + by_hand(rows, "a5", "dbo")) / 2 - by_hand(rows, "magnitude")
    assert one.values.sort_index().to_numpy() == pytest.approx(wanted.sort_index().to_numpy())


def test_a_model_without_one_of_the_arms_is_left_out_and_counted(fused, changed):
    data = fused()
    lost = data.rows["scorer"].eq("v1") & data.rows["train_seed"].eq(0) & data.rows["search"].eq("dbo")
    terms = [{"of": {"scorer": ["v1", "a5"], "search": "dbo"}}, {"weight": -1, "of": {"scorer": "magnitude"}}]
    one = find(summed(changed(data, lost, state="failed", accuracy=np.nan), combination(terms)))
    assert len(one.values) == 3
    assert one.counts == {"failed": 1, "without a partner": 1}


def test_a_searched_scorer_needs_the_name_of_its_search(fused):
    with pytest.raises(AnalysisError, match="one of: equal, dbo"):
        summed(fused(), combination([{"of": {"scorer": "v1"}}]))


def test_a_name_stands_for_its_options_where_the_plain_label_is_missing(fused):
    data = fused(searches=("equal", "dbo(evaluations=60)"), budget=60)
    terms = [{"of": {"scorer": "v1", "search": "dbo"}}, {"weight": -1, "of": {"scorer": "magnitude"}}]
    assert "v1 + dbo(evaluations=60)" in find(summed(data, combination(terms))).words


def test_arms_that_reached_other_sparsities_are_no_pair(study, own_sparsities):
    data = own_sparsities(study(models=("cnn",), scorers=("magnitude", "taylor"), repairs=False))
    part = Contrast.model_validate({
        "id": "a", "text": "t", "estimand": "contrast", "kind": "superiority", "of": ["taylor"], "against": "magnitude",
        "where": {"allocation": ["2:4", "emp"], "recalibration": "none"},
    })  # fmt: skip
    evidence = Evidence.of(data)
    pairs = pairs_with(evidence, part, "scorer", part.of, part.against)
    found = {s.setting["allocation"]: s for s in samples(evidence, part, pairs, "accuracy")}
    assert len(found["2:4"].values) == 10
    assert found["emp"].values.empty
    assert found["emp"].counts == {"without a partner": 10}


def test_an_accuracy_that_is_not_finite_is_not_averaged_away(fused, changed):
    data = fused(draws=2)
    bad = data.rows["scorer"].eq("magnitude") & data.rows["train_seed"].eq(0) & data.rows["calibration_draw"].eq(0)
    terms = [{"of": {"scorer": "v1", "search": "dbo"}}, {"weight": -1, "of": {"scorer": "magnitude"}}]
    one = find(summed(changed(data, bad, accuracy=np.nan), combination(terms)))
    assert one.values.isna().sum() == 1


GAIN = [{"of": {"scorer": "taylor"}}, {"weight": -1, "of": {"scorer": "magnitude"}}]


def test_values_along_an_axis_have_a_table_of_complete_models(paired, part):
    own = part(estimand="trend", terms=GAIN)
    (one,) = summed(paired({("cnn", 0.8): [4.0, 5.0, 6.0], ("cnn", 0.5): [1.0, 2.0, "failed"]}), own, along="sparsity")
    table = one.table()
    assert list(table.columns) == [0.5, 0.8]
    assert table.to_numpy() == pytest.approx(np.array([[1.0, 4.0], [2.0, 5.0]]))
    assert one.counts == {"failed": 1}
    assert "sparsity" not in one.setting


def test_values_are_in_points_and_the_change_is_from_the_dense_model(paired, part):
    data = paired({("cnn", 0.5): [1.0, 2.0]})
    own = part(estimand="combination", kind="superiority", terms=GAIN[:1])
    (accuracy,), (change,) = (summed(data, own, value) for value in ("accuracy", "change"))
    assert accuracy.values.tolist() == pytest.approx([61.0, 62.1])
    assert change.values.tolist() == pytest.approx([61.0 - 90, 62.1 - 90])


def test_only_differences_of_equal_masks_hold_by_construction(paired, part):
    data = paired({("cnn", 0.5): [0.0, 0.0]}, same_masks=[("cnn", 0.5)])

    def reason(terms):
        (one,) = summed(data, part(estimand="combination", kind="superiority", terms=terms))
        return one.by_construction

    assert reason(GAIN) == "identical masks"
    assert reason(GAIN[:1]) == ""
    assert reason([GAIN[0], GAIN[1] | {"weight": -0.5}]) == ""


def test_a_setting_in_which_the_study_plans_one_arm_alone_is_no_question(paired, part):
    data = paired({("cnn", 0.5): [1.0, 2.0], ("cnn", 0.8): [1.0, 2.0]})
    rows = data.rows[~(data.rows["sparsity"].eq(0.8) & data.rows["scorer"].eq("magnitude"))]
    found = summed(data.with_rows(rows), part(estimand="combination", kind="superiority", terms=GAIN))
    assert [one.setting["sparsity"] for one in found] == [0.5]


def test_a_setting_has_plain_values():
    values = {"model": "vit", "sparsity": np.float64(0.5), "allocation": None, "images": np.int64(128)}
    assert setting_of(values) == {"model": "vit", "sparsity": 0.5, "images": 128.0}
