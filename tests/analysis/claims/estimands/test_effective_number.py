"""Effective model pruning: the bound on the kept mass, and its dependence on beta."""

from __future__ import annotations

import dataclasses
import json

import pandas as pd
import pytest

from analysis.claims.estimands.effective_number import beta_of, without_beta

BOUND = {"estimand": "emp_bound", "where": {"allocation": "emp*"}}
BETA = {"estimand": "emp_beta", "where": {"allocation": "emp*"}, "distinct": {"allocation": 2}}


@pytest.fixture(scope="module")
def data(study, own_sparsities):
    return own_sparsities(study(seeds=3, models=("cnn",), granularities=("weight",), scorers=("magnitude", "taylor"),
                                repairs=False, recalibrations=("none",)))  # fmt: skip


def units(**conv):
    return json.dumps({"emp": {"conv": {"n_eff": 6.5, "k": 6, "s_eff": 0.75, "bound": 0.7} | conv}})


def test_a_mass_under_its_bound_contradicts(data, judge, changed):
    result = judge(data, BOUND)
    ((record,),) = (part.records for part in result.parts)
    assert (result.verdict, result.basis) == ("supported", "by construction")
    assert record.comparisons == 6
    assert record.details["least mass above the bound"] == pytest.approx(0.05)
    first = data.rows.index[data.rows["allocation"].eq("emp")][0]
    other = judge(changed(data, first, notes=units(s_eff=0.6)), BOUND)
    assert (other.verdict, sum(r.mismatches for part in other.parts for r in part.records)) == ("contradicted", 1)
    under = {"n_eff": 6.5, "k": 6, "s_eff": 0.6, "bound": 0.7}
    layers = judge(changed(data, first, notes=json.dumps({"emp": {"conv": under, "fc": under}})), BOUND)
    assert [r.mismatches for part in layers.parts for r in part.records] == [1]  # cells are counted, not their layers


@pytest.mark.parametrize(("kept", "verdict"), [(20, "supported"), (3, "contradicted")])
def test_a_larger_beta_keeps_no_fewer_units(data, judge, kept, verdict):
    more = data.rows[data.rows["allocation"].eq("emp")].assign(allocation="emp(beta=2)", notes=units(k=kept))
    more = more.assign(cell=more["cell"] + "2")
    both = dataclasses.replace(data, rows=pd.concat([data.rows, more], ignore_index=True))
    assert judge(both, BETA).verdict == verdict


def test_one_beta_is_not_testable(data, judge):
    result = judge(data, BETA)
    assert (result.verdict, "1 of the 2 values of allocation" in result.notes[0]) == ("not testable", True)


@pytest.mark.parametrize(
    ("label", "beta", "rest"),
    [("emp", 1.0, "emp"), ("emp(beta=0.5)", 0.5, "emp"), ("emp(scope=global, beta=2)", 2.0, "emp(scope=global)")],
)
def test_beta_is_read_from_the_label(label, beta, rest):
    assert (beta_of(label), without_beta(label)) == (beta, rest)
