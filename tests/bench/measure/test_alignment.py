"""Rank correlation with magnitude, windows and samples, against SciPy and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from bench.masks.order import keep_order
from bench.measure.alignment import LayerAlignment, MagnitudeRanks, sample_units, window_bounds
from bench.models.tensors import ScoreMap
from bench.models.unit_space import PrunableLayer, UnitSpace
from bench.scorers.rank import ladder, normalised_rank


def space(**sizes: int) -> UnitSpace:
    return UnitSpace("channel", tuple(PrunableLayer(name, (n, 1), (n,)) for name, n in sizes.items()))


def correlation(values: torch.Tensor) -> float:
    """Correlation of scores with magnitudes that ascend with the place."""
    magnitudes = torch.arange(len(values), dtype=torch.float64)
    (row,) = aligned(space(a=len(values)), {"a": magnitudes}, ScoreMap({"a": values}), [None])
    return row.rho


def aligned(units, magnitudes, scores, sparsities) -> list[LayerAlignment]:
    order = keep_order(units, scores, magnitudes)
    return ranks_of(units, magnitudes, 0).correlations(scores, order, sparsities)


def ranks_of(units, magnitudes, seed) -> MagnitudeRanks:
    by_magnitude = keep_order(units, ScoreMap({name: m.double() for name, m in magnitudes.items()}), magnitudes)
    return MagnitudeRanks(units, magnitudes, by_magnitude, seed)


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=40))
def test_the_correlation_is_scipys_with_ties(values):
    found = correlation(torch.tensor(values, dtype=torch.float64))
    if len(set(values)) == 1:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(spearmanr(values, range(len(values))).statistic, abs=1e-14)


def test_the_correlation_of_a_large_layer_keeps_its_precision():
    values = torch.randn(300_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64).round(decimals=3)
    values += torch.linspace(0, 1, len(values), dtype=torch.float64).round(decimals=2)
    expected = spearmanr(values.numpy(), np.arange(len(values))).statistic
    assert correlation(values) == pytest.approx(expected, abs=1e-13)


def test_the_sign_of_zero_makes_no_difference():
    assert math.isnan(correlation(torch.tensor([0.0, -0.0, 0.0], dtype=torch.float64)))
    assert math.isnan(correlation(torch.tensor([1.0], dtype=torch.float64)))


@pytest.mark.parametrize("n", [1, 2, 7, 64, 1001])
@pytest.mark.parametrize("sparsity", [0.05, 0.5, 0.7, 0.95])
def test_the_window_holds_the_ranks_near_the_threshold(n, sparsity):
    near = (ladder(n) - (0.1 + 0.9 * sparsity)).abs() <= 0.15 + 1e-12
    low, high = window_bounds(sparsity)
    assert torch.equal((ladder(n) >= low) & (ladder(n) < high), near)


def test_every_layer_is_measured_as_a_whole_and_near_each_threshold():
    rng = np.random.default_rng(3)
    units = space(a=50, b=8)
    magnitudes = {name: torch.from_numpy(rng.integers(0, 30, n) / 10) for name, n in (("a", 50), ("b", 8))}
    scores = ScoreMap(
        {name: torch.from_numpy(rng.integers(0, 9, len(m)).astype(float)) for name, m in magnitudes.items()}
    )
    found = aligned(units, magnitudes, scores, [0.5, 0.8, None])
    assert [(row.layer, row.sparsity) for row in found] == [(n, s) for n in ("a", "b") for s in (0.5, 0.8, None)]
    for row in found:
        u, score = normalised_rank(magnitudes[row.layer]).numpy(), scores[row.layer].numpy()
        assert row.rho == pytest.approx(spearmanr(score, u).statistic, abs=1e-14)
        if row.sparsity is None:
            assert row.window_units == 0
            assert math.isnan(row.window_rho)
        else:
            near = np.abs(u - (0.1 + 0.9 * row.sparsity)) <= 0.15 + 1e-12
            assert row.window_units == near.sum()
            assert row.window_rho == pytest.approx(spearmanr(score[near], u[near]).statistic, abs=1e-14)


def test_the_sample_has_every_layer_in_proportion_and_is_the_same_for_all_scorers():
    units = space(tiny=1, small=100, large=900)
    sizes = {name: len(chosen) for name, chosen in sample_units(units, 7, 100).items()}
    assert sizes == {"tiny": 1, "small": 11, "large": 88}  # 1 each, and 97 shared as 0 : 99 : 899
    magnitudes = {layer.name: torch.rand(layer.size) for layer in units.layers}
    ranks = ranks_of(units, magnitudes, 7)
    first, second = (
        ranks.sample(ScoreMap({name: factor * m.double() for name, m in magnitudes.items()})) for factor in (1, -2)
    )
    assert [row[:4] for row in first] == [row[:4] for row in second]
    assert [-2 * row.score for row in first] == [row.score for row in second]
    for row in first:
        assert row.score == row.magnitude == float(magnitudes[row.layer][row.unit])
        assert row.u == float(normalised_rank(magnitudes[row.layer])[row.unit])


def test_few_units_are_all_taken_and_many_layers_have_one_each():
    assert {name: list(chosen) for name, chosen in sample_units(space(a=3, b=2), 0, 10).items()} == {
        "a": [0, 1, 2], "b": [0, 1],
    }  # fmt: skip
    assert [len(chosen) for chosen in sample_units(space(a=5, b=5, c=5), 0, 2).values()] == [1, 1, 1]
