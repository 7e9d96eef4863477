"""Whether freed memory stays with the process, which may use it again, or returns to the operating system."""

from __future__ import annotations

import ctypes
import sys
import time

#: Parameters of glibc's `mallopt`, from its <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
#: Bytes that the C library keeps when they are freed, and from which on a block is a mapping of its own.
KEPT = 2**30


def keep_freed_memory() -> None:
    """Let the C library keep freed blocks of less than 1 GiB for later ones, until `return_freed_memory` (glibc only).

    By default it returns the memory of activations after every pass and requests it anew for the next one, page by
    page: on two cores of a virtual machine forward passes of a digits network took twice as long.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            if not mallopt(M_MMAP_THRESHOLD, KEPT):
                mallopt(M_MMAP_THRESHOLD, 2**25)  # the most that older versions accept
            mallopt(M_TRIM_THRESHOLD, KEPT)


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
