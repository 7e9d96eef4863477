"""Tests of `bench.run.row_checks`: rows that disagree with their plan or with themselves are found."""

from __future__ import annotations

import pytest

from bench.core.errors import UserError
from bench.run.open_study import open_study
from bench.run.row_checks import check_rows
from bench.store.reader import read_database


@pytest.fixture(scope="module")
def plan(finished_small):
    return open_study(finished_small).plan


@pytest.fixture
def rows(finished_small):
    return read_database(finished_small).rows


def test_rows_as_they_were_run_have_no_problem(rows, plan):
    assert check_rows(rows, plan) == {}


def test_an_altered_accuracy_disagrees_with_its_bits(rows, plan):
    rows.at[5, "accuracy"] += 0.0025
    (found,) = check_rows(rows, plan).items()
    assert found[0] == rows.at[5, "cell"]
    assert "its correctness bits give" in found[1]


def test_damaged_and_missing_bits_are_found(rows, plan):
    rows.at[5, "correct"] = rows.at[5, "correct"][:-1]
    rows.at[6, "correct"] = None
    problems = check_rows(rows, plan)
    assert set(problems) == set(rows.loc[[5, 6], "cell"])
    assert set(problems.values()) == {"has no correctness bits, or damaged ones"}


def test_exchanged_labels_are_found(rows, plan):
    first, second = (rows.index[rows["scorer"].eq(name)][0] for name in ("magnitude", "exp_magnitude"))
    rows.loc[[first, second], "scorer"] = ["exp_magnitude", "magnitude"]
    problems = check_rows(rows, plan)
    assert set(problems) == set(rows.loc[[first, second], "cell"])
    assert problems[rows.at[first, "cell"]] == "scorer is exp_magnitude, in the plan magnitude"


def test_an_altered_number_and_a_null_are_found(rows, plan):
    pruned = rows.index[rows["scorer"].eq("magnitude")]
    rows.loc[pruned[0], "sparsity"] = 0.6
    rows.loc[pruned[1], "allocation"] = None
    assert set(check_rows(rows, plan)) == set(rows.loc[pruned[:2], "cell"])


def test_a_row_that_is_not_in_the_plan_is_found(rows, plan):
    rows.at[5, "cell"] = "f" * 64
    assert check_rows(rows, plan) == {"f" * 64: "is not in the plan of study.yaml"}


def test_rows_of_another_study_are_refused(rows, plan):
    with pytest.raises(UserError, match="none of the rows is in the plan"):
        check_rows(rows.assign(cell="f" * 64), plan)


def test_rows_of_which_none_is_done_are_refused(rows, plan):
    with pytest.raises(UserError, match="no cell is done"):
        check_rows(rows.assign(state="failed"), plan)
