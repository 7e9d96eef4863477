"""Return of freed memory to the operating system, which the C library otherwise retains."""

from __future__ import annotations

import ctypes
import sys
import time


def return_freed_memory() -> None:
    """Return the freed memory that the C library retains to the operating system (glibc only).

    Later work that allocates blocks of other sizes could not reuse it, so that a process would hold the sum of its
    stages instead of the largest of them.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)


class FreedMemoryTimer:
    """Returns freed memory to the operating system from time to time.

    Between evaluations in large batches a process grows by the freed memory that it cannot reuse.

    Parameters
    ----------
    seconds : float
        Least time between two returns. Each has a cost, because the memory must be requested again.
    """

    def __init__(self, seconds: float = 10.0) -> None:
        self._seconds, self._last = seconds, time.monotonic()

    def return_if_due(self) -> None:
        """Return freed memory if the last return is at least `seconds` ago."""
        if time.monotonic() - self._last >= self._seconds:
            return_freed_memory()
            self._last = time.monotonic()
