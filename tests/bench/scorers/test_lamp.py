"""LAMP against its definition, two loops over the weights."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bench.core.types import Granularity
from bench.masks.allocation import global_
from bench.masks.build import build_masks
from bench.masks.order import keep_order
from bench.models.units import find_units
from bench.models.view import ModelView
from bench.scorers.lamp import lamp, lamp_scores


def _by_loops(weights: list[float]) -> list[float]:
    scores = []
    for w in weights:
        total = 0.0
        for v in weights:
            if abs(v) >= abs(w):
                total += v**2
        scores.append(w**2 / total if w else 0.0)
    return scores


numbers = st.one_of(st.integers(-3, 3).map(float), st.floats(-10, 10, width=32))


@given(st.lists(numbers, min_size=1, max_size=40))
def test_is_the_definition(weights: list[float]) -> None:
    scores = lamp_scores(torch.tensor(weights, dtype=torch.float64))
    assert scores.tolist() == pytest.approx(_by_loops(weights), rel=1e-12)


@given(st.lists(numbers, min_size=2, max_size=40))
def test_is_non_decreasing_in_the_magnitude(weights: list[float]) -> None:
    magnitude = torch.tensor(weights, dtype=torch.float64).abs().sort().values
    assert bool((lamp_scores(magnitude).diff() >= 0).all())


def _view(granularity: Granularity) -> ModelView:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1))
    generator = torch.Generator().manual_seed(0)
    for scale, layer in zip((1e-3, 10.0), net, strict=True):
        layer.weight.data.copy_(scale * torch.randn(layer.weight.shape, generator=generator))
    return ModelView(net, find_units(net, granularity, (), torch.zeros(1, 3, 3, 3)))


def test_channels_are_scored_by_the_norms_of_their_filters() -> None:
    view = _view("channel")
    norms = [float(f.norm()) for f in view.weight("0")]
    assert lamp(view, None, None)["0"].tolist() == pytest.approx(_by_loops(norms), rel=1e-12)


@pytest.mark.parametrize("granularity", ["weight", "channel"])
def test_one_threshold_empties_no_layer_however_its_weights_are_scaled(granularity: Granularity) -> None:
    view = _view(granularity)
    scores = lamp(view, None, None)
    order = keep_order(view.units, scores, view.magnitudes())
    sparsity = 0.99 if granularity == "weight" else 0.8
    masks = build_masks(view.units, order, global_(view.units, scores, sparsity, view))
    assert all(bool(masks[name].any()) for name in view.units.names)
