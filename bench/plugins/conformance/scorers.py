"""What every scorer must satisfy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bench.core.registry import Plugin
from bench.masks.budget import Budget
from bench.masks.build import build_masks
from bench.masks.order import keep_order
from bench.models.counts import keep_count
from bench.models.tensors import FeatureMap, ScoreMap
from bench.models.view import Calibration
from bench.plugins.conformance.cases import SPARSITIES, Bench, BrokenRuleError
from bench.plugins.conformance.trial import (
    SEED,
    Rule,
    Trial,
    expect,
    expect_defined,
    expect_plain,
    expect_untouched,
    same,
)

#: Reordering images inside a batch may change a float32 sum by rounding, not more.
ORDER_TOLERANCE = 1e-3


def call_scorer(plugin: Plugin, bench: Bench, options: dict[str, Any]) -> ScoreMap | FeatureMap:
    """Return the scores of a bench's units."""
    expect_defined(plugin, bench)
    target = (bench.sparsity,) if plugin.takes_sparsity else ()
    generator = torch.Generator().manual_seed(SEED)
    scores: ScoreMap | FeatureMap = plugin.function(bench.view, bench.calibration, generator, *target, **options)
    hint = "; annotate the function with `-> FeatureMap`" if isinstance(scores, FeatureMap) else ""
    expect(scores, FeatureMap if plugin.fuses_features else ScoreMap, hint)
    return scores


def _values(scores: ScoreMap | FeatureMap) -> Mapping[str, Tensor]:
    return scores.features if isinstance(scores, FeatureMap) else scores.scores


def _scores_valid(trial: Trial[Bench]) -> None:
    """Return a finite float64 score, or one of every feature, for every unit."""
    bench, scores = trial.first
    if isinstance(scores, FeatureMap) and len(set(scores.names)) != max(1, len(scores.names)):
        raise BrokenRuleError(f"names its features {scores.names}: expected one distinct name each")
    scores = scores.ranked(bench.view.units)
    for name, values in _values(scores).items():
        if values.requires_grad:
            raise BrokenRuleError(f"scores of {name} still require gradients; detach them")
    expect_plain(scores.notes, "the note")


def _scores_deterministic(trial: Trial[Bench]) -> None:
    """Return the same scores for the same seed."""
    first, second = _values(trial.first[1]), _values(trial.again()[1])
    for name in first:
        if not same(first[name], second[name]):
            raise BrokenRuleError(f"two calls with one seed differ in {name}")


def _scores_leave_model(trial: Trial[Bench]) -> None:
    """Leave weights, buffers, gradients, modes and hooks of the model, and the draw, as they were."""
    expect_untouched(trial.case, trial.first[0])


def _scores_ignore_order(trial: Trial[Bench]) -> None:
    """Ignore the order of the images inside a batch, but for rounding."""
    draw = trial.case.calibration
    order = torch.cat([i.flip(0) for i in torch.split(torch.arange(len(draw)), draw.batch)])
    flipped = replace(trial.case, calibration=Calibration(draw.images[order], draw.labels[order], draw.batch))
    first, second = _values(trial.first[1]), _values(trial.call(flipped, seed=1)[1])
    for name in first:
        scale = first[name].abs().max().clamp_min(1e-300)
        if float((first[name] - second[name]).abs().max() / scale) > ORDER_TOLERANCE:
            raise BrokenRuleError(f"the order of images inside a batch changes the scores of {name}")


def _scores_give_exact_masks(trial: Trial[Bench]) -> None:
    """Give masks that keep exactly the budget at sparsities 0.5 and 0.9."""
    bench, scores = trial.first
    if isinstance(scores, FeatureMap):
        scores = scores.fuse((1.0,) * len(scores.names))
    units, scores = bench.view.units.ranked, scores.ranked(bench.view.units)
    order = keep_order(units, scores, trial.case.scores)
    for sparsity in SPARSITIES:
        keep = keep_count(units.total, sparsity)
        everything = Budget(torch.zeros(units.total, dtype=torch.int64), torch.tensor([keep]))
        if (kept := build_masks(units, order, everything).kept) != keep:
            raise BrokenRuleError(f"keeps {kept} of {units.total} units at sparsity {sparsity}, expected {keep}")


#: The rules, in the order in which they are checked.
RULES: tuple[Rule, ...] = (
    _scores_valid, _scores_deterministic, _scores_leave_model, _scores_ignore_order, _scores_give_exact_masks,
)  # fmt: skip
