"""ERK against bisection on e, and against counts worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.masks.erk import densities, erk, round_to_total
from bench.models.counts import keep_count
from bench.models.unit_space import PrunableLayer, UnitSpace

Space = Callable[..., UnitSpace]

small, kernel = st.integers(1, 40), st.sampled_from([1, 3, 5, 7])
shape = st.one_of(st.tuples(small, small), st.tuples(small, small, kernel, kernel))
shapes = st.lists(shape, min_size=1, max_size=8)
sparsity = st.integers(0, 999).map(lambda thousandths: thousandths / 1000)


def _units(layers: list[tuple[int, ...]], granularity: str = "weight") -> UnitSpace:
    def unit_shape(weight: tuple[int, ...]) -> tuple[int, ...]:
        return weight if granularity == "weight" else weight[:1]

    named = tuple(PrunableLayer(f"layer{i}", weight, unit_shape(weight)) for i, weight in enumerate(layers))
    return UnitSpace(granularity, named)


def _bisect(weights: list[float], sizes: list[int], total: int) -> list[float]:
    """Densities min(1, e w), e found by halving an interval: what is kept grows with e."""
    low, high = 0.0, 1.0 / min(weights)
    for _ in range(200):
        e = (low + high) / 2
        kept = sum(min(1.0, e * w) * n for w, n in zip(weights, sizes, strict=True))
        low, high = (e, high) if kept < total else (low, e)
    return [min(1.0, high * w) for w in weights]


def test_counts_by_hand(space: Space) -> None:
    # weights 16, 64, 288; sizes' sums 2+8, 8+8, 4+8+3+3; 30 % of 368 is kept: 110
    units = space((8, 2), (8, 8), (8, 4, 3, 3))
    budget = erk(units, None, 0.7, None)
    # e = 110/44 gives the first 25, more than it has; e = 94/34 then gives 44.24 and 49.76
    assert budget.keep.tolist() == [16, 44, 50]
    assert budget.notes == {"dense_layers": ["layer0"]}
    assert budget.segment.bincount().tolist() == [16, 64, 288]


def test_a_second_layer_may_become_dense_after_the_first(space: Space) -> None:
    # 38 of 74 are kept; sums 3, 6, 20: e = 38/29 gives 3.9 of 2 and 7.9 of 8, e = 36/26 then 8.3 of 8
    budget = erk(space((2, 1), (4, 2), (4, 16)), None, 0.486, None)
    assert budget.keep.tolist() == [2, 8, 28]
    assert budget.notes == {"dense_layers": ["layer0", "layer1"]}


def test_input_channels_are_counted_per_group(space: Space) -> None:
    # a depthwise layer (8, 1, 3, 3): (8 + 1 + 3 + 3) / 72; a pointwise one (8, 8, 1, 1): (8 + 8 + 1 + 1) / 64
    budget = erk(space((8, 1, 3, 3), (8, 8, 1, 1)), None, 0.75, None)
    assert budget.keep.tolist() == [15, 19]  # 34 * 15/33 = 15.45, 34 * 18/33 = 18.55


@given(layers=shapes, sparsity=sparsity, granularity=st.sampled_from(["weight", "channel"]))
def test_the_total_is_exact_and_every_count_is_within_one_of_its_density(
    layers: list[tuple[int, ...]], sparsity: float, granularity: str
) -> None:
    units = _units(layers, granularity)
    budget = erk(units, None, sparsity, None)
    total = keep_count(units.total, sparsity)
    assert int(budget.keep.sum()) == total
    sizes = [layer.size for layer in units.layers]
    weights = [sum(weight) / int(torch.Size(weight).numel()) for weight in layers]
    for keep, density, size in zip(budget.keep.tolist(), _bisect(weights, sizes, total), sizes, strict=True):
        assert abs(keep - density * size) < 1 + 1e-6


@given(
    layers=st.lists(st.tuples(st.fractions(Fraction(1, 50), 2), st.integers(1, 10**7)), min_size=1, max_size=12),
    sparsity=sparsity,
)
def test_densities_are_those_of_bisection(layers: list[tuple[Fraction, int]], sparsity: float) -> None:
    weights, sizes = [w for w, _ in layers], [n for _, n in layers]
    total = keep_count(sum(sizes), sparsity)
    found = densities(weights, sizes, total)
    assert sum(d * n for d, n in zip(found, sizes, strict=True)) == total
    assert [float(d) for d in found] == pytest.approx(_bisect([float(w) for w in weights], sizes, total), abs=1e-9)


@given(parts=st.lists(st.fractions(0, 1000, max_denominator=50), min_size=1, max_size=20))
def test_rounding_keeps_the_total_and_takes_the_largest_remainders(parts: list[Fraction]) -> None:
    quotas = [*parts, -sum(parts) % 1]
    rounded = round_to_total(quotas)
    assert sum(rounded) == sum(quotas)
    up = [q % 1 for q, r in zip(quotas, rounded, strict=True) if r > q]
    down = [q % 1 for q, r in zip(quotas, rounded, strict=True) if r < q]
    assert max(down, default=Fraction(0)) <= min(up, default=Fraction(1))
    assert all(abs(q - r) < 1 for q, r in zip(quotas, rounded, strict=True))


def test_channels_take_the_densities_of_their_weights() -> None:
    # densities e 24/192 and e 46/2304, of 16 and 32 channels
    units = _units([(16, 4, 1, 3), (32, 8, 3, 3)], "channel")
    # 12 are kept: e = 12/(2 + 0.6389) gives 9.09 and 2.91
    assert erk(units, None, 0.75, None).keep.tolist() == [9, 3]
    # 24 are kept: the first would get 18.2 of its 16
    assert erk(units, None, 0.5, None).keep.tolist() == [16, 8]


def test_nothing_pruned_keeps_all(space: Space) -> None:
    budget = erk(space((3, 4), (5, 6, 3, 3)), None, 0.0, None)
    assert budget.keep.tolist() == [12, 270]
    assert budget.notes == {"dense_layers": ["layer0", "layer1"]}
