"""Import many modules quickly."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_imports() -> Iterator[None]:
    """Pause the garbage collector while modules are imported.

    Imports create hundreds of thousands of objects, all of which stay: looking for garbage among them again and again
    takes a seventh of the time that torch and timm need.

    Examples
    --------
    >>> with quick_imports():
    ...     import json
    >>> gc.isenabled()
    True
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
