"""Tests of `bench.run.scaling`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.run.scaling import GroupTimes, group_times, makespan, simulate
from bench.store.reader import read_database

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


@pytest.mark.parametrize(
    ("groups", "workers", "rate", "limit"),
    [
        ([1.0] * 16, 4, 1e9, ""),
        ([1.0] * 17, 4, 1e9, "the last groups, while other workers have none left"),  # 5 rounds for 4.25
        ([1.0] * 16 + [9.0], 4, 1e9, "the longest group"),
        ([1.0] * 4, 16, 1e9, "fewer groups than workers"),
        ([1.0] * 16, 4, 2.0, "the writer"),
    ],
)
def test_what_limits_a_run(groups, workers, rate, limit):
    assert simulate(GroupTimes(dict(enumerate(groups)), 0.0, 100), workers, rate).limit == limit


def test_the_times_are_those_of_the_store(finished_tiny):
    times, data = group_times(finished_tiny), read_database(finished_tiny)
    assert len(times.seconds) == 2
    assert times.rows == len(data.rows)
    measured = data.rows["seconds"].sum() + data.dense["seconds"].sum()
    assert sum(times.seconds.values()) == pytest.approx(measured + 2 * times.overhead)
