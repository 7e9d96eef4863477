"""Contrasts of known sign, over scorers, searches and corrections."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.formats import where

PLAIN = {"granularity": "channel", "allocation": "uniform", "correction": "none", "recalibration": "none"}
KEYS = {"estimand": "contrast", "kind": "superiority", "of": ["taylor"], "against": "magnitude", "where": PLAIN}


@pytest.fixture(scope="module")
def data(study):
    return study(granularities=("channel",), allocations=("uniform",), recalibrations=("none",), models=("cnn",))


def records(result):
    return [record for part in result.parts for record in part.records]


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "supported"), ({"of": ["gradient"]}, "contradicted"), ({"margin": 3}, "supported"),
        ({"margin": 8}, "contradicted"), ({"test": "sign-flip"}, "supported"),
        ({"of": ["taylor", "gradient"]}, "contradicted"),
        ({"of": ["taylor", "gradient"], "over": "some"}, "supported"),
        ({"kind": "noninferiority", "of": ["wanda"], "margin": 1}, "supported"),
        ({"kind": "noninferiority", "of": ["gradient"], "margin": 1}, "contradicted"),
        ({"kind": "equivalence", "of": ["l2"], "margin": 2}, "supported"),
        ({"kind": "equivalence", "of": ["gradient"], "margin": 2}, "contradicted"),
    ],
)  # fmt: skip
def test_contrasts_of_known_sign(data, judge, changes, verdict):
    assert judge(data, KEYS | changes).verdict == verdict


def test_the_numbers_of_a_record_are_those_of_the_rows(data, judge):
    record = records(judge(data, KEYS))[1]
    rows = data.rows[data.rows["sparsity"].eq(0.8) & data.rows["scorer"].isin(["taylor", "magnitude"])]
    table = rows.pivot_table(index="checkpoint", columns="scorer", values="accuracy")
    wanted = 100 * (table["taylor"] - table["magnitude"])
    assert record.setting["sparsity"] == 0.8
    assert record.effect == pytest.approx(wanted.mean())
    assert record.p == pytest.approx(stats.ttest_1samp(wanted, 0, alternative="greater").pvalue)
    assert record.estimand == "mean accuracy of taylor minus magnitude, paired by model"
    assert record.two_sided["Wilcoxon"] == pytest.approx(stats.wilcoxon(wanted).pvalue)
    assert record.p_superior == np.mean(wanted > 0)


def test_monotone_scorers_hold_by_construction_and_leave_the_family(data, judge):
    result = judge(data, KEYS | {"kind": "equivalence", "of": ["log_magnitude", "l2"], "margin": 2})
    assert result.verdict == "supported"
    by_construction = [record for record in records(result) if record.by_construction]
    assert {record.setting["scorer"] for record in by_construction} == {"log_magnitude"}
    assert {record.questions for record in records(result) if not record.by_construction} == {2}


def test_a_searched_scorer_is_decided_search_by_search(fused, judge):
    data = fused(searches=("equal", "dbo(evaluations=60)"), budget=60, seeds=6, models=("cnn",), sparsities=(0.5,))
    found = records(judge(data, KEYS | {"of": ["v1"]}))
    effects = {record.setting["method"]: record.effect for record in found}
    assert effects == pytest.approx({"v1 + equal": 2.0, "v1 + dbo (60 evaluations)": 5.0})
    assert all(record.verdict == "supported" for record in found)
    assert "v1 + dbo (60 evaluations), sparsity" in where(found[-1].setting)


def test_the_reference_is_the_gate(part):
    assert part(**KEYS).gate_arm == {"scorer": ("magnitude",)}
    assert part(**KEYS | {"axis": "correction", "of": ["asr"], "against": "none"}).gate_arm == {"correction": ("none",)}
    assert part(**KEYS | {"gate": {"correction": "reconstruct"}}).gate_arm == {"correction": ("reconstruct",)}
    assert part(**KEYS | {"gate": "none"}).gate_arm is None
