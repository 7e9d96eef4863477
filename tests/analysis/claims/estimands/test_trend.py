"""Trends, changes of sign, differences of any kind and associations on tables that are given."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from analysis.stats.trend import page

FOUR = (0.5, 0.6, 0.7, 0.8)
TERMS = [{"of": {"scorer": "taylor"}}, {"weight": -1, "of": {"scorer": "magnitude"}}]
NOISE = np.random.default_rng(7).normal(0, 0.3, (8, 4))


@pytest.fixture
def along(paired):
    """A study of one architecture whose differences are the columns of a table, over the sparsities."""

    def _along(table):
        return paired({("cnn", sparsity): column.tolist() for sparsity, column in zip(FOUR, table.T, strict=False)})

    return _along


def only(result):
    ((record,),) = (part.records for part in result.parts)
    return record


@pytest.mark.parametrize(
    ("slope", "direction", "verdict"),
    [(1, "increasing", "supported"), (1, "decreasing", "contradicted"), (-1, "decreasing", "supported")],
)
def test_a_trend_over_the_sparsities(along, judge, slope, direction, verdict):
    table = NOISE + slope * np.arange(4)
    result = judge(along(table), {"estimand": "trend", "terms": TERMS, "direction": direction})
    assert result.verdict == verdict
    record = only(result)
    # Page's L by scipy: the exact p of the same ranking
    order = table if direction == "increasing" else table[:, ::-1]
    assert record.p == pytest.approx(stats.page_trend_test(order).pvalue, rel=0.05, abs=1e-6)
    assert record.p_contradiction == pytest.approx(page(table, direction).p_against)
    assert (record.n, record.settings) == (8, 1)


def test_two_sparsities_are_no_trend(along, judge):
    result = judge(along(NOISE[:, :2]), {"estimand": "trend", "terms": TERMS})
    assert result.verdict == "not testable"
    assert "too few sparsities" in result.notes[0]


def test_a_trend_with_an_uninformative_point_is_inconclusive(along, judge):
    data = along(NOISE + np.arange(4))
    part = {"estimand": "trend", "terms": TERMS, "gate": {"scorer": "magnitude"}}
    assert judge(data, part).verdict == "supported"
    low = data.rows["sparsity"].eq(0.8) & data.rows["scorer"].eq("magnitude")
    accuracy = data.rows["accuracy"].mask(low, 0.1 - 0.001 * data.rows["train_seed"])
    assert only(judge(data.with_rows(data.rows.assign(accuracy=accuracy)), part)).gate == "not informative"


@pytest.mark.parametrize(
    ("means", "verdict"),
    [((4, 1, 0, -4), "supported"), ((4, 3, 4, 4), "contradicted"), ((-4, -3, -4, -4), "contradicted"),
     ((0, 0, 0, 0), "contradicted"), ((4, 1, 0.2, 0), "inconclusive")],
)  # fmt: skip
def test_a_change_of_sign_needs_both_signs(along, judge, means, verdict):
    part = {"estimand": "sign_change", "terms": TERMS, "margin": 1}
    assert judge(along(NOISE + np.array(means)), part).verdict == verdict


def test_the_contradiction_of_a_change_of_sign_by_hand(along, judge):
    table = NOISE + 0.4
    record = only(judge(along(table), {"estimand": "sign_change", "terms": TERMS, "margin": 1}))
    one_sided = [
        max(stats.ttest_1samp(column, 0, alternative=side).pvalue for column in table.T) for side in ("greater", "less")
    ]
    tost = max(
        max(stats.ttest_1samp(column, -1, alternative="greater").pvalue,
            stats.ttest_1samp(column, 1, alternative="less").pvalue)
        for column in table.T
    )  # fmt: skip
    assert record.p_contradiction == pytest.approx(min(1, 3 * min(*one_sided, tost)))


def differs(**more):
    return {"estimand": "differs", "axis": "scorer", "of": ["magnitude", "taylor"], "margin": 1, **more}


def test_two_labels_are_compared_by_the_t_test(paired, judge):
    values = (NOISE[:, 0] + 0.5).tolist()
    record = only(judge(paired({("cnn", 0.5): values}), differs()))
    assert (record.test, record.p) == ("paired t", pytest.approx(stats.ttest_1samp(values, 0).pvalue))
    tost = max(stats.ttest_1samp(values, -1, alternative="greater").pvalue,
               stats.ttest_1samp(values, 1, alternative="less").pvalue)  # fmt: skip
    assert record.p_contradiction == pytest.approx(tost)


@pytest.mark.parametrize(("shift", "verdict"), [(2, "supported"), (0, "contradicted"), (1, "inconclusive")])
def test_labels_that_differ_and_that_do_not(paired, judge, shift, verdict):
    wide = 5 if verdict == "inconclusive" else 1
    assert judge(paired({("cnn", 0.5): (shift + wide * NOISE[:, 1]).tolist()}), differs()).verdict == verdict


def test_three_labels_are_compared_by_friedmans_test(paired, judge):
    data = paired({("cnn", 0.5): (NOISE[:, 0] + 1).tolist()}, more=[{"scorer": "wanda"}])
    rows = data.rows
    wanda = rows["scorer"].eq("wanda")
    accuracy = rows["accuracy"].mask(
        wanda, rows["accuracy"] + rows["train_seed"].map(dict(enumerate(NOISE[:, 2] / 100)))
    )
    record = only(judge(data.with_rows(rows.assign(accuracy=accuracy)), differs(of=["magnitude", "taylor", "wanda"])))
    table = np.stack([np.zeros(8), NOISE[:, 0] + 1, NOISE[:, 2]])
    chi2 = stats.friedmanchisquare(*table).statistic
    f = 7 * chi2 / (8 * 2 - chi2)  # Iman and Davenport
    assert (record.statistic, record.df) == (pytest.approx(f), 2)
    assert record.p == pytest.approx(stats.f.sf(f, 2, 14))


@pytest.mark.parametrize(("sign", "verdict"), [(1, "supported"), (-1, "contradicted")])
def test_a_difference_goes_along_with_another_number(along, judge, sign, verdict):
    table = NOISE + sign * 0.3 * np.arange(4)
    data = along(table)
    rows = data.rows
    loss = [json.dumps({"channels": {"loss": s, "channels": 1, "layers": 1}}) for s in rows["sparsity"].fillna(0)]
    data = data.with_rows(rows.assign(notes=np.where(rows["scorer"].eq("taylor"), loss, "{}")))
    result = judge(data, {"estimand": "association", "terms": TERMS, "along_value": "variance_loss", "gate": "none"})
    rho = [stats.spearmanr(row, FOUR).statistic for row in table]
    record = only(result)
    assert result.verdict == verdict
    assert record.details["mean rho"] == pytest.approx(np.mean(rho))
    assert -1 <= record.details["rho, low"] <= np.mean(rho) <= record.details["rho, high"] <= 1
    # the mean on Fisher's scale, its standard error by the delta method
    t = np.arctanh(np.mean(rho)) / (stats.sem(rho) / (1 - np.mean(rho) ** 2))
    assert (record.p, record.p_contradiction) == (pytest.approx(stats.t.sf(t, 7)), pytest.approx(stats.t.cdf(t, 7)))
