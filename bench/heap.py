"""The C library's heap, which keeps what was freed."""

from __future__ import annotations

import ctypes
import sys


def return_freed_memory() -> None:
    """Give what the heap keeps of freed memory back to the system (glibc; elsewhere nothing is done).

    Work that allocates in other sizes could not use it, so that a process would hold the sum of its stages, not the
    largest of them.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)
