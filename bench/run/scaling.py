"""Time of a run on several workers, from the times of its groups."""

from __future__ import annotations

import heapq
from collections.abc import Sequence


def makespan(seconds: Sequence[float], workers: int) -> float:
    """Return the time until all groups are done, each given in turn to the worker that is free first (Graham 1969).

    Parameters
    ----------
    seconds : sequence of float
        Times of the groups, in the order in which they are handed out.
    workers : int
        At least 1.

    Examples
    --------
    Two workers: 3 and then 2; 4.

    >>> makespan([3, 4, 2], 2), makespan([3, 4, 2], 1), makespan([3, 4, 2], 9)
    (5.0, 9.0, 4.0)
    """
    free = [0.0] * min(workers, max(1, len(seconds)))
    for duration in seconds:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)
