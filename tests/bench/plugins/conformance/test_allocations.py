"""What the suite reports of broken allocations."""

from __future__ import annotations

import pytest
import torch

from bench.masks.allocation import global_
from bench.masks.budget import Budget
from bench.masks.emp import emp


def good_allocation(units, scores, sparsity, view):
    return global_(units, scores, sparsity, view)


def good_own_sparsity(units, scores, sparsity: None, view):
    assert sparsity is None
    return global_(units, scores, 0.37, view)


def emp_spread_uniformly(units, scores, sparsity: None, view):
    return emp(units, scores, sparsity, view, spread="uniform")


def keeps_too_few(units, scores, sparsity, view):
    return global_(units, scores, sparsity + 0.05, view)


def ignores_sparsity(units, scores, sparsity, view):
    return global_(units, scores, 0.5, view)


def random_allocation(units, scores, sparsity, view):
    keep = global_(units, scores, sparsity, view).keep
    return Budget((torch.rand(units.total) > 0.5).long(), torch.stack([keep[0] * 0, keep[0] * 0 + 1]) + keep * 0)


def shuffled_allocation(units, scores, sparsity, view):
    everything = global_(units, scores, sparsity, view)
    half = torch.randperm(units.total) % 2  # the best units are found elsewhere each time
    return Budget(half, torch.stack([everything.keep[0] // 2, everything.keep[0] - everything.keep[0] // 2]))


def short_segments(units, scores, sparsity, view):
    everything = global_(units, scores, sparsity, view)
    return Budget(everything.segment[1:], everything.keep)


def over_full(units, scores, sparsity, view):
    return Budget(torch.zeros(units.total, dtype=torch.int64), torch.tensor([units.total + 1]))


def normalises_scores(units, scores, sparsity, view):
    for score in scores.values():
        score /= score.max()
    return global_(units, scores, sparsity, view)


def returns_count(units, scores, sparsity, view):
    return 7


def needs_a_sparsity_after_all(units, scores, sparsity: None, view):
    return global_(units, scores, sparsity, view)


EXACT = "Keep the share of units that the sparsity sets"
BROKEN = [
    (keeps_too_few, EXACT, "DigitsCNN, weight, sparsity 0.5: keeps 27022 of 60048 units in 1 segments"),
    (ignores_sparsity, EXACT, "sparsity 0.9: keeps 30024 of 60048 units in 1 segments, expected 6005"),
    (random_allocation, EXACT, "keeps 1 of 60048 units"),
    (shuffled_allocation, "same budget twice", "two calls give different budgets"),
    (short_segments, EXACT, "gives segments of shape (60047,), expected (60048,)"),
    (over_full, EXACT, "budget keeps [60049]"),
    (normalises_scores, "Leave the scores", "changes the scores that it is given"),
    (returns_count, EXACT, "returns int, not a Budget"),
    (needs_a_sparsity_after_all, EXACT, "needs a sparsity in [0, 1), not None"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "check", "problem"), BROKEN)
def test_a_broken_allocation_is_named_with_what_it_broke(problems_of, function, check, problem):
    [how] = [how for what, how in problems_of("allocation", function).items() if check in what]
    assert problem in how


def test_a_broken_allocation_breaks_no_other_rule(problems_of):
    [problem] = problems_of("allocation", shuffled_allocation).values()
    assert "two calls give different budgets" in problem


@pytest.mark.parametrize("function", [good_allocation, good_own_sparsity, emp_spread_uniformly])
def test_a_good_allocation_of_a_user_passes(problems_of, function):
    assert problems_of("allocation", function) == {}
