from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bench.core.errors import NotApplicable
from bench.models.unit_space import PrunableLayer, UnitSpace
from bench.models.view import ModelView
from bench.scorers.features.grid import FloatArray, feature_map, grid, identity, known_sparsity, scale
from bench.scorers.rank import normalised_rank


def view_of(*shapes: tuple[int, int], seed: int = 0) -> ModelView:
    """Linear layers of these (out, in) shapes, every weight a unit."""
    generator = torch.Generator().manual_seed(seed)
    net = nn.Sequential(*(nn.Linear(n_in, n_out) for n_out, n_in in shapes))
    for layer in net:
        layer.weight.data.copy_(torch.randn(layer.weight.shape, generator=generator))
    layers = tuple(PrunableLayer(str(i), shape, shape) for i, shape in enumerate(shapes))
    return ModelView(net.eval(), UnitSpace("weight", layers))


def wave(u: FloatArray) -> FloatArray:
    return np.stack([np.cos(9 * u), 5 * u**2, np.full_like(u, 3.0)])


def test_every_unit_gets_the_scaled_value_at_its_own_rank() -> None:
    view = view_of((4, 6), (5, 3))
    features = feature_map(view, ("a", "b", "c"), wave, include_rank=False).features
    points = 0.1 + 0.9 * np.arange(2048) / 2047
    low, high = np.cos(9 * points).min(), np.cos(9 * points).max()
    for name, magnitude in view.magnitudes().items():
        u = normalised_rank(magnitude).numpy()
        assert features[name].shape == (3, *u.shape)
        assert features[name].dtype == torch.float64
        np.testing.assert_allclose(features[name][0], (np.cos(9 * u) - low) / (high - low), rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(features[name][1], (u**2 - 0.01) / 0.99, rtol=1e-12, atol=1e-15)
        assert not features[name][2].any()  # a constant curve says nothing


def test_include_rank_puts_u_first() -> None:
    view = view_of((4, 6))
    without = feature_map(view, ("a", "b", "c"), wave, include_rank=False)
    with_rank = feature_map(view, ("a", "b", "c"), wave, include_rank=True)
    assert with_rank.names == ("u", "a", "b", "c")
    torch.testing.assert_close(with_rank.features["0"][1:], without.features["0"], rtol=0, atol=0)
    u = normalised_rank(view.magnitudes()["0"])
    torch.testing.assert_close(with_rank.features["0"][0], (u - 0.1) / 0.9)


def test_is_computed_once_per_layer_size() -> None:
    sizes: list[int] = []

    def counted(u: FloatArray) -> FloatArray:
        sizes.append(len(u))
        return identity(u)

    feature_map(view_of((4, 6), (6, 4), (3, 3), (2, 12)), ("u",), counted, include_rank=False)
    assert sorted(sizes) == [9, 24, 2048]


def test_layers_of_one_size_share_values_and_nothing_else() -> None:
    view = view_of((4, 6), (4, 6))
    before = feature_map(view, ("a", "b", "c"), wave, include_rank=False).features
    # another scale and a monotone map in one layer change neither
    view.module("0").weight.data.mul_(100).pow_(3)
    after = feature_map(view, ("a", "b", "c"), wave, include_rank=False).features
    for name in ("0", "1"):
        assert torch.equal(before[name], after[name])
    assert torch.equal(before["0"].flatten(1).sort()[0], before["1"].flatten(1).sort()[0])


def test_a_layer_of_one_unit_is_at_the_top() -> None:
    features = feature_map(view_of((1, 1)), ("u",), identity, include_rank=False).features["0"]
    assert features.tolist() == [[[1.0]]]


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=4), st.integers(0, 2**31))
def test_shapes_and_fusion(shapes: list[tuple[int, int]], seed: int) -> None:
    view = view_of(*shapes, seed=seed)
    features = feature_map(view, ("a", "b", "c"), wave, include_rank=True)
    assert all(features.features[str(i)].shape == (4, *shape) for i, shape in enumerate(shapes))
    scores = features.fuse((1.0, -0.5, 0.25, 1.0))
    scores.validate(view.units)
    # the rank alone orders every layer as magnitude does
    alone = features.fuse((1.0, 0.0, 0.0, 0.0))
    for name, magnitude in view.magnitudes().items():
        assert torch.equal(alone[name].flatten().argsort(), normalised_rank(magnitude).flatten().argsort())


def test_scale_of_a_point_outside_leaves_the_interval() -> None:
    one = torch.ones(1, 1)
    assert scale(torch.tensor([[5.0]]), 0 * one, 4 * one).tolist() == [[1.25]]


def test_the_grid_is_the_ladder_of_2048_ranks() -> None:
    ranks = normalised_rank(torch.arange(2048)).numpy()
    np.testing.assert_array_equal(grid(), ranks)


def test_without_a_target_nothing_that_needs_one() -> None:
    assert known_sparsity("bump", 0.0) == 0.0
    with pytest.raises(NotApplicable, match="bump depends on the target sparsity"):
        known_sparsity("bump", None)
