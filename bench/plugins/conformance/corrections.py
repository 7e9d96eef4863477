"""What every correction must satisfy."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from bench.core.registry import Plugin
from bench.models.masking import apply_masks
from bench.plugins.conformance.cases import REPAIRED_SPARSITY, Bench, BrokenRuleError
from bench.plugins.conformance.trial import (
    Rule,
    Trial,
    changed_tensors,
    expect,
    expect_clean,
    expect_same_build,
    expect_untouched,
)
from bench.repairs.correction import RepairContext
from bench.repairs.statistics import channel_moments


def call_correction(plugin: Plugin, bench: Bench, options: dict[str, Any]) -> tuple[RepairContext, Any]:
    """Return the repaired context and the factors."""
    context = RepairContext(
        model=bench.pruned(), dense=channel_moments(bench.view.model, bench.view.units.layers, bench.calibration),
        units=bench.view.units, masks=bench.masks(REPAIRED_SPARSITY), calibration=bench.calibration,
        dense_model=bench.view.model,
    )  # fmt: skip
    factors = plugin.function(context, **options)
    expect(factors, Mapping, " of factors")
    return context, factors


def _correction_factors(trial: Trial[Bench]) -> None:
    """Return finite positive factors, one for every output channel of a layer."""
    bench, (_, factors) = trial.first
    for name, factor in factors.items():
        if name not in bench.view.units.names:
            raise BrokenRuleError(f"returns factors of {name!r}, which is no prunable layer")
        layer = next(layer for layer in bench.view.units.layers if layer.name == name)
        expected = (layer.channels.channels,)
        if factor.shape != expected:
            raise BrokenRuleError(f"factors of {name} have shape {tuple(factor.shape)}, expected {tuple(expected)}")
        if not bool((factor.isfinite() & (factor > 0)).all()):
            raise BrokenRuleError(f"a factor of {name} is not finite and positive")


def _correction_sound(trial: Trial[Bench]) -> None:
    """Keep what was pruned at zero, the layers as they are and all numbers finite."""
    bench, (context, _) = trial.first
    expect_same_build(trial.case.view.model, context.model)
    again = copy.deepcopy(context.model)
    apply_masks(again, bench.view.units, context.masks)
    back = changed_tensors(context.model, again)
    if back:
        raise BrokenRuleError(f"pruned values of {back[0]} come back")


def _correction_leaves_dense(trial: Trial[Bench]) -> None:
    """Leave the dense model and the draw as they were, and no hooks, gradients or training mode behind."""
    bench, (context, _) = trial.first
    expect_untouched(trial.case, bench)
    expect_clean(context.model, trial.case.view.model)


def _correction_deterministic(trial: Trial[Bench]) -> None:
    """Give the same model twice."""
    (first, _), (second, _) = trial.first[1], trial.again()[1]
    if changed := changed_tensors(first.model, second.model):
        raise BrokenRuleError(f"two calls give different models: {changed[0]}")


#: The rules, in the order in which they are checked.
RULES: tuple[Rule, ...] = (
    _correction_factors, _correction_sound, _correction_leaves_dense, _correction_deterministic,
)  # fmt: skip
