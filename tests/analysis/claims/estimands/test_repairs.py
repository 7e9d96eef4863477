"""The cancellation identity: corrections that complete recalibration cancels."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

IDENTITY = {"estimand": "repair_identity", "where": {"recalibration": "cumulative"}}


def small(study, **more):
    return study(**{"seeds": 3, "granularities": ("weight",), "allocations": ("global",), "scorers": ("magnitude",),
                    "models": ("cnn",)} | more)  # fmt: skip


@pytest.fixture(scope="module")
def data(study):
    return small(study)


def records(result):
    return [record for part in result.parts for record in part.records]


def cancelled(rows):
    return rows["correction"].eq("asr") & rows["recalibration"].eq("cumulative") & rows["state"].eq("done")


def test_corrections_that_cancel(data, judge):
    result = judge(data, IDENTITY)
    (record,) = records(result)
    assert (result.verdict, result.basis) == ("supported", "by construction")
    assert (record.comparisons, record.mismatches, record.effect) == (
        3 * 3 * 2,
        0,
        0.0,
    )  # corrections, models, sparsities
    assert record.counts["exactly equal"] == 18
    assert record.names == ("fc",)


@pytest.mark.parametrize(("images", "verdict"), [(1, "supported"), (2, "contradicted")])
def test_one_image_is_the_tolerance_of_a_small_test_set(data, judge, changed, images, verdict):
    first = data.rows.index[cancelled(data.rows)][0]
    result = judge(changed(data, first, accuracy=data.rows.loc[first, "accuracy"] + images / 400), IDENTITY)
    assert result.verdict == verdict
    assert records(result)[0].effect == pytest.approx(100 * images / 400)
    assert records(result)[0].tolerance == pytest.approx(0.25)


@pytest.mark.parametrize(("tolerance", "verdict"), [(0.5, "supported"), (0.3, "contradicted")])
def test_the_tolerance_is_in_points(data, judge, changed, tolerance, verdict):
    first = data.rows.index[cancelled(data.rows)][0]
    other = changed(data, first, accuracy=data.rows.loc[first, "accuracy"] + 0.004)
    assert judge(other, IDENTITY | {"tolerance": tolerance}).verdict == verdict


@pytest.mark.parametrize("outside", [{"identity_covered": False}, {"identity_ratio": 1.06}])
def test_cells_outside_the_identity_are_counted_not_judged(data, judge, changed, outside):
    result = judge(changed(data, cancelled(data.rows), accuracy=0.1, **outside), IDENTITY)
    assert result.verdict == "supported"
    assert records(result)[0].counts["outside the identity"] == 6
    assert judge(changed(data, cancelled(data.rows), accuracy=0.1), IDENTITY).verdict == "contradicted"


def test_bfloat16_needs_a_float32_check_of_both_cells(study, judge):
    data = small(study, precision="bfloat16")
    untested = judge(data, IDENTITY)
    assert untested.verdict == "not testable"
    assert "without a float32 check" in untested.parts[0].reason
    block = data.rows[data.rows["recalibration"].eq("cumulative") & data.rows["correction"].isin(["none", "asr"])]
    again = block[["cell", "accuracy"]].assign(kind="float32", mismatches=0)
    checked = dataclasses.replace(data, checks=pd.concat([data.checks, again], ignore_index=True))
    result = judge(checked, IDENTITY)
    assert (result.verdict, records(result)[0].comparisons) == ("supported", 6)


def test_a_network_without_batchnorm_is_no_question(study, judge):
    result = judge(small(study, models=("cnn", "vit")), IDENTITY)
    assert (result.verdict, result.notes) == ("supported", ())
    assert {record.setting["model"] for record in records(result)} == {"cnn"}
    alone = judge(small(study, models=("vit",)), IDENTITY)
    assert alone.verdict == "not testable"
    assert "the model has no BatchNorm" in alone.notes[0]


def test_a_study_without_repairs_cannot_test_it(study, judge):
    result = judge(small(study, repairs=False, recalibrations=("none",)), IDENTITY)
    assert (result.verdict, "recalibration cumulative" in result.notes[0]) == ("not testable", True)
