"""What every allocation must satisfy."""

from __future__ import annotations

from typing import Any

from bench.core.registry import Plugin
from bench.masks.budget import Budget
from bench.masks.build import build_masks
from bench.masks.order import keep_order
from bench.models.counts import keep_count
from bench.plugins.conformance.cases import Bench, BrokenRuleError
from bench.plugins.conformance.trial import Rule, Trial, expect, expect_defined, expect_plain, expect_untouched, same


def call_allocation(plugin: Plugin, bench: Bench, options: dict[str, Any]) -> Budget:
    """Return the budget of a bench."""
    expect_defined(plugin, bench)
    budget: Budget = plugin.function(bench.view.units.ranked, bench.scores, bench.sparsity, bench.view, **options)
    expect(budget, Budget)
    return budget


def _allocation_exact(trial: Trial[Bench]) -> None:
    """Keep the share of units that the sparsity sets, up to rounding in each segment, and exactly the budget."""
    bench, budget = trial.first
    units, requested = bench.view.units.ranked, int(budget.keep.sum())
    if tuple(budget.segment.shape) != (units.total,):
        raise BrokenRuleError(f"gives segments of shape {tuple(budget.segment.shape)}, expected ({units.total},)")
    if bench.sparsity is not None and abs(requested - (expected := keep_count(units.total, bench.sparsity))) > len(
        budget.keep
    ):
        raise BrokenRuleError(
            f"keeps {requested} of {units.total} units in {len(budget.keep)} segments, expected {expected}"
        )
    if (kept := build_masks(units, keep_order(units, trial.case.scores, trial.case.scores), budget).kept) != requested:
        raise BrokenRuleError(f"keeps {kept} units, its budget is {requested}")
    expect_plain(budget.notes, "the note")


def _allocation_deterministic(trial: Trial[Bench]) -> None:
    """Give the same budget twice."""
    first, second = trial.first[1], trial.again()[1]
    if not (same(first.segment, second.segment) and same(first.keep, second.keep)):
        raise BrokenRuleError("two calls give different budgets")


def _allocation_leaves_scores(trial: Trial[Bench]) -> None:
    """Leave the scores and the model as they were."""
    expect_untouched(trial.case, trial.first[0])


#: The rules, in the order in which they are checked.
RULES: tuple[Rule, ...] = (_allocation_exact, _allocation_deterministic, _allocation_leaves_scores)
