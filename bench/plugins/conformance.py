"""What every plug-in must satisfy: ``prunebench check``, and a test over the whole catalogue.

Plug-ins are tried on two small untrained networks, one with BatchNorm, one with LayerNorm and
attention, and on real digits; searches on a smooth function with steps, as accuracies have.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.core.errors import CellError, NotApplicable, UserError, suggest
from bench.core.identity import canonical_json
from bench.core.registry import Plugin, Registry
from bench.data.load import load_dataset
from bench.masks.budget import Budget
from bench.masks.build import build_masks
from bench.masks.order import keep_order
from bench.models.build import build_model, seeded
from bench.models.counts import keep_count
from bench.models.masking import apply_masks
from bench.models.tensors import FeatureMap, MaskSet, ScoreMap
from bench.models.unchanged import left_behind, marks
from bench.models.units import find_units
from bench.models.view import Calibration, ModelView, normalise
from bench.repairs.correction import RepairContext
from bench.repairs.statistics import channel_moments
from bench.scorers.search.fusion import HIGHEST, LOWEST, Found
from bench.study.spec import DataSpec, ModelSpec

CHECKED_KINDS = ("scorer", "search", "allocation", "correction", "recalibration")
NETWORKS = ("digits_cnn", "digits_vit")
SPARSITIES = (0.5, 0.9)
#: Sparsity of the masks that repairs are tried on.
REPAIRED_SPARSITY = 0.8
IMAGES, BATCH = 64, 32
#: Fusion weights and budgets that searches are tried with.
DIMENSIONS, EVALUATIONS = (2, 6), (1, 7, 60, 600)
#: Reordering images inside a batch may change a float32 sum by rounding, not more.
ORDER_TOLERANCE = 1e-3
SEED = 7


@dataclass(frozen=True)
class Verdict:
    """One check of one plug-in; `problem` is None where it holds."""

    plugin: str
    check: str
    problem: str | None


class _BrokenRuleError(Exception):
    """A rule that does not hold; the message says how."""


# ---------------------------------------------------------------- what plug-ins are tried on


@dataclass(frozen=True)
class Bench:
    """What a plug-in is tried on.

    Attributes
    ----------
    view : ModelView
        A network at one granularity.
    scores : ScoreMap
        Its magnitudes.
    calibration : Calibration
        A draw.
    sparsity : float or None
        What is asked for.
    """

    view: ModelView
    scores: ScoreMap
    calibration: Calibration
    sparsity: float | None = None

    def __str__(self) -> str:
        where = f"{type(self.view.model).__name__}, {self.view.granularity}"
        return where if self.sparsity is None else f"{where}, sparsity {self.sparsity}"

    def copy(self) -> Bench:
        """Return a copy for one call, so that no call sees what another one did."""
        return replace(
            self, view=ModelView(copy.deepcopy(self.view.model), self.view.units),
            scores=copy.deepcopy(self.scores), calibration=copy.deepcopy(self.calibration),
        )  # fmt: skip

    def masks(self, sparsity: float) -> MaskSet:
        """Global magnitude masks."""
        units = self.view.units
        keep = torch.tensor([keep_count(units.total, sparsity)])
        everything = Budget(torch.zeros(units.total, dtype=torch.int64), keep)
        return build_masks(units, keep_order(units, self.scores, self.scores), everything)

    def pruned(self) -> nn.Module:
        """Return a copy of the model with the masks of `REPAIRED_SPARSITY`."""
        model = copy.deepcopy(self.view.model)
        apply_masks(model, self.view.units, self.masks(REPAIRED_SPARSITY))
        return model


@dataclass(frozen=True)
class _Hill:
    """What a search climbs; it notes what it is asked."""

    dimensions: int
    evaluations: int
    asked: list[NDArray[np.float64]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.dimensions} weights, {self.evaluations} evaluations"

    def copy(self) -> _Hill:
        return _Hill(self.dimensions, self.evaluations)

    def height(self, candidates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Fall off from 0.3 in every direction, in steps of 1/400: shape ``(n, K)`` to ``(n,)``."""
        if np.shape(candidates)[1:] != (self.dimensions,):
            raise _BrokenRuleError(
                f"asks for an array of shape {np.shape(candidates)}, expected (n, {self.dimensions})"
            )
        self.asked.append(np.array(candidates))
        heights: NDArray[np.float64] = np.round(400 * (1 - ((candidates - 0.3) ** 2).mean(axis=1))) / 400
        return heights


def make_benches(registry: Registry) -> list[Bench]:
    """Build the networks that plug-ins are tried on, each at both granularities."""
    benches = []
    dataset = load_dataset(DataSpec(name="digits"), Path())
    for network in NETWORKS:
        model = build_model(ModelSpec(name=network), registry, dataset, seed=0)
        images = normalise(dataset.calibration.images[:IMAGES], dataset.normalisation, torch.device("cpu"))
        calibration = Calibration(images, dataset.calibration.labels[:IMAGES], BATCH)
        for granularity in ("weight", "channel"):
            view = ModelView(model, find_units(model, granularity, ("head",), images[:2]))
            benches.append(Bench(view, ScoreMap(view.magnitudes()), calibration))
    return benches


def _takes_budget(plugin: Plugin) -> bool:
    return "evaluations" in plugin.options_model().model_fields


def _cases(plugin: Plugin, benches: list[Bench]) -> list[Bench] | list[_Hill]:
    if plugin.kind == "search":
        # without that option a search has a budget of one, and so its rows say
        budgets = EVALUATIONS if _takes_budget(plugin) else (1,)
        return [_Hill(dimensions, budget) for dimensions in DIMENSIONS for budget in budgets]
    sparsities: tuple[float | None, ...] = (None,)
    if plugin.kind == "allocation" and not plugin.sets_sparsity:
        sparsities = SPARSITIES
    elif plugin.kind == "scorer" and plugin.takes_sparsity:
        sparsities = (*SPARSITIES, None)  # None where the allocation sets it: an answer or an honest skip
    return [replace(bench, sparsity=sparsity) for bench in benches for sparsity in sparsities]


# ---------------------------------------------------------------- the suite


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
        raise UserError(f"no kind {kind!r}: {suggest(kind, (*CHECKED_KINDS, 'model'))}")
    known = [plugin for k in CHECKED_KINDS for plugin in registry.of_kind(k)]
    if kind is not None:
        plugins = [registry.get(kind, name)]
    else:
        plugins = known if name == "all" else [plugin for plugin in known if plugin.name == name]
    if not plugins and ":" in name:
        plugins = [registry.get("scorer", name)]
    if not plugins:
        raise UserError(f"no plug-in named {name!r}: {suggest(name, [plugin.name for plugin in known])}")
    benches = make_benches(registry)
    return [
        verdict
        for plugin in plugins
        if (plugin.kind, plugin.name) != ("search", "none")  # never called
        for verdict in check_plugin(plugin, benches)
    ]


class _Copied(Protocol):
    """What a plug-in is tried on can be copied."""

    def copy(self) -> Self: ...


Case = TypeVar("Case", bound=_Copied)


class _Trial(Generic[Case]):
    """A plug-in on one case. Every call gets a copy of the case; rules that need only one call share the first."""

    def __init__(self, plugin: Plugin, case: Case) -> None:
        self.plugin, self.case = plugin, case
        given = dict(plugin.details.get("example", {}))  # of options without a default
        if isinstance(case, _Hill) and _takes_budget(plugin):
            given["evaluations"] = case.evaluations
        self._options = plugin.resolve(given).options

    def call(self, case: Case, seed: int) -> tuple[Case, Any]:
        """Return the copy of `case` that the plug-in was given, and what it returned.

        A plug-in's random numbers come from its generator: `seed` seeds all other sources and must not matter.
        """
        own = case.copy()
        with _global_seeds(seed):
            return own, CALLS[self.plugin.kind](self.plugin, own, dict(self._options))

    @cached_property
    def first(self) -> tuple[Case, Any]:
        return self.call(self.case, seed=1)

    def again(self) -> tuple[Case, Any]:
        return self.call(self.case, seed=2)


def check_plugin(plugin: Plugin, benches: list[Bench]) -> list[Verdict]:
    """Check one plug-in on every bench (a search on functions); the first problem of each rule is kept."""
    title = f"{plugin.kind} {plugin.name}"
    try:
        trials: list[_Trial[Any]] = [_Trial(plugin, case) for case in _cases(plugin, benches)]
    except UserError as error:
        return [Verdict(title, "Have options that can be read, each with a default", str(error))]
    return [Verdict(title, str(rule.__doc__).rstrip("."), _problem(rule, trials)) for rule in RULES[plugin.kind]]


def _problem(rule: Rule, trials: list[_Trial[Any]]) -> str | None:
    skipped = 0
    for trial in trials:
        try:
            rule(trial)
        except NotApplicable as reason:
            skipped += 1
            if not str(reason):
                return f"{trial.case}: skips without a reason"
        except (_BrokenRuleError, CellError) as error:
            return f"{trial.case}: {error}"
        except (Exception, SystemExit) as error:  # a plug-in may raise anything; naming it is this suite's task
            return f"{trial.case}: raises {type(error).__name__}: {' '.join(str(error).split())}"
    if skipped == len(trials):
        return "is not applicable to any of the networks it was tried on: nothing was checked"
    return None


@contextmanager
def _global_seeds(seed: int) -> Iterator[None]:
    """Seed the random states that belong to nobody inside a ``with`` block, and restore them after it."""
    python, legacy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        with seeded(seed):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)


Rule = Callable[[_Trial[Any]], None]


# ---------------------------------------------------------------- what several kinds share


def _defined(plugin: Plugin, bench: Bench) -> None:
    if bench.view.granularity not in plugin.granularities:
        raise NotApplicable(f"defined for {plugin.granularities}")


def _expect(result: object, kind: type, hint: str = "") -> None:
    if not isinstance(result, kind):
        raise _BrokenRuleError(f"returns {type(result).__name__}, not a {kind.__name__}{hint}")


def _expect_plain(values: Mapping[str, object], what: str) -> None:
    """Refuse what cannot be stored in a row."""
    for name, value in values.items():
        try:
            canonical_json(value)
        except (TypeError, ValueError) as error:
            raise _BrokenRuleError(f"{what} {name!r} cannot be stored: {error}") from error


def _same(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors are equal; a NaN equals a NaN."""
    return first.shape == second.shape and torch.allclose(first, second, rtol=0, atol=0, equal_nan=True)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _changed(before: nn.Module, after: nn.Module) -> list[str]:
    """Names of the parameters and buffers that differ."""
    first, second = _tensors(before), _tensors(after)
    return [
        name for name in first | second if name not in first.keys() & second or not _same(first[name], second[name])
    ]


def _expect_untouched(before: Bench, after: Bench) -> None:
    """Compare a bench that a plug-in was given with the original."""
    model, original = after.view.model, before.view.model
    changed = _changed(original, model)
    if changed:
        raise _BrokenRuleError(f"changes the model: {changed[0]}")
    if [p.requires_grad for p in model.parameters()] != [p.requires_grad for p in original.parameters()]:
        raise _BrokenRuleError("changes requires_grad")
    _expect_tidy(model, original)
    first, second = before.calibration, after.calibration
    if not (_same(first.images, second.images) and _same(first.labels, second.labels)):
        raise _BrokenRuleError("changes the calibration draw")
    if not all(_same(score, after.scores[name]) for name, score in before.scores.items()):
        raise _BrokenRuleError("changes the scores that it is given")


def _expect_tidy(model: nn.Module, original: nn.Module) -> None:
    left = left_behind(model, marks(original))
    if left is not None:
        raise _BrokenRuleError(left)


def _expect_same_build(before: nn.Module, after: nn.Module) -> None:
    """Refuse other tensors than before: the model takes the next cell's weights in."""
    shapes = [{name: (tensor.shape, tensor.dtype) for name, tensor in _tensors(m).items()} for m in (before, after)]
    different = dict(shapes[0].items() ^ shapes[1].items())
    if different:
        raise _BrokenRuleError(f"changes the layers of the model: {', '.join(sorted(different)[:3])}")
    for name, tensor in _tensors(after).items():
        if not bool(tensor.isfinite().all()):
            raise _BrokenRuleError(f"{name} is NaN or infinite")


# ---------------------------------------------------------------- scorers


def _call_scorer(plugin: Plugin, bench: Bench, options: dict[str, Any]) -> ScoreMap | FeatureMap:
    _defined(plugin, bench)
    target = (bench.sparsity,) if plugin.takes_sparsity else ()
    generator = torch.Generator().manual_seed(SEED)
    scores: ScoreMap | FeatureMap = plugin.function(bench.view, bench.calibration, generator, *target, **options)
    hint = "; annotate the function with `-> FeatureMap`" if isinstance(scores, FeatureMap) else ""
    _expect(scores, FeatureMap if plugin.fuses_features else ScoreMap, hint)
    return scores


def _values(scores: ScoreMap | FeatureMap) -> Mapping[str, Tensor]:
    return scores.features if isinstance(scores, FeatureMap) else scores.scores


def _scores_valid(trial: _Trial[Bench]) -> None:
    """Return a finite float64 score, or one of every feature, for every unit."""
    bench, scores = trial.first
    if isinstance(scores, FeatureMap) and len(set(scores.names)) != max(1, len(scores.names)):
        raise _BrokenRuleError(f"names its features {scores.names}: expected one distinct name each")
    scores.validate(bench.view.units)
    for name, values in _values(scores).items():
        if values.requires_grad:
            raise _BrokenRuleError(f"scores of {name} still require gradients; detach them")
    _expect_plain(scores.notes, "the note")


def _scores_deterministic(trial: _Trial[Bench]) -> None:
    """Return the same scores for the same seed."""
    first, second = _values(trial.first[1]), _values(trial.again()[1])
    for name in first:
        if not _same(first[name], second[name]):
            raise _BrokenRuleError(f"two calls with one seed differ in {name}")


def _scores_leave_model(trial: _Trial[Bench]) -> None:
    """Leave weights, buffers, gradients, modes and hooks of the model, and the draw, as they were."""
    _expect_untouched(trial.case, trial.first[0])


def _scores_ignore_order(trial: _Trial[Bench]) -> None:
    """Ignore the order of the images inside a batch, but for rounding."""
    draw = trial.case.calibration
    order = torch.cat([i.flip(0) for i in torch.split(torch.arange(len(draw)), draw.batch)])
    flipped = replace(trial.case, calibration=Calibration(draw.images[order], draw.labels[order], draw.batch))
    first, second = _values(trial.first[1]), _values(trial.call(flipped, seed=1)[1])
    for name in first:
        scale = first[name].abs().max().clamp_min(1e-300)
        if float((first[name] - second[name]).abs().max() / scale) > ORDER_TOLERANCE:
            raise _BrokenRuleError(f"the order of images inside a batch changes the scores of {name}")


def _scores_give_exact_masks(trial: _Trial[Bench]) -> None:
    """Give masks that keep exactly the budget at sparsities 0.5 and 0.9."""
    bench, scores = trial.first
    if isinstance(scores, FeatureMap):
        scores = scores.fuse((1.0,) * len(scores.names))
    units = bench.view.units
    order = keep_order(units, scores, trial.case.scores)
    for sparsity in SPARSITIES:
        keep = keep_count(units.total, sparsity)
        everything = Budget(torch.zeros(units.total, dtype=torch.int64), torch.tensor([keep]))
        if (kept := build_masks(units, order, everything).kept) != keep:
            raise _BrokenRuleError(f"keeps {kept} of {units.total} units at sparsity {sparsity}, expected {keep}")


# ---------------------------------------------------------------- searches


def _call_search(plugin: Plugin, hill: _Hill, options: dict[str, Any]) -> Found:
    found: Found = plugin.function(hill.height, hill.dimensions, np.random.default_rng(SEED), **options)
    _expect(found, Found)
    return found


def _search_within_budget(trial: _Trial[_Hill]) -> None:
    """Evaluate no more candidates than the budget allows, and count them."""
    hill, found = trial.first
    spent = sum(len(batch) for batch in hill.asked)
    if spent > hill.evaluations:
        raise _BrokenRuleError(f"evaluates {spent} candidates with a budget of {hill.evaluations}")
    if found.evaluations != spent:
        raise _BrokenRuleError(f"says that it evaluated {found.evaluations} candidates; they were {spent}")


def _search_in_box(trial: _Trial[_Hill]) -> None:
    """Stay inside the box [-1, 1]^K."""
    hill, found = trial.first
    for candidates in (*hill.asked, np.array(found.weights)):
        if not ((candidates >= LOWEST) & (candidates <= HIGHEST)).all():
            raise _BrokenRuleError(f"leaves the box: weights from {candidates.min():g} to {candidates.max():g}")


def _search_honest(trial: _Trial[_Hill]) -> None:
    """Return one weight per feature and the value that was found there."""
    hill, found = trial.first
    if np.shape(found.weights) != (hill.dimensions,):
        raise _BrokenRuleError(f"returns weights of shape {np.shape(found.weights)}, expected ({hill.dimensions},)")
    seen = np.concatenate([np.empty((0, hill.dimensions)), *hill.asked])
    if not (seen == np.array(found.weights)).all(axis=1).any():
        raise _BrokenRuleError("returns weights that it never evaluated")
    value = float(hill.copy().height(np.array([found.weights]))[0])
    if found.value != value:
        raise _BrokenRuleError(f"returns the value {found.value}; the objective is {value} at its weights")
    _expect_plain(vars(found), "its")


def _search_deterministic(trial: _Trial[_Hill]) -> None:
    """Find the same weights for the same seed."""
    if trial.first[1] != trial.again()[1]:
        raise _BrokenRuleError("two calls with one seed differ")


# ---------------------------------------------------------------- allocations


def _call_allocation(plugin: Plugin, bench: Bench, options: dict[str, Any]) -> Budget:
    _defined(plugin, bench)
    budget: Budget = plugin.function(bench.view.units, bench.scores, bench.sparsity, bench.view, **options)
    _expect(budget, Budget)
    return budget


def _allocation_exact(trial: _Trial[Bench]) -> None:
    """Keep what the sparsity asks for, up to rounding in each segment, and exactly what the budget says."""
    bench, budget = trial.first
    units, asked = bench.view.units, int(budget.keep.sum())
    if tuple(budget.segment.shape) != (units.total,):
        raise _BrokenRuleError(f"gives segments of shape {tuple(budget.segment.shape)}, expected ({units.total},)")
    if bench.sparsity is not None and abs(asked - (wanted := keep_count(units.total, bench.sparsity))) > len(
        budget.keep
    ):
        raise _BrokenRuleError(
            f"keeps {asked} of {units.total} units in {len(budget.keep)} segments, expected {wanted}"
        )
    if (kept := build_masks(units, keep_order(units, trial.case.scores, trial.case.scores), budget).kept) != asked:
        raise _BrokenRuleError(f"keeps {kept} units, its budget says {asked}")
    _expect_plain(budget.notes, "the note")


def _allocation_deterministic(trial: _Trial[Bench]) -> None:
    """Give the same budget twice."""
    first, second = trial.first[1], trial.again()[1]
    if not (_same(first.segment, second.segment) and _same(first.keep, second.keep)):
        raise _BrokenRuleError("two calls give different budgets")


def _allocation_leaves_scores(trial: _Trial[Bench]) -> None:
    """Leave the scores and the model as they were."""
    _expect_untouched(trial.case, trial.first[0])


# ---------------------------------------------------------------- repairs


def _call_correction(plugin: Plugin, bench: Bench, options: dict[str, Any]) -> tuple[RepairContext, Any]:
    context = RepairContext(
        model=bench.pruned(), dense=channel_moments(bench.view.model, bench.view.units.layers, bench.calibration),
        units=bench.view.units, masks=bench.masks(REPAIRED_SPARSITY), calibration=bench.calibration,
        dense_model=bench.view.model,
    )  # fmt: skip
    factors = plugin.function(context, **options)
    _expect(factors, Mapping, " of factors")
    return context, factors


def _correction_factors(trial: _Trial[Bench]) -> None:
    """Return finite positive factors, one for every output channel of a layer."""
    bench, (_, factors) = trial.first
    for name, factor in factors.items():
        if name not in bench.view.units.names:
            raise _BrokenRuleError(f"returns factors of {name!r}, which is no prunable layer")
        layer = next(layer for layer in bench.view.units.layers if layer.name == name)
        expected = (layer.channels.channels,)
        if factor.shape != expected:
            raise _BrokenRuleError(f"factors of {name} have shape {tuple(factor.shape)}, expected {tuple(expected)}")
        if not bool((factor.isfinite() & (factor > 0)).all()):
            raise _BrokenRuleError(f"a factor of {name} is not finite and positive")


def _correction_sound(trial: _Trial[Bench]) -> None:
    """Keep what was pruned at zero, the layers as they are and all numbers finite."""
    bench, (context, _) = trial.first
    _expect_same_build(trial.case.view.model, context.model)
    again = copy.deepcopy(context.model)
    apply_masks(again, bench.view.units, context.masks)
    back = _changed(context.model, again)
    if back:
        raise _BrokenRuleError(f"pruned values of {back[0]} come back")


def _correction_leaves_dense(trial: _Trial[Bench]) -> None:
    """Leave the dense model and the draw as they were, and no hooks, gradients or training mode behind."""
    bench, (context, _) = trial.first
    _expect_untouched(trial.case, bench)
    _expect_tidy(context.model, trial.case.view.model)


def _correction_deterministic(trial: _Trial[Bench]) -> None:
    """Give the same model twice."""
    (first, _), (second, _) = trial.first[1], trial.again()[1]
    if changed := _changed(first.model, second.model):
        raise _BrokenRuleError(f"two calls give different models: {changed[0]}")


def _call_recalibration(plugin: Plugin, bench: Bench, options: dict[str, Any]) -> nn.Module:
    model = bench.pruned()
    plugin.function(model, bench.calibration, **options)
    return model


def _recalibration_sound(trial: _Trial[Bench]) -> None:
    """Change BatchNorm statistics alone, to finite numbers."""
    _, model = trial.first
    before = trial.case.pruned()
    _expect_same_build(before, model)
    statistics = {
        f"{name}.{buffer}"
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        for buffer, _ in module.named_buffers()
    }
    for name in _changed(before, model):
        if name not in statistics:
            raise _BrokenRuleError(f"changes {name}, which is no BatchNorm statistic")


def _recalibration_deterministic(trial: _Trial[Bench]) -> None:
    """Give the same statistics twice."""
    if changed := _changed(trial.first[1], trial.again()[1]):
        raise _BrokenRuleError(f"two calls give different statistics: {changed[0]}")


def _recalibration_tidy(trial: _Trial[Bench]) -> None:
    """Leave the draw as it was, and no hooks, gradients or training mode behind."""
    bench, model = trial.first
    _expect_untouched(trial.case, bench)
    _expect_tidy(model, trial.case.view.model)


CALLS: dict[str, Callable[[Plugin, Any, dict[str, Any]], Any]] = {
    "scorer": _call_scorer, "search": _call_search, "allocation": _call_allocation, "correction": _call_correction,
    "recalibration": _call_recalibration,
}  # fmt: skip
RULES: dict[str, tuple[Rule, ...]] = {
    "scorer": (
        _scores_valid, _scores_deterministic, _scores_leave_model, _scores_ignore_order, _scores_give_exact_masks,
    ),
    "search": (_search_within_budget, _search_in_box, _search_honest, _search_deterministic),
    "allocation": (_allocation_exact, _allocation_deterministic, _allocation_leaves_scores),
    "correction": (_correction_factors, _correction_sound, _correction_leaves_dense, _correction_deterministic),
    "recalibration": (_recalibration_sound, _recalibration_deterministic, _recalibration_tidy),
}  # fmt: skip
