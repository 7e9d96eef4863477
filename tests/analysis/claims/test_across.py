"""Questions over several cells of a model, on studies whose truth is known."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from analysis.stats.max_t import max_t
from analysis.stats.trend import page

from .conftest import records

PLAIN = {"granularity": "channel", "allocation": "uniform", "correction": "none", "recalibration": "none"}
FOUR = (0.5, 0.6, 0.7, 0.8)
GAIN = [{"of": {"correction": "asr"}}, {"weight": -1, "of": {"correction": "layerwise"}}]
REPAIRED = {"granularity": "weight", "recalibration": "none", "scorer": "magnitude"}


def premium(estimand, **more):
    terms = [{"of": {"scorer": "a5", "search": "dbo"}}, {"weight": -1, "of": {"scorer": "v1", "search": "dbo"}}]
    return {"estimand": estimand, "terms": terms, "where": PLAIN, **more}


def tilted(changed, data, scorer, by_sparsity):
    """Shift the accuracy of a scorer by a function of the sparsity."""
    rows = data.rows
    own = rows["scorer"].eq(scorer) & rows["search"].eq("dbo")
    return changed(data, own, accuracy=rows.loc[own, "accuracy"] + rows.loc[own, "sparsity"].map(by_sparsity))


def by_model(data, scorer, search):
    own = data.rows[data.rows["scorer"].eq(scorer) & data.rows["search"].eq(search) & data.rows["model"].eq("cnn")]
    for column, label in PLAIN.items():
        own = own[own[column].eq(label)]
    return own.pivot_table(index="checkpoint", columns="sparsity", values="accuracy")


@pytest.fixture
def noisy(fused, changed):
    """Feature scorers with independent noise, so that no difference is the same for all models."""
    data = fused(seeds=8, sparsities=FOUR)
    own = data.rows["search"].eq("dbo")
    noise = np.random.default_rng(5).normal(0, 0.002, int(own.sum()))
    return changed(data, own, accuracy=data.rows.loc[own, "accuracy"] + noise)


@pytest.mark.parametrize(
    ("of", "verdict"), [(("gradient", "taylor"), "supported"), (("random", "gradient"), "refuted")]
)
def test_the_best_of_several_pays_for_the_choice(study, judge, of, verdict):
    data = study()
    result = judge(data, {"estimand": "any_of", "of": of, "against": "magnitude", "where": PLAIN})
    assert result.verdict == verdict
    record = next(r for r in records(result) if r.setting["model"] == "cnn" and r.setting["sparsity"] == 0.8)
    table = pd.concat([by_model(data, name, "none")[0.8] for name in (*of, "magnitude")], axis=1).to_numpy()
    wanted = max_t(table[:, :2] - table[:, 2:])
    assert record.p == pytest.approx(wanted.p)
    assert [record.details[f"p of {name}"] for name in of] == pytest.approx(list(wanted.p_adjusted))
    assert record.effect == pytest.approx(max((table[:, :2] - table[:, 2:]).mean(axis=0)))


@pytest.mark.parametrize(
    ("slope", "direction", "verdict"),
    [(0.2, "increasing", "supported"), (0.2, "decreasing", "refuted"), (-0.2, "decreasing", "supported")],
)
def test_a_trend_over_the_sparsities(noisy, changed, judge, slope, direction, verdict):
    data = tilted(changed, noisy, "a5", lambda s: slope * s)
    result = judge(data, premium("trend", direction=direction))
    assert result.verdict == verdict
    (record,) = (r for r in records(result) if r.setting["model"] == "cnn")
    table = by_model(data, "a5", "dbo") - by_model(data, "v1", "dbo")
    assert record.p == pytest.approx(page(table.to_numpy(), direction).p)
    assert record.n == 8


def test_two_sparsities_are_no_trend(fused, judge):
    result = judge(fused(), premium("trend"))
    assert result.verdict == "not testable"
    assert "too few sparsities" in result.notes[0]


@pytest.mark.parametrize(
    ("shift", "verdict"),
    [
        (lambda s: 0.08 if s < 0.65 else 0.0, "supported"),  # the premium is -0.03 without a shift
        (lambda _: 0.0, "refuted"),
        (lambda _: 0.03, "refuted"),  # none at all: inside the margin at every sparsity
        (lambda s: 0.028 + 0.01 * (s - 0.65), "inconclusive"),
    ],
)
def test_a_change_of_sign_needs_both_signs(noisy, changed, judge, shift, verdict):
    data = tilted(changed, noisy, "a5", shift)
    margin = 0.0005 if verdict == "inconclusive" else 0.01
    assert judge(data, premium("sign_change", margin=margin)).verdict == verdict


def test_recalibrations_that_differ_and_that_do_not(study, judge, changed):
    data = study(seeds=8)
    rows = data.rows
    part = {"estimand": "differs", "axis": "recalibration", "margin": 0.01,
            "where": PLAIN | {"recalibration": ["none", "cumulative"], "scorer": "magnitude"}}  # fmt: skip
    same = judge(data, part)  # without a correction the synthetic accuracy does not depend on the recalibration
    assert {r.verdict for r in records(same) if r.setting["model"] == "cnn"} == {"refuted"}  # one accuracy under both
    own = rows["recalibration"].eq("cumulative") & rows["state"].eq("done") & rows["scorer"].eq("magnitude")
    noise = np.random.default_rng(1).normal(0.05, 0.005, int(own.sum()))
    other = judge(changed(data, own, accuracy=rows.loc[own, "accuracy"] + noise), part)
    judged = [r for r in records(other) if r.verdict != "not testable"]
    assert {(r.verdict, r.test, r.n) for r in judged} == {("supported", "paired t", 8)}


def test_three_levels_are_compared_by_friedmans_test(study, judge):
    part = {"estimand": "differs", "axis": "scorer", "of": ["magnitude", "taylor", "gradient"], "where": PLAIN}
    result = judge(study(), part)
    assert result.verdict == "supported"
    record = records(result)[0]
    assert (record.test, record.df) == ("Friedman (Iman-Davenport)", 2)
    assert set(record.details) == {"mean at magnitude", "mean at taylor", "mean at gradient"}


@pytest.mark.parametrize(("terms", "verdict"), [(GAIN, "supported"), (GAIN[::-1], "refuted")])
def test_the_overall_gain_by_a_mixed_model(study, changed, judge, terms, verdict):
    terms = [{**term, "weight": weight} for term, weight in zip(terms, (1, -1), strict=True)]
    data = study(seeds=6)
    own = data.rows["correction"].isin(["asr", "layerwise"]) & data.rows["state"].eq("done")
    noise = np.random.default_rng(2).normal(0, 0.01, int(own.sum()))
    data = changed(data, own, accuracy=data.rows.loc[own, "accuracy"] + noise)
    result = judge(data, {"estimand": "overall", "terms": terms, "where": REPAIRED})
    assert result.verdict == verdict
    (record,) = records(result)
    assert (record.n, record.repetitions, record.details["settings"]) == (12, 999, 4)
    assert record.low < record.effect < record.high
    assert abs(record.effect) == pytest.approx(0.02, abs=0.005)


def test_one_model_per_architecture_has_no_mixed_model(study, judge):
    result = judge(study(seeds=1), {"estimand": "overall", "terms": GAIN, "where": REPAIRED})
    assert result.verdict == "not testable"
    assert "one model per architecture" in result.notes[0]


def test_a_gain_that_is_always_nothing_is_no_gain(study, judge):
    where = REPAIRED | {"recalibration": "cumulative"}  # the synthetic repairs cancel there
    result = judge(study(), {"estimand": "overall", "terms": GAIN, "where": where})
    assert result.verdict == "refuted"
    assert "degenerate" in records(result)[0].reason


@pytest.mark.parametrize(("sign", "verdict"), [(1, "supported"), (-1, "refuted")])
def test_a_gain_goes_along_with_the_variance_lost(study, changed, judge, sign, verdict):
    data = study(seeds=8, sparsities=FOUR)
    rows = data.rows
    own = rows["correction"].eq("asr") & rows["recalibration"].eq("none") & rows["state"].eq("done")
    rng = np.random.default_rng(3)
    loss = rows.loc[own, "sparsity"] + rng.normal(0, 0.02, int(own.sum()))
    notes = [json.dumps({"channels": {"loss": value}}) for value in loss]
    data = changed(data, own, accuracy=rows.loc[own, "accuracy"] + sign * 0.1 * loss, notes=notes)
    terms = [{**term, "weight": weight} for term, weight in zip(GAIN, (1, -1), strict=True)]
    result = judge(data, {"estimand": "association", "terms": terms, "along": "variance_loss", "where": REPAIRED})
    assert result.verdict == verdict
    assert all(abs(r.details["mean rho"]) > 0.5 for r in records(result) if r.n)


def test_a_scan_is_corrected_otherwise_and_decides_nothing(study, judge):
    deciding = {"id": "b", "text": "t", "estimand": "contrast", "kind": "superiority", "of": ["taylor"],
                "against": "magnitude", "where": PLAIN}  # fmt: skip
    scan = {**deciding, "id": "c", "of": ["random", "gradient"], "scan": True}
    result = judge(study(), {**deciding, "id": "a"}, parts=[deciding, scan])
    assert result.verdict == "supported"  # though every record of the scan is refuted
    assert [(part.id, part.verdict, part.scan) for part in result.parts] == [
        ("b", "supported", False),
        ("c", "refuted", True),
    ]
    scanned = [r for r in records(result) if r.scan]
    assert {r.family_size for r in scanned} == {8}
    p = [r.p_against for r in scanned]
    ranked = sorted(p)[::-1]
    wanted = np.minimum.accumulate([value * 8 / (8 - place) for place, value in enumerate(ranked)])
    assert sorted(r.p_against_adjusted for r in scanned)[::-1] == pytest.approx(list(wanted))


@pytest.mark.parametrize(("paper", "size"), [(0.05, "agrees"), (0.2, "smaller"), (-0.1, "larger")])
def test_the_papers_number_is_compared_and_never_decides(study, judge, paper, size):
    part = {"estimand": "contrast", "kind": "superiority", "of": ["taylor"], "against": "magnitude", "where": PLAIN}
    result = judge(study(), part | {"paper_value": paper})
    assert result.verdict == "supported"
    assert {r.size for r in records(result)} == {size}


def test_emp_is_held_against_its_dense_model(study, own_sparsities, judge, changed):
    data = own_sparsities(study())
    part = {"estimand": "combination", "kind": "noninferiority", "terms": [{"of": {"correction": "none"}}],
            "value": "change", "margin": 0.01, "where": {"allocation": "emp", "recalibration": "none"}}  # fmt: skip
    assert judge(data, part).verdict == "refuted"  # half of the units cost ten points in the synthetic study
    emp = data.rows["allocation"].eq("emp")
    noise = np.random.default_rng(4).normal(0, 0.001, int(emp.sum()))
    result = judge(changed(data, emp, accuracy=data.rows.loc[emp, "dense_accuracy"] + noise), part)
    assert result.verdict == "supported"
    assert len({r.setting["scorer"] for r in records(result)}) > 5


def test_a_mass_under_its_bound_refutes_it(study, own_sparsities, judge, changed):
    data = own_sparsities(study())
    part = {"estimand": "emp_bound", "where": {"allocation": "emp*"}}
    assert judge(data, part).verdict == "supported"
    first = data.rows.index[data.rows["allocation"].eq("emp") & data.rows["state"].eq("done")][0]
    units = {"conv": {"n_eff": 6.5, "k": 6, "s_eff": 0.6, "bound": 0.7}}
    result = judge(changed(data, first, notes=json.dumps({"emp": units})), part)
    assert result.verdict == "refuted"
    assert sum(r.mismatches for r in records(result)) == 1


@pytest.mark.parametrize(("kept", "verdict"), [(20, "supported"), (3, "refuted")])
def test_a_larger_beta_keeps_no_fewer_units(study, own_sparsities, judge, kept, verdict):
    data = own_sparsities(study())
    more = data.rows[data.rows["allocation"].eq("emp")]
    units = {"conv": {"n_eff": 6.5, "k": kept, "s_eff": 0.9, "bound": None}}
    more = more.assign(allocation="emp(beta=2)", notes=json.dumps({"emp": units}))
    more["cell"] = [f"{cell}2" for cell in more["cell"]]

    both = dataclasses.replace(data, rows=pd.concat([data.rows, more], ignore_index=True))
    part = {"estimand": "emp_beta", "where": {"allocation": "emp*"}, "distinct": {"allocation": 2}}
    assert judge(both, part).verdict == verdict
    assert judge(data, part).verdict == "not testable"


def test_an_over_fit_search_is_found_by_its_notes(fused, judge):
    terms = [{"of": {"scorer": "a5", "search": "dbo"}}]
    part = {"estimand": "combination", "kind": "superiority", "terms": terms, "value": "overfit", "where": PLAIN}
    result = judge(fused(seeds=8), part)
    assert result.verdict == "supported"
    assert {round(r.effect, 6) for r in records(result)} == {0.015}


def test_a_value_that_no_row_has_says_why(study, judge):
    part = {"estimand": "contrast", "kind": "superiority", "axis": "correction", "of": ["asr"], "against": "layerwise",
            "value": "above_dense", "where": REPAIRED}  # fmt: skip
    result = judge(study(), part)
    assert result.verdict == "not testable"
    assert "do not tell the channels' variances" in result.notes[0]
