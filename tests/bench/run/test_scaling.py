"""Times of runs on several workers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.run.scaling import makespan

TIMES = st.lists(st.floats(0.01, 1e4), min_size=1, max_size=60)
WORKERS = st.integers(1, 80)


def test_a_case_by_hand():
    # 2 workers: 5 | 1 2 3 and then 4 by whoever is free first, at 5; longest first: 5 3 | 4 2 1
    assert makespan([5, 1, 2, 3, 4], 2) == 9
    assert makespan([5, 4, 3, 2, 1], 2) == 8
    assert [makespan([5, 1, 2, 3, 4], workers) for workers in (1, 3, 5, 500)] == [15, 6, 5, 5]


@given(TIMES, WORKERS)
def test_the_bounds_of_list_scheduling(seconds, workers):
    found, share = makespan(seconds, workers), sum(seconds) / workers
    assert found >= max(max(seconds), share) * (1 - 1e-9)
    assert found <= (share + max(seconds) * (1 - 1 / workers)) * (1 + 1e-9)


@given(TIMES)
def test_one_worker_takes_the_sum_and_many_the_longest(seconds):
    assert makespan(seconds, 1) == pytest.approx(sum(seconds))
    assert makespan(seconds, len(seconds)) == max(seconds)
