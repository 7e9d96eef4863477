"""Freed memory is returned to the system, at most once in a while."""

from __future__ import annotations

import sys

import psutil
import pytest
import torch

from bench.core.freed_memory import HeapKeeper, return_freed_memory


def held_in_small_pieces(megabytes: int) -> list[torch.Tensor]:
    return [torch.ones(25_000, dtype=torch.float32) for _ in range(10 * megabytes)]


@pytest.mark.skipif(sys.platform != "linux", reason="the C library keeps freed memory as it likes")
@pytest.mark.parametrize("give_back", [return_freed_memory, HeapKeeper(seconds=0).tend])
def test_memory_that_the_heap_keeps_is_returned(give_back):
    process = psutil.Process()
    pieces = held_in_small_pieces(100)
    last = pieces[-1]
    before = process.memory_info().rss
    del pieces
    give_back()
    assert before - process.memory_info().rss > 50 * 2**20
    assert last.sum() == 25_000


def test_a_keeper_waits_between_two_returns():
    keeper = HeapKeeper(seconds=3600)
    process = psutil.Process()
    pieces = held_in_small_pieces(100)
    last = pieces[-1]
    del pieces
    kept = process.memory_info().rss
    keeper.tend()
    assert abs(process.memory_info().rss - kept) < 20 * 2**20
    assert last.sum() == 25_000
