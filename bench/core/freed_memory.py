"""The C library's heap, which keeps what was freed."""

from __future__ import annotations

import ctypes
import sys
import time


def return_freed_memory() -> None:
    """Give what the heap keeps of freed memory back to the system (glibc; elsewhere nothing is done).

    Work that allocates in other sizes could not use it, so that a process would hold the sum of its stages, not the
    largest of them.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)


class HeapKeeper:
    """Gives freed memory back now and then: between evaluations in large batches the heap grows by what it cannot fit.

    Parameters
    ----------
    seconds : float
        Least time between two returns, each of which costs what touching that memory again does.
    """

    def __init__(self, seconds: float = 10.0) -> None:
        self._seconds, self._last = seconds, time.monotonic()

    def tend(self) -> None:
        """Return freed memory if the last return is long enough ago."""
        if time.monotonic() - self._last >= self._seconds:
            return_freed_memory()
            self._last = time.monotonic()
