"""What every search of fusion weights must satisfy."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.core.registry import Plugin
from bench.plugins.conformance.cases import BrokenRuleError, Hill
from bench.plugins.conformance.trial import SEED, Rule, Trial, expect, expect_plain
from bench.scorers.search.fusion import HIGHEST, LOWEST, Found


def call_search(plugin: Plugin, hill: Hill, options: dict[str, Any]) -> Found:
    """Return the weights that the search finds."""
    found: Found = plugin.function(hill.height, hill.dimensions, np.random.default_rng(SEED), **options)
    expect(found, Found)
    return found


def _search_within_budget(trial: Trial[Hill]) -> None:
    """Evaluate no more candidates than the budget allows, and count them."""
    hill, found = trial.first
    spent = sum(len(batch) for batch in hill.evaluated)
    if spent > hill.evaluations:
        raise BrokenRuleError(f"evaluates {spent} candidates with a budget of {hill.evaluations}")
    if found.evaluations != spent:
        raise BrokenRuleError(f"reports that it evaluated {found.evaluations} candidates; they were {spent}")


def _search_in_box(trial: Trial[Hill]) -> None:
    """Stay inside the box [-1, 1]^K."""
    hill, found = trial.first
    for candidates in (*hill.evaluated, np.array(found.weights)):
        if not ((candidates >= LOWEST) & (candidates <= HIGHEST)).all():
            raise BrokenRuleError(f"leaves the box: weights from {candidates.min():g} to {candidates.max():g}")


def _search_honest(trial: Trial[Hill]) -> None:
    """Return one weight per feature and the value that was found there."""
    hill, found = trial.first
    if np.shape(found.weights) != (hill.dimensions,):
        raise BrokenRuleError(f"returns weights of shape {np.shape(found.weights)}, expected ({hill.dimensions},)")
    seen = np.concatenate([np.empty((0, hill.dimensions)), *hill.evaluated])
    if not (seen == np.array(found.weights)).all(axis=1).any():
        raise BrokenRuleError("returns weights that it never evaluated")
    value = float(hill.copy().height(np.array([found.weights]))[0])
    if found.value != value:
        raise BrokenRuleError(f"returns the value {found.value}; the objective is {value} at its weights")
    expect_plain(vars(found), "its")


def _search_deterministic(trial: Trial[Hill]) -> None:
    """Find the same weights for the same seed."""
    if trial.first[1] != trial.again()[1]:
        raise BrokenRuleError("two calls with one seed differ")


#: The rules, in the order in which they are checked.
RULES: tuple[Rule, ...] = (_search_within_budget, _search_in_box, _search_honest, _search_deterministic)
