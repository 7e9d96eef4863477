"""The scope of a verdict."""

from __future__ import annotations

import pytest

from analysis.claims.scope import differs_from

from .conftest import CONTRAST, grid, records

CLEAR = [1.0, 1.2, 0.9, 1.1]


def test_columns_that_differ_for_those_that_both_name():
    source = {"dataset": ("cifar*",), "model": ("resnet20", "vgg*")}
    assert differs_from(source, {"dataset": "cifar10", "model": "vgg16", "sparsity": 0.5}) == {}
    assert differs_from(source, {"dataset": "digits", "model": "vgg16"}) == {"dataset": "digits"}
    assert differs_from(source, {"sparsity": 0.5}) == {}
    assert differs_from({}, {"dataset": "digits"}) == {}


@pytest.mark.parametrize(
    ("setting", "scope"),
    [
        ({"dataset": ["digits"]}, "in the paper's setting"), ({"dataset": ["dig*"]}, "in the paper's setting"),
        ({"dataset": ["cifar10"]}, "transfer: digits"), ({"model": ["cnn"]}, "transfer: vit"),
        ({"dataset": ["cifar10"], "model": ["cnn"]}, "transfer: digits, vit"), ({}, ""),
    ],
)  # fmt: skip
def test_scope_of_a_claim(paired, judge, setting, scope):
    result = judge(paired(grid(["cnn", "vit"], [0.5], [CLEAR, CLEAR])), CONTRAST, setting=setting)
    assert result.scope == scope
    assert records(result)[0].in_paper_setting == (scope != "" and "digits" not in scope)


def test_a_mean_is_in_the_papers_setting_only_where_all_its_settings_are(paired, judge):
    data, mean = paired(grid(["cnn", "vit"], [0.5], [CLEAR, CLEAR])), CONTRAST | {"over": "mean"}
    assert judge(data, mean, setting={"model": ["cnn", "vit"]}).scope == "in the paper's setting"
    result = judge(data, mean, setting={"model": ["cnn"]})
    assert (result.scope, records(result)[0].differs) == ("transfer: vit", {"model": "vit"})
    neither = judge(data, mean, setting={"model": ["resnet20"]})
    assert neither.scope == "transfer: cnn and vit"


def test_supporting_parts_have_no_say(paired, judge):
    data = paired(grid(["cnn", "vit"], [0.5], [CLEAR, CLEAR]))
    supporting = CONTRAST | {"role": "supporting", "where": {"model": "vit"}}
    result = judge(data, CONTRAST | {"where": {"model": "cnn"}}, supporting, setting={"model": ["cnn"]})
    assert result.scope == "in the paper's setting"
