"""LAMP's counts against a loop over the weights, as the paper writes the score."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from bench.masks.allocation import global_
from bench.masks.build import build_masks
from bench.masks.lamp import lamp
from bench.masks.order import keep_order
from bench.models.counts import keep_count
from bench.models.tensors import ScoreMap
from bench.models.units import find_units
from bench.models.view import ModelView
from bench.scorers.lamp import lamp as lamp_scorer


def _view(granularity: str = "weight", seed: int = 0) -> ModelView:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Conv2d(2, 6, 3), nn.Conv2d(6, 8, 3, groups=2), nn.Conv2d(8, 5, 1), nn.Flatten())
        for module in net[:3]:
            module.weight.data *= torch.rand(()) * 10  # layers of very different size
    return ModelView(net, find_units(net, granularity, (), torch.zeros(1, 2, 5, 5)))


def _counts_by_loop(layers: list[np.ndarray], keep: int) -> list[int]:
    """Lee et al. 2021, equation 3: in ascending order, w_u^2 over the sum of w_v^2, v >= u."""
    scored = []
    for number, magnitudes in enumerate(layers):
        ascending = np.sort(magnitudes)
        for u in range(len(ascending)):
            scored.append((ascending[u] ** 2 / np.sum(ascending[u:] ** 2), number))
    best = sorted(scored, reverse=True)[:keep]
    return [sum(number == layer for _, number in best) for layer in range(len(layers))]


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("granularity", ["weight", "channel"])
def test_counts_are_those_of_a_loop(granularity: str, sparsity: float) -> None:
    view = _view(granularity)
    weights = [view.weight(name).numpy() for name in view.units.names]
    layers = [w.ravel() if granularity == "weight" else np.sqrt((w.reshape(len(w), -1) ** 2).sum(1)) for w in weights]
    layers = [np.abs(layer) for layer in layers]
    budget = lamp(view.units, None, sparsity, view)
    assert budget.keep.tolist() == _counts_by_loop(layers, keep_count(view.units.total, sparsity))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("granularity", ["weight", "channel"])
def test_one_unit_per_layer_is_enough_for_every_layer(granularity: str, seed: int) -> None:
    view = _view(granularity, seed)
    sparsity = 1 - len(view.units.layers) / view.units.total
    assert lamp(view.units, None, sparsity, view).keep.tolist() == [1, 1, 1]


@pytest.mark.parametrize("granularity", ["weight", "channel"])
def test_layers_keep_as_many_as_the_lamp_scorer_would_and_the_scorer_says_which(granularity: str) -> None:
    view = _view(granularity)
    units, magnitudes = view.units, view.magnitudes()
    generator = torch.Generator().manual_seed(3)
    other = ScoreMap({x.name: torch.rand(x.unit_shape, generator=generator).double() for x in units.layers})

    def masks_of(scores: ScoreMap, allocation: Callable[..., object]) -> dict[str, torch.Tensor]:
        return dict(build_masks(units, keep_order(units, scores, magnitudes), allocation(units, scores, 0.7, view)))

    own, chosen = masks_of(lamp_scorer(view, None, None), global_), masks_of(other, lamp)
    for name in units.names:
        assert int(own[name].sum()) == int(chosen[name].sum())
        kept, pruned = other[name][chosen[name]], other[name][~chosen[name]]
        assert not len(pruned) or kept.min() > pruned.max()


def test_ties_at_the_threshold_go_to_the_larger_magnitude() -> None:
    net = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Linear(1, 2, bias=False))
    net[0].weight.data = torch.tensor([[1.0, 2.0]])
    net[1].weight.data = torch.tensor([[2.0], [4.0]])
    view = ModelView(net, find_units(net, "weight", (), torch.zeros(1, 2)))
    # both layers score 0.2 and 1: the larger of the two layers' halves go first
    assert [lamp(view.units, None, s, view).keep.tolist() for s in (0.75, 0.5, 0.25)] == [[0, 1], [1, 1], [1, 2]]
