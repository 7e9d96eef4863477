"""Rank correlations layer by layer, against SciPy and where numbers are large."""

from __future__ import annotations

import math
from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from bench.measure.rank_correlation import Ties, rank_correlations

LAYERS = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=12), min_size=1, max_size=4)


def correlate(layers: list[list[float]], ranked: list[list[float]]) -> list[float]:
    """Correlate values that ascend in each layer with other ranks."""
    sizes = [len(values) for values in layers]
    layer = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    ties = Ties.find(torch.tensor([*chain(*layers)]).double(), layer)
    return rank_correlations(torch.tensor([*chain(*ranked)]).double(), sizes, ties)


@given(LAYERS, st.randoms(use_true_random=False))
def test_every_layer_is_correlated_as_scipy_does(layers, random):
    layers = [sorted(values) for values in layers]
    ranked = [random.sample(range(len(values)), len(values)) for values in layers]
    for values, places, found in zip(layers, ranked, correlate(layers, ranked), strict=True):
        if len(set(values)) == 1:
            assert math.isnan(found)
        else:
            assert found == pytest.approx(spearmanr(values, places).statistic, abs=1e-14)


@given(LAYERS, st.data())
def test_ties_among_some_places_are_those_of_their_values(layers, data):
    values = torch.tensor([*chain(*map(sorted, layers))]).double()
    layer = torch.arange(len(layers)).repeat_interleave(torch.tensor([len(part) for part in layers]))
    flags = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))))
    inside = flags.nonzero().flatten()
    found = Ties.find(values, layer).among(inside, flags)
    expected = Ties.find(values[inside], layer[inside])
    assert torch.equal(found.members, expected.members)
    assert [found.run.tolist().count(run) for run in found.run.unique()] == [
        expected.run.tolist().count(run) for run in expected.run.unique()
    ]


def test_ties_after_millions_of_units_keep_their_ranks():
    many, few = 8_500_001, [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0]
    values = torch.cat([torch.arange(many).double(), torch.tensor(few).double()])
    layer = (torch.arange(len(values)) >= many).long()
    ranked = torch.cat([torch.arange(many) - (many - 1) / 2, torch.tensor([2, 0, 1, 3, 4, 5, 7, 6]) - 3.5]).double()
    first, second = rank_correlations(ranked, [many, len(few)], Ties.find(values, layer))
    assert first == 1.0
    assert second == pytest.approx(spearmanr(few, [2, 0, 1, 3, 4, 5, 7, 6]).statistic, abs=1e-14)


def test_millions_of_equal_values_have_no_correlation():
    n = 512 * 512 * 9
    ties = Ties.find(torch.ones(n), torch.zeros(n, dtype=torch.int64))
    (rho,) = rank_correlations(torch.arange(n).double() - (n - 1) / 2, [n], ties)
    assert math.isnan(rho)
