"""Rows that a part of a claim is about."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from analysis.claims.select import describe, in_setting, labels, lacking, missing, select

from analysis.claims.schema import Claim, Contrast, Range

PART = {
    "id": "a", "text": "it does", "estimand": "contrast", "kind": "superiority", "of": ["taylor"],
    "against": "magnitude",
}  # fmt: skip


def part(**changes):
    return Contrast.model_validate(PART | changes)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (("asr",), ["asr"]),  # the label itself, not the one with options
        (("dbo",), ["dbo(evaluations=60)"]),
        (("vgg*", "asr"), ["vgg11", "vgg16", "asr"]),
        (("asr", "asr"), ["asr"]),
        (("absent",), []),
        ((0.5,), []),
    ],
)
def test_a_label_means_itself_or_the_same_name_with_options_or_a_pattern(wanted, found):
    column = pd.Series(["vgg11", "asr", "asr(order=sequential)", "dbo(evaluations=60)", "vgg16", None])
    assert labels(column, wanted) == found


def test_rows_meet_every_filter_of_the_part_and_of_the_caller(study):
    rows = study(seeds=2).rows
    found = select(rows, part(where={"granularity": "weight", "allocation": "uniform"}), {"scorer": ("taylor",)})
    expected = rows["granularity"].eq("weight") & rows["allocation"].eq("uniform") & rows["scorer"].eq("taylor")
    assert found.index.tolist() == rows.index[expected].tolist()
    assert not select(rows, part())["scorer"].eq("dense").any()


@pytest.mark.parametrize(
    ("sparsities", "found"),
    [([0.8], {0.8}), (Range(least=0.6, most=0.9), {0.8}), ([0.5, 0.8], {0.5, 0.8}), ([0.7], set())],
)
def test_sparsities_are_named_or_lie_in_a_range(study, sparsities, found):
    assert set(select(study(seeds=2).rows, part(sparsities=sparsities))["sparsity"]) == found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"of": ["wandas"]}, "the study has no cell with scorer wandas"),
        ({"against": "fisher"}, "the study has no cell with scorer fisher"),
        ({"where": {"correction": ["repair", "reconstruct"]}}, "no cell with correction repair or reconstruct"),
        ({"sparsities": [0.7]}, "no cell at sparsity 0.7 that meets the other conditions"),
        ({"sparsities": {"least": 0.6, "most": 0.7}}, "no cell at a sparsity from 0.6 to 0.7 that meets"),
        ({"where": {"scorer": "l2", "granularity": "weight"}}, "no cell that meets all conditions of this part"),
    ],
)
def test_what_a_study_lacks_is_named(study, changes, message):
    assert message in missing(study(seeds=2).rows, part(**changes))


def test_a_part_may_need_several_values_of_a_column(study):
    rows = study(seeds=2).rows
    several = part(distinct={"sparsity": 3})
    assert lacking(rows, several)
    assert not lacking(rows, part(distinct={"sparsity": 2}))
    assert missing(rows, several) == "the study has 2 of the 3 values of sparsity that this needs"


def test_a_setting_is_the_papers_where_both_know_it():
    text = {"id": "M1", "text": "m", "source": "ours", "parts": [PART]}
    claim = Claim.model_validate(text | {"setting": {"dataset": ["cifar*"], "model": ["resnet20", "vgg*"]}})
    assert in_setting(claim, {"dataset": "cifar10", "model": "vgg16"})
    assert in_setting(claim, {"dataset": "cifar10"})
    assert not in_setting(claim, {"dataset": "digits", "model": "vgg16"})
    assert not in_setting(Claim.model_validate(text), {"dataset": "cifar10"})


def test_a_setting_is_described_without_nulls():
    assert describe({"model": "vit", "sparsity": np.float64(0.5), "allocation": None, "draw": pd.NA}) == {
        "model": "vit", "sparsity": 0.5,
    }  # fmt: skip
