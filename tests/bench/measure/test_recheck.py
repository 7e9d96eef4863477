"""Which cells are evaluated again, on a plan with evaluations made up."""

from __future__ import annotations

import random

import pytest

from bench.measure.recheck import CHECKED_SHARE, LEAST_SHARED_CHECKS, cells_to_check
from bench.run.open_study import open_study

COMPLETE = {"cumulative", "exact"}


@pytest.fixture(scope="module")
def cells(tmp_path_factory, write_tiny):
    session = open_study(write_tiny(tmp_path_factory.mktemp("checks") / "tiny"))
    return session.plan.groups[0].cells


def rows_of(cells, evaluations):
    """Rows of which so many evaluations are different."""
    return {cell.id: {"evaluation": str(number % evaluations)} for number, cell in enumerate(cells)}


def test_only_cells_that_share_an_earlier_evaluation_are_checked_as_shared(cells):
    rows = rows_of(cells, 90)
    chosen = list(cells_to_check(cells, rows, 1, "float32", COMPLETE))
    later = {cell.id for cell in cells[90:]}  # every evaluation is first met among the first ninety
    assert {kind for kind, _ in chosen} == {"shared"}
    assert {cell.id for _, cell in chosen} <= later
    assert len(chosen) == min(len(later), LEAST_SHARED_CHECKS)
    assert not list(cells_to_check(cells, rows_of(cells, len(cells)), 1, "float32", COMPLETE))


def test_the_least_number_is_spread_over_the_groups_and_the_share_is_kept(cells):
    def chosen(groups):
        return len(list(cells_to_check(cells, rows_of(cells, 1), groups, "float32", COMPLETE)))

    assert chosen(7) == -(-LEAST_SHARED_CHECKS // 7)
    assert chosen(1000) == max(1, round(CHECKED_SHARE * (len(cells) - 1)))


def test_in_bfloat16_every_cell_of_a_judged_cancellation_is_checked(cells):
    rows = rows_of(cells, len(cells))
    chosen = {cell.id for kind, cell in cells_to_check(cells, rows, 1, "bfloat16", COMPLETE) if kind == "float32"}
    judged = {
        cell.id
        for cell in cells
        if not cell.is_dense and cell.scorer.name == "magnitude" and cell.recalibration.name == "cumulative"
    }  # the scorer with several corrections
    assert judged
    assert judged <= chosen
    assert len(chosen) <= len(judged) + 2


def test_the_choice_does_not_depend_on_the_order_in_which_rows_came(cells):
    rows = rows_of(cells, 90)
    shuffled = list(rows.items())
    random.Random(0).shuffle(shuffled)
    first, second = (
        [(kind, cell.id) for kind, cell in cells_to_check(cells, found, 1, "bfloat16", COMPLETE)]
        for found in (rows, dict(shuffled))
    )
    assert first == second
    assert [cell for _, cell in first] == [cell.id for cell in cells for kind, one in first if one == cell.id]


def test_cells_without_a_row_are_left_out(cells):
    rows = rows_of(cells[:10], 1)
    assert {cell.id for _, cell in cells_to_check(cells, rows, 1, "bfloat16", COMPLETE)} <= set(rows)
