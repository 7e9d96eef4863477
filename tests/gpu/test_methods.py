"""Every method of the catalogue, called alone: the device computes what the CPU computes, twice the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.core.errors import NotApplicable
from bench.core.registry import Plugin
from bench.masks.build import build_masks
from bench.masks.order import keep_order
from bench.models.tensors import FeatureMap, ScoreMap
from bench.plugins.catalogue import make_registry
from bench.plugins.conformance.allocations import call_allocation
from bench.plugins.conformance.cases import Bench
from bench.plugins.conformance.corrections import call_correction
from bench.plugins.conformance.recalibrations import call_recalibration
from bench.plugins.conformance.scorers import call_scorer
from bench.scorers.gradient import taylor
from bench.scorers.magnitude import magnitude
from tests.gpu.agreement import different, distances, mask_disagreements

REGISTRY = make_registry()
GRANULARITIES = ("weight", "channel")


def plugins(kind: str) -> pytest.MarkDecorator:
    """Parametrise a test over the catalogue: a new method is tested as soon as it has an entry."""
    return pytest.mark.parametrize("plugin", list(REGISTRY.of_kind(kind)), ids=lambda plugin: plugin.name)


def call(caller: Any, plugin: Plugin, bench: Bench) -> Any:
    """Return what a method returns on a copy of a bench; the reason where it is not applicable."""
    try:
        return caller(plugin, bench.copy(), dict(plugin.resolve(plugin.example).options))
    except NotApplicable as reason:
        return str(reason)


def values(scores: ScoreMap | FeatureMap) -> Mapping[str, Tensor]:
    return scores.features if isinstance(scores, FeatureMap) else scores.scores


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}


def masked(bench: Bench, scores: ScoreMap, allocation: Plugin) -> tuple[Tensor, Tensor, Tensor]:
    """Return the flat scores, masks and segments of an allocation, on the CPU."""
    units = bench.view.units
    sparsity = None if allocation.sets_sparsity else bench.sparsity
    options = dict(allocation.resolve(allocation.example).options)
    budget = allocation.function(units, scores, sparsity, bench.view, **options)
    masks = build_masks(units, keep_order(units, scores, bench.scores), budget)
    return units.flatten(scores).cpu(), units.flatten(masks).cpu(), budget.segment.cpu()


def assert_same_masks(benches: tuple[Bench, Bench], scores: tuple[ScoreMap, ScoreMap], allocation: Plugin) -> None:
    (here, masks, segment), (there, other_masks, other_segment) = map(masked, benches, scores, (allocation,) * 2)
    assert torch.equal(segment, other_segment)
    assert mask_disagreements(here, there, masks, other_masks, segment) == []


@pytest.mark.parametrize("granularity", GRANULARITIES)
@plugins("scorer")
def test_scores_and_masks(plugin, granularity, benches):
    pair = benches(granularity)
    here, there, again = (call(call_scorer, plugin, bench) for bench in (pair[0], pair[1], pair[1]))
    if isinstance(here, str):
        assert here == there
        pytest.skip(here)
    assert different(values(there), values(again)) == []
    assert distances(values(here), values(there)) == {}
    if isinstance(here, FeatureMap):
        here, there = (scores.fuse((1.0,) * len(scores.names)) for scores in (here, there))
    assert_same_masks(pair, (here, there), REGISTRY.get("allocation", "global"))


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("scorer", [magnitude, taylor], ids=lambda scorer: scorer.__name__)
@plugins("allocation")
def test_allocations(plugin, scorer, granularity, benches):
    if granularity not in plugin.granularities:
        pytest.skip(f"defined for {plugin.granularities}")
    pair = benches(granularity)
    here, there = (scorer(bench.view, bench.calibration, torch.Generator()) for bench in pair)
    assert_same_masks(pair, (here, there), plugin)
    again = call(call_allocation, plugin, pair[1]), call(call_allocation, plugin, pair[1])
    assert torch.equal(again[0].keep, again[1].keep)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@plugins("correction")
def test_corrections(plugin, granularity, benches):
    here, there, again = (call(call_correction, plugin, benches(granularity)[place]) for place in (0, 1, 1))
    if isinstance(here, str):
        assert here == there
        pytest.skip(here)
    assert different(state(there[0].model), state(again[0].model)) == []
    assert distances(here[1], there[1]) == {}
    assert distances(state(here[0].model), state(there[0].model)) == {}


@pytest.mark.parametrize("granularity", GRANULARITIES)
@plugins("recalibration")
def test_recalibrations(plugin, granularity, benches):
    here, there, again = (call(call_recalibration, plugin, benches(granularity)[place]) for place in (0, 1, 1))
    if isinstance(here, str):
        assert here == there
        pytest.skip(here)
    assert different(state(there), state(again)) == []
    assert distances(state(here), state(there)) == {}
