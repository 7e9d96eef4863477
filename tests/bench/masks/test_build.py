from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import CellError
from bench.masks.budget import Budget
from bench.masks.build import build_masks
from bench.models.unit_space import PrunableLayer, UnitSpace


def _units(n: int) -> UnitSpace:
    return UnitSpace("channel", (PrunableLayer("conv", (n, 1), (n,)),))


@given(segments=st.lists(st.integers(0, 4), min_size=1, max_size=30), seed=st.integers(0, 999), data=st.data())
def test_every_segment_keeps_exactly_its_best(segments: list[int], seed: int, data: st.DataObject) -> None:
    segment = torch.tensor(segments)
    sizes = segment.bincount(minlength=5).tolist()
    keep = [data.draw(st.integers(0, size)) for size in sizes]
    order = torch.randperm(len(segments), generator=torch.Generator().manual_seed(seed))
    masks = build_masks(_units(len(segments)), order, Budget(segment, torch.tensor(keep)))
    for s, k in enumerate(keep):
        best = [unit for unit in order.tolist() if segments[unit] == s][:k]
        assert sorted(best) == [i for i in masks["conv"].nonzero().flatten().tolist() if segments[i] == s]
    assert masks.kept == sum(keep)


def test_an_order_that_repeats_a_unit_is_refused() -> None:
    budget = Budget(torch.zeros(3, dtype=torch.int64), torch.tensor([2]))
    with pytest.raises(CellError, match="keeps 1 units, its budget is 2"):
        build_masks(_units(3), torch.tensor([0, 0, 1]), budget)
