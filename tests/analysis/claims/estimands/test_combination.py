"""Weighted sums of arms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.errors import AnalysisError

PLAIN = {"granularity": "channel", "allocation": "uniform", "correction": "none", "recalibration": "none"}
KEYS = {"estimand": "combination", "kind": "superiority", "where": PLAIN, "gate": "none"}
SEARCH = [{"of": {"scorer": "v1", "search": "dbo"}}, {"weight": -1, "of": {"scorer": "v1", "search": "equal"}}]


def records(result):
    return [record for part in result.parts for record in part.records]


@pytest.fixture(scope="module")
def data(fused):
    return fused(models=("cnn",), sparsities=(0.5, 0.8), seeds=8, recalibrations=("none",))


def test_half_of_one_escape_is_tested_against_another(data, judge):
    terms = [
        {"of": {"scorer": "v1", "search": "dbo"}}, {"weight": -0.5, "of": {"scorer": "a5", "search": "dbo"}},
        {"weight": -0.5, "of": {"scorer": "magnitude"}},
    ]  # fmt: skip
    record = records(judge(data, KEYS | {"terms": terms}))[0]
    own = data.rows[data.rows["sparsity"].eq(0.5) & data.rows["state"].eq("done")].assign(
        arm=lambda rows: rows["scorer"] + " " + rows["search"]
    )
    table = own.pivot_table(index="checkpoint", columns="arm", values="accuracy")
    wanted = 100 * (table["v1 dbo"] - table["a5 dbo"] / 2 - table["magnitude none"] / 2)
    assert record.effect == pytest.approx(wanted.mean())
    assert record.p == pytest.approx(stats.ttest_1samp(wanted, 0, alternative="greater").pvalue)


def test_a_search_is_compared_with_equal_weights(data, judge):
    result = judge(data, KEYS | {"terms": SEARCH, "over": "mean"})
    assert result.verdict == "supported"
    assert records(result)[0].effect == pytest.approx(3.0)


def test_a_change_is_from_the_dense_model(study, own_sparsities, judge, changed):
    data = own_sparsities(study(seeds=6, models=("cnn",), recalibrations=("none",), scorers=("magnitude", "taylor")))
    part = {"estimand": "combination", "kind": "noninferiority", "terms": [{"of": {"correction": "none"}}],
            "value": "change", "margin": 1, "where": {"allocation": "emp", "recalibration": "none"}}  # fmt: skip
    assert judge(data, part).verdict == "contradicted"  # half of the units cost ten points in the synthetic study
    emp = data.rows["allocation"].eq("emp")
    noise = np.random.default_rng(4).normal(0, 0.001, int(emp.sum()))
    result = judge(changed(data, emp, accuracy=data.rows.loc[emp, "dense_accuracy"] + noise), part)
    assert result.verdict == "supported"
    assert {record.setting["scorer"] for record in records(result)} == {"magnitude", "taylor"}


def test_the_over_fit_of_a_search_is_that_of_its_notes(data, judge):
    terms = [{"of": {"scorer": "a5", "search": "dbo"}}]
    result = judge(data, KEYS | {"terms": terms, "value": "overfit"})
    assert result.verdict == "supported"
    assert {round(record.effect, 6) for record in records(result)} == {1.5}


def test_an_arm_that_the_study_lacks_is_named(data, judge):
    terms = [{"of": {"scorer": "poly4", "search": "dbo"}}, {"weight": -1, "of": {"scorer": "magnitude"}}]
    assert "the study has no cell with scorer poly4" in judge(data, KEYS | {"terms": terms}).notes[0]


def test_a_searched_scorer_needs_its_search(data, judge):
    with pytest.raises(
        AnalysisError, match=r"matches several searches; add 'search: \.\.\.' to it, one of: equal, dbo"
    ):
        judge(data, KEYS | {"terms": [{"of": {"scorer": "v1"}}]})


def test_a_value_that_no_row_has_is_explained(study, judge):
    part = {"estimand": "contrast", "kind": "superiority", "axis": "correction", "of": ["asr"], "against": "layerwise",
            "value": "above_dense", "where": {"recalibration": "none", "scorer": "magnitude"}}  # fmt: skip
    result = judge(study(seeds=2, models=("cnn",), scorers=("magnitude",)), part)
    assert result.verdict == "not testable"
    assert "computed before channel variances were stored" in result.notes[0]


def test_terms_name_the_same_columns(part):
    with pytest.raises(ValueError, match="all terms must name the same columns"):
        part(**KEYS, terms=[{"of": {"scorer": "v1"}}, {"of": {"correction": "asr"}}])
