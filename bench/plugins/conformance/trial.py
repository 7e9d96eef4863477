"""One plug-in on one case, and the expectations that several kinds share."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from bench.core.errors import NotApplicable
from bench.core.identity import canonical_json
from bench.core.registry import Plugin
from bench.models.build import seeded
from bench.models.unchanged import left_behind, marks
from bench.plugins.conformance.cases import Bench, BrokenRuleError, Hill, takes_budget

SEED = 7


class Copied(Protocol):
    """What a plug-in is tried on can be copied."""

    def copy(self) -> Self:
        """Return a copy for one call."""
        ...


Case = TypeVar("Case", bound=Copied)


#: Calls a plug-in on a case with its options.
Caller = Callable[[Plugin, Any, dict[str, Any]], Any]


class Trial(Generic[Case]):
    """A plug-in on one case. Every call gets a copy of the case; rules that need only one call share the first."""

    def __init__(self, plugin: Plugin, case: Case, caller: Caller) -> None:
        self.plugin, self.case, self._caller = plugin, case, caller
        given = dict(plugin.example)  # of options without a default
        if isinstance(case, Hill) and takes_budget(plugin):
            given["evaluations"] = case.evaluations
        self._options = plugin.resolve(given).options

    def call(self, case: Case, seed: int) -> tuple[Case, Any]:
        """Return the copy of `case` that the plug-in was given, and what it returned.

        A plug-in's random numbers come from its generator: `seed` seeds all other sources and must not matter.
        """
        own = case.copy()
        with _global_seeds(seed):
            return own, self._caller(self.plugin, own, dict(self._options))

    @cached_property
    def first(self) -> tuple[Case, Any]:
        """What the first call was given and returned."""
        return self.call(self.case, seed=1)

    def again(self) -> tuple[Case, Any]:
        """Call the plug-in once more, under other global seeds."""
        return self.call(self.case, seed=2)


Rule = Callable[[Trial[Any]], None]


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


def expect_defined(plugin: Plugin, bench: Bench) -> None:
    """Skip a bench of a granularity for which the plug-in is not defined."""
    if bench.view.granularity not in plugin.granularities:
        raise NotApplicable(f"defined for {plugin.granularities}")


def expect(result: object, kind: type, hint: str = "") -> None:
    """Refuse a result of another type."""
    if not isinstance(result, kind):
        raise BrokenRuleError(f"returns {type(result).__name__}, not a {kind.__name__}{hint}")


def expect_plain(values: Mapping[str, object], what: str) -> None:
    """Refuse what cannot be stored in a row."""
    for name, value in values.items():
        try:
            canonical_json(value)
        except (TypeError, ValueError) as error:
            raise BrokenRuleError(f"{what} {name!r} cannot be stored: {error}") from error


def same(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors are equal; a NaN equals a NaN."""
    return first.shape == second.shape and torch.allclose(first, second, rtol=0, atol=0, equal_nan=True)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def changed_tensors(before: nn.Module, after: nn.Module) -> list[str]:
    """Names of the parameters and buffers that differ."""
    first, second = _tensors(before), _tensors(after)
    return [name for name in first | second if name not in first.keys() & second or not same(first[name], second[name])]


def expect_untouched(before: Bench, after: Bench) -> None:
    """Compare a bench that a plug-in was given with the original."""
    model, original = after.view.model, before.view.model
    changed = changed_tensors(original, model)
    if changed:
        raise BrokenRuleError(f"changes the model: {changed[0]}")
    if [p.requires_grad for p in model.parameters()] != [p.requires_grad for p in original.parameters()]:
        raise BrokenRuleError("changes requires_grad")
    expect_clean(model, original)
    first, second = before.calibration, after.calibration
    if not (same(first.images, second.images) and same(first.labels, second.labels)):
        raise BrokenRuleError("changes the calibration draw")
    if not all(same(score, after.scores[name]) for name, score in before.scores.items()):
        raise BrokenRuleError("changes the scores that it is given")


def expect_clean(model: nn.Module, original: nn.Module) -> None:
    """Refuse hooks, gradients or a training mode that the original does not have."""
    left = left_behind(model, marks(original))
    if left is not None:
        raise BrokenRuleError(left)


def expect_same_build(before: nn.Module, after: nn.Module) -> None:
    """Refuse other tensors than before: the model takes the next cell's weights in."""
    shapes = [{name: (tensor.shape, tensor.dtype) for name, tensor in _tensors(m).items()} for m in (before, after)]
    different = dict(shapes[0].items() ^ shapes[1].items())
    if different:
        raise BrokenRuleError(f"changes the layers of the model: {', '.join(sorted(different)[:3])}")
    for name, tensor in _tensors(after).items():
        if not bool(tensor.isfinite().all()):
            raise BrokenRuleError(f"{name} is NaN or infinite")
