"""What every recalibration must satisfy."""

from __future__ import annotations

from typing import Any

from torch import nn

from bench.core.registry import Plugin
from bench.plugins.conformance.cases import Bench, BrokenRuleError
from bench.plugins.conformance.trial import (
    Rule,
    Trial,
    changed_tensors,
    expect_clean,
    expect_same_build,
    expect_untouched,
)


def call_recalibration(plugin: Plugin, bench: Bench, options: dict[str, Any]) -> nn.Module:
    """Return the pruned model with new statistics."""
    model = bench.pruned()
    plugin.function(model, bench.calibration, **options)
    return model


def _recalibration_sound(trial: Trial[Bench]) -> None:
    """Change BatchNorm statistics alone, to finite numbers."""
    _, model = trial.first
    before = trial.case.pruned()
    expect_same_build(before, model)
    statistics = {
        f"{name}.{buffer}"
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        for buffer, _ in module.named_buffers()
    }
    for name in changed_tensors(before, model):
        if name not in statistics:
            raise BrokenRuleError(f"changes {name}, which is no BatchNorm statistic")


def _recalibration_deterministic(trial: Trial[Bench]) -> None:
    """Give the same statistics twice."""
    if changed := changed_tensors(trial.first[1], trial.again()[1]):
        raise BrokenRuleError(f"two calls give different statistics: {changed[0]}")


def _recalibration_clean(trial: Trial[Bench]) -> None:
    """Leave the draw as it was, and no hooks, gradients or training mode behind."""
    bench, model = trial.first
    expect_untouched(trial.case, bench)
    expect_clean(model, trial.case.view.model)


#: The rules, in the order in which they are checked.
RULES: tuple[Rule, ...] = (_recalibration_sound, _recalibration_deterministic, _recalibration_clean)
