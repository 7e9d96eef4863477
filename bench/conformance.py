"""What every plug-in must satisfy: ``prunebench check``, and a test over the whole catalogue.

Plug-ins are tried on two small untrained networks, one with BatchNorm, one with LayerNorm and
attention, and on real digits.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.data.load import load_dataset
from bench.errors import CellError, NotApplicable, UserError, suggest
from bench.masks.apply import apply_masks
from bench.masks.budget import Budget, keep_count
from bench.masks.build import build_masks
from bench.masks.order import keep_order
from bench.models.build import build_model
from bench.models.checkpoints import state_digest
from bench.models.units import find_units
from bench.models.view import Calibration, ModelView, normalise
from bench.registry import Plugin, Registry
from bench.repairs.correction import RepairContext
from bench.repairs.statistics import channel_moments
from bench.study import DataSpec, ModelSpec
from bench.tensors import MaskSet, ScoreMap

CHECKED_KINDS = ("scorer", "allocation", "correction", "recalibration")
NETWORKS = ("digits_cnn", "digits_vit")
SPARSITIES = (0.5, 0.9)
IMAGES, BATCH = 64, 32
#: Reordering images inside a batch may change a float32 sum by rounding, not more.
ORDER_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Verdict:
    """One check of one plug-in; `problem` is None where it holds."""

    plugin: str
    check: str
    problem: str | None


class _BrokenRuleError(Exception):
    """A rule that does not hold; the message says how."""


@dataclass(frozen=True)
class _Bench:
    """A network at one granularity with a calibration draw."""

    view: ModelView
    calibration: Calibration

    def fresh(self) -> _Bench:
        return _Bench(ModelView(copy.deepcopy(self.view.model), self.view.units), self.calibration)


def check_plugins(registry: Registry, name: str, kind: str | None = None) -> list[Verdict]:
    """Run the conformance suite.

    Parameters
    ----------
    registry : Registry
        Plug-ins of this process.
    name : str
        A plug-in's name or reference, or ``all``.
    kind : str, optional
        Kind of a plug-in whose name is a reference, or that several kinds have; default scorer.

    Raises
    ------
    UserError
        If there is no such plug-in.
    """
    if kind is not None and kind not in CHECKED_KINDS:
        raise UserError(f"no kind {kind!r}: {suggest(kind, CHECKED_KINDS)}")
    if name == "all":
        plugins = [plugin for k in CHECKED_KINDS for plugin in registry.of_kind(k)]
    elif kind is not None or ":" in name:
        plugins = [registry.get(kind or "scorer", name)]
    else:
        plugins = [p for k in CHECKED_KINDS if (p := registry.find(k, name)) is not None]
        if not plugins:
            known = [n for k in CHECKED_KINDS for n in registry.names(k)]
            raise UserError(f"no plug-in named {name!r}: {suggest(name, known)}")
    benches = list(_benches(registry))
    return [verdict for plugin in plugins for verdict in check_plugin(plugin, benches)]


def _benches(registry: Registry) -> Iterator[_Bench]:
    dataset = load_dataset(DataSpec(name="digits"), Path())
    for network in NETWORKS:
        model = build_model(ModelSpec(name=network), registry, dataset, seed=0)
        images = normalise(dataset.calibration.images[:IMAGES], dataset.normalisation, torch.device("cpu"))
        calibration = Calibration(images, dataset.calibration.labels[:IMAGES], BATCH)
        for granularity in ("weight", "channel"):
            units = find_units(model, granularity, ("head",), images[:2])
            yield _Bench(ModelView(model, units), calibration)


def check_plugin(plugin: Plugin, benches: list[_Bench]) -> list[Verdict]:
    """Check one plug-in on every network and granularity; the first problem of each rule is kept."""
    rules = RULES[plugin.kind]
    options = plugin.resolve({}).options
    verdicts = []
    for rule in rules:
        problem, skipped = None, 0
        for bench in benches:
            where = f"{type(bench.view.model).__name__}, {bench.view.granularity}"
            try:
                rule(plugin, dict(options), bench.fresh())
            except NotApplicable as reason:
                skipped += 1
                if not str(reason):
                    problem = f"{where}: skips without a reason"
            except (_BrokenRuleError, CellError) as error:
                problem = f"{where}: {error}"
            except Exception as error:  # a plug-in may raise anything; naming it is this suite's task
                problem = f"{where}: raises {type(error).__name__}: {error}"
            if problem:
                break
        if skipped == len(benches) and problem is None:
            problem = "is not applicable to any of the networks it was tried on: nothing was checked"
        verdicts.append(Verdict(f"{plugin.kind} {plugin.name}", rule.__doc__ or rule.__name__, problem))
    return verdicts


Rule = Callable[[Plugin, dict[str, Any], _Bench], None]


def _score(plugin: Plugin, options: dict[str, Any], bench: _Bench, calibration: Calibration | None = None) -> ScoreMap:
    if bench.view.granularity not in plugin.granularities:
        raise NotApplicable(f"defined for {plugin.granularities}")
    generator = torch.Generator().manual_seed(7)
    scores: ScoreMap = plugin.function(bench.view, calibration or bench.calibration, generator, **options)
    if not isinstance(scores, ScoreMap):
        raise _BrokenRuleError(f"returns {type(scores).__name__}, not a ScoreMap")
    return scores


def _scores_valid(plugin: Plugin, options: dict[str, Any], bench: _Bench) -> None:
    """Return a finite float64 score for every unit."""
    _score(plugin, options, bench).validate(bench.view.units)


def _scores_deterministic(plugin: Plugin, options: dict[str, Any], bench: _Bench) -> None:
    """Return the same scores for the same seed."""
    first, second = _score(plugin, options, bench), _score(plugin, options, bench)
    for name in bench.view.units.names:
        if not torch.equal(first[name], second[name]):
            raise _BrokenRuleError(f"two calls with one seed differ in {name}")


def _scores_leave_model(plugin: Plugin, options: dict[str, Any], bench: _Bench) -> None:
    """Leave weights, buffers, gradients and modes of the model as they were."""
    model = bench.view.model
    before, flags = _fingerprint(model), [p.requires_grad for p in model.parameters()]
    _score(plugin, options, bench)
    if _fingerprint(model) != before:
        raise _BrokenRuleError("changes the model")
    if any(p.grad is not None for p in model.parameters()):
        raise _BrokenRuleError("leaves gradients on the model")
    if [p.requires_grad for p in model.parameters()] != flags:
        raise _BrokenRuleError("changes requires_grad")


def _scores_ignore_order(plugin: Plugin, options: dict[str, Any], bench: _Bench) -> None:
    """Ignore the order of the images inside a batch, but for rounding."""
    draw = bench.calibration
    order = torch.cat([i.flip(0) for i in torch.split(torch.arange(len(draw)), draw.batch)])
    flipped = Calibration(draw.images[order], draw.labels[order], draw.batch)
    first, second = _score(plugin, options, bench), _score(plugin, options, bench, flipped)
    for name in bench.view.units.names:
        scale = first[name].abs().max().clamp_min(1e-300)
        if float((first[name] - second[name]).abs().max() / scale) > ORDER_TOLERANCE:
            raise _BrokenRuleError(f"the order of images inside a batch changes the scores of {name}")


def _scores_give_exact_masks(plugin: Plugin, options: dict[str, Any], bench: _Bench) -> None:
    """Give masks that keep exactly the budget at sparsities 0.5 and 0.9."""
    units = bench.view.units
    order = keep_order(units, _score(plugin, options, bench), bench.view.magnitudes())
    for sparsity in SPARSITIES:
        keep = keep_count(units.total, sparsity)
        everything = Budget(torch.zeros(units.total, dtype=torch.int64), torch.tensor([keep]))
        if (kept := build_masks(units, order, everything).kept) != keep:
            raise _BrokenRuleError(f"keeps {kept} of {units.total} units at sparsity {sparsity}, expected {keep}")


def _magnitude_masks(bench: _Bench, sparsity: float) -> MaskSet:
    """Global magnitude masks, to try repairs on."""
    units, magnitudes = bench.view.units, bench.view.magnitudes()
    order = keep_order(units, ScoreMap(magnitudes), magnitudes)
    keep = torch.tensor([keep_count(units.total, sparsity)])
    return build_masks(units, order, Budget(torch.zeros(units.total, dtype=torch.int64), keep))


def _allocation_exact(plugin: Plugin, options: dict[str, Any], bench: _Bench) -> None:
    """Keep exactly the units that it asks for, and the same ones twice."""
    if bench.view.granularity not in plugin.granularities:
        raise NotApplicable(f"defined for {plugin.granularities}")
    units, scores = bench.view.units, ScoreMap(bench.view.magnitudes())
    order = keep_order(units, scores, scores.scores)
    for sparsity in SPARSITIES:
        budgets = [plugin.function(units, scores, sparsity, bench.view, **options) for _ in range(2)]
        first, second = (build_masks(units, order, budget) for budget in budgets)
        if first.kept != int(budgets[0].keep.sum()):
            raise _BrokenRuleError(f"keeps {first.kept} units, asked for {int(budgets[0].keep.sum())}")
        if first.digest() != second.digest():
            raise _BrokenRuleError("two calls give different masks")


def _corrected(plugin: Plugin, options: dict[str, Any], bench: _Bench) -> tuple[RepairContext, dict[str, Tensor]]:
    masks = _magnitude_masks(bench, 0.8)
    pruned = copy.deepcopy(bench.view.model)
    apply_masks(pruned, bench.view.units, masks)
    context = RepairContext(
        model=pruned, dense=channel_moments(bench.view.model, bench.view.units.names, bench.calibration),
        units=bench.view.units, masks=masks, calibration=bench.calibration, dense_model=bench.view.model,
    )  # fmt: skip
    return context, plugin.function(context, **options)


def _correction_sound(plugin: Plugin, options: dict[str, Any], bench: _Bench) -> None:
    """Give finite positive factors, keep pruned weights at zero and the dense model as it was."""
    before = _fingerprint(bench.view.model)
    context, factors = _corrected(plugin, options, bench)
    if _fingerprint(bench.view.model) != before:
        raise _BrokenRuleError("changes the dense model")
    for name, factor in factors.items():
        if not bool((factor.isfinite() & (factor > 0)).all()):
            raise _BrokenRuleError(f"a factor of {name} is not finite and positive")
    for name in context.units.names:
        weight = context.model.get_submodule(name).get_parameter("weight")
        if not bool(weight.isfinite().all()):
            raise _BrokenRuleError(f"weights of {name} are not finite")
        if bool(weight[~context.masks[name]].any()):
            raise _BrokenRuleError(f"pruned weights of {name} come back")


def _correction_deterministic(plugin: Plugin, options: dict[str, Any], bench: _Bench) -> None:
    """Give the same model twice."""
    (first, _), (second, _) = _corrected(plugin, options, bench), _corrected(plugin, options, bench)
    if _fingerprint(first.model) != _fingerprint(second.model):
        raise _BrokenRuleError("two calls give different models")


def _recalibration_sound(plugin: Plugin, options: dict[str, Any], bench: _Bench) -> None:
    """Change BatchNorm statistics alone, the same way twice, and restore the mode."""
    models = [copy.deepcopy(bench.view.model) for _ in range(2)]
    for model in models:
        plugin.function(model, bench.calibration, **options)
    if _fingerprint(models[0]) != _fingerprint(models[1]):
        raise _BrokenRuleError("two calls give different statistics")
    if any(module.training for module in models[0].modules()):
        raise _BrokenRuleError("leaves the model in training mode")
    for (name, after), before in zip(models[0].named_parameters(), bench.view.model.parameters(), strict=True):
        if not torch.equal(after, before):
            raise _BrokenRuleError(f"changes the parameter {name}")


def _fingerprint(model: nn.Module) -> tuple[str, tuple[bool, ...]]:
    return state_digest(model.state_dict()), tuple(module.training for module in model.modules())


RULES: dict[str, tuple[Rule, ...]] = {
    "scorer": (
        _scores_valid, _scores_deterministic, _scores_leave_model, _scores_ignore_order, _scores_give_exact_masks,
    ),
    "allocation": (_allocation_exact,),
    "correction": (_correction_sound, _correction_deterministic),
    "recalibration": (_recalibration_sound,),
}  # fmt: skip
