"""Tests of `bench.core.freed_memory`."""

from __future__ import annotations

import ctypes
import platform

import psutil
import pytest

from bench.core.freed_memory import FreedMemoryTimer, return_freed_memory

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc retains freed memory this way")
#: Below the size from which glibc maps each block on its own.
BLOCK, BLOCKS = 64 * 2**10, 1600


@pytest.fixture
def retained():
    """Free 100 MiB below a block that is still in use, so that the C library retains them."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    blocks = [libc.malloc(BLOCK) for _ in range(BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, BLOCK)
    for block in blocks[:-1]:
        libc.free(block)
    yield psutil.Process().memory_info().rss
    libc.free(blocks[-1])


def returned(before: int) -> int:
    return before - psutil.Process().memory_info().rss


def test_freed_memory_is_returned(retained):
    return_freed_memory()
    assert returned(retained) > BLOCKS * BLOCK // 2


def test_a_timer_returns_memory_once_it_is_due(retained):
    FreedMemoryTimer(seconds=3600).return_if_due()
    assert returned(retained) < BLOCKS * BLOCK // 2
    FreedMemoryTimer(seconds=0).return_if_due()
    assert returned(retained) > BLOCKS * BLOCK // 2
