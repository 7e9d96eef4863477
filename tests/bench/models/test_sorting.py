"""Sorting and selecting, against NumPy."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.models.sorting import ascending, indices, kth_largest

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
