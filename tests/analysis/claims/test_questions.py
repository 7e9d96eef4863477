"""Questions: which of them arise, and what their records count."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.claims.arms import Sample
from analysis.claims.questions import Question, left_out, open_record, summed_counts, unfinished
from analysis.claims.records import Record

from .conftest import CONTRAST


@pytest.mark.parametrize(
    ("category", "counts", "void"),
    [
        ("no data", {}, True), ("no data", {"skipped": 3}, True), ("no data", {"failed": 1}, False),
        ("no data", {"failed: NaN scores": 1}, False), ("no data", {"to do": 2}, False), ("too few points", {}, True),
        ("regular", {}, False), ("one model", {}, False),
    ],
)  # fmt: skip
def test_a_question_without_data_is_void_unless_cells_were_lost(category, counts, void):
    record = Record(
        part="a", kind="superiority", estimand="e", setting={"dataset": "digits", "model": "cnn"}, n=0,
        category=category, counts=counts,
    )  # fmt: skip
    question = Question(record)
    assert question.void == void
    assert question.stratum == "digits: cnn"


def test_the_place_of_a_question_does_not_depend_on_the_order_of_columns():
    first, second = (
        Record(part="a", kind="superiority", estimand="e", setting=setting, n=n)
        for n, setting in ((10, {"model": "cnn", "sparsity": 0.5}), (20, {"sparsity": 0.5, "model": "cnn"}))
    )
    assert Question(first).key == Question(second).key


def test_fields_of_every_record(part):
    sample = Sample({"model": "cnn"}, pd.Series([1.0, 2.0]), "mean of x", {"failed": 1}, 400.0, "identical masks")
    own = part(**CONTRAST, planned_d=0.5, role="supporting", over="some")
    record = Record(**open_record(own, sample, 5))
    assert (record.role, record.over, record.planned_d, record.n, record.descriptive) == (
        "supporting",
        "some",
        0.5,
        5,
        True,
    )
    assert (record.estimand, record.counts, record.by_construction) == ("mean of x", {"failed": 1}, "identical masks")
    assert not Record(**open_record(own, sample, 6)).descriptive


def test_counts():
    index = pd.MultiIndex.from_product([["a", "b", "c"], [0.5, 0.8]], names=["checkpoint", "point"])
    sample = Sample({}, pd.Series(range(6), index=index), "", {"failed": 1})
    assert left_out(sample, 2) == {"failed": 1, "models without every point": 1}
    assert left_out(sample, 3) == {"failed": 1}
    assert summed_counts([sample, sample, Sample({}, pd.Series(), "", {"to do": 2})]) == {"failed": 2, "to do": 2}
    assert unfinished({"failed": 1, "to do": 2, "skipped": 4, "without a partner": 8}) == 3
