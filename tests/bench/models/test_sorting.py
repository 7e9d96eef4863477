"""Sorting and selecting, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.models.sorting import ascending, grouped, indices, kth_largest

VALUES = st.lists(st.floats(-10, 10), min_size=1, max_size=50)


@given(VALUES)
def test_ascending_indices_sort_the_values(values):
    flat = torch.tensor(values, dtype=torch.float64)
    assert flat[ascending(flat)].tolist() == sorted(values)


@given(st.lists(st.booleans(), max_size=50))
def test_indices_are_where_flags_are_true(flags):
    assert indices(torch.tensor(flags, dtype=torch.bool)).tolist() == [i for i, flag in enumerate(flags) if flag]


@given(VALUES, st.data())
def test_the_kth_largest_is_that_of_a_sort(values, data):
    k = data.draw(st.integers(1, len(values)))
    assert kth_largest(torch.tensor(values, dtype=torch.float64), k) == np.sort(values)[-k]


@pytest.mark.parametrize("k", [1, 2, 5_000, 10_000, 19_999, 20_000])
@pytest.mark.parametrize("shape", ["random", "ascending", "equal", "two values", "misleading"])
def test_the_kth_largest_of_many_values_is_that_of_a_sort(k, shape):
    random = torch.rand(20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    misleading = random.clone()
    misleading[::16] = 7.0  # every value of the sample is larger than all others
    values = {
        "random": random, "ascending": random.sort().values, "equal": torch.ones_like(random),
        "two values": (random > 0.3).double(), "misleading": misleading,
    }[shape]  # fmt: skip
    assert kth_largest(values, k) == float(values.sort(descending=True).values[k - 1])


@given(st.lists(st.integers(0, 3), max_size=40))
def test_grouped_members_stay_in_their_order(groups):
    found = grouped(torch.tensor(groups, dtype=torch.int64), 4)
    assert found.tolist() == sorted(range(len(groups)), key=groups.__getitem__)
