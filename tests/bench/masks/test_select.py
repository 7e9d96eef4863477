"""Selection by threshold against the masks that the sorted order gives."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import CellError
from bench.masks.allocation import global_, uniform
from bench.masks.budget import Budget
from bench.masks.build import build_masks
from bench.masks.order import keep_order
from bench.masks.select import LEAST_UNITS, select_masks
from bench.models.sorting import kth_largest
from bench.models.tensors import ScoreMap
from bench.models.unit_space import PrunableLayer, UnitSpace


def _units(*sizes: int) -> UnitSpace:
    return UnitSpace("weight", tuple(PrunableLayer(f"l{i}", (n, 1), (n, 1)) for i, n in enumerate(sizes)))


def _values(units: UnitSpace, levels: int, seed: int) -> dict[str, torch.Tensor]:
    """Values of which many are equal: the fewer levels, the more."""
    generator = torch.Generator().manual_seed(seed)
    return {
        layer.name: torch.randint(-levels, levels + 1, layer.unit_shape, generator=generator).double()
        for layer in units.layers
    }


@given(
    sizes=st.lists(st.integers(1, 400), min_size=1, max_size=4), levels=st.sampled_from([0, 1, 3, 50, 10**6]),
    sparsity=st.sampled_from([0.0, 0.1, 0.5, 0.9, 0.999]), secondary=st.booleans(), whole=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_it_keeps_the_units_that_come_first_in_the_order(
    sizes: list[int], levels: int, sparsity: float, secondary: bool, whole: bool, seed: int
) -> None:
    units = _units(*sizes)
    magnitudes, other, drawn = (_values(units, levels, seed + i) for i in range(3))
    scores = ScoreMap(drawn, secondary=other if secondary else None)
    budget = (global_ if whole else uniform)(units, scores, sparsity, None)
    selected = select_masks(units, scores, magnitudes, budget)
    assert selected.digest() == build_masks(units, keep_order(units, scores, magnitudes), budget).digest()


@pytest.mark.parametrize("segments", [2, 2000])
def test_scattered_or_small_segments_are_sorted(segments: int) -> None:
    units = _units(3 * LEAST_UNITS)
    scores = ScoreMap(_values(units, 2, 0))
    segment = torch.arange(units.total) % segments
    sizes = segment.bincount(minlength=segments)
    budget = Budget(segment, sizes // 2)
    selected = select_masks(units, scores, scores, budget)
    assert selected.digest() == build_masks(units, keep_order(units, scores, scores), budget).digest()
    assert selected.kept == int((sizes // 2).sum())


def test_scores_that_are_no_numbers_are_refused() -> None:
    units = _units(LEAST_UNITS)
    scores = _values(units, 5, 0)
    scores["l0"][7] = float("nan")
    with pytest.raises(CellError, match="1 of 256 scores of l0 are NaN"):
        select_masks(units, ScoreMap(scores), scores, global_(units, None, 0.5, None))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=50), st.data())
def test_the_kth_largest_is_where_a_sort_puts_it(values: list[float], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(values)))
    assert kth_largest(torch.tensor(values, dtype=torch.float64), k) == sorted(values, reverse=True)[k - 1]
