"""How a study's run would gain from more workers: its groups, as long as they took, handed out in turn."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.store.reader import read_database

#: A run that takes at most so many times T/R scales well (T: time on one worker, R: workers).
WELL = 1.15


@dataclass(frozen=True)
class GroupTimes:
    """What the groups of a study took.

    Attributes
    ----------
    seconds : tuple of float
        Dense model, cells and overhead of each group, in plan order.
    overhead : float
        The part of each that is neither dense model nor cell: checks, alignment, loading; their mean.
    rows : int
        Rows that the one writer has to write.
    """

    seconds: tuple[float, ...]
    overhead: float
    rows: int


@dataclass(frozen=True)
class Scaling:
    """A simulated run.

    Attributes
    ----------
    workers : int
        How many, each with one group at a time.
    seconds : float
        From the start to the end of the last group.
    ratio : float
        `seconds` over T/R; 1 is the best.
    limit : str
        What keeps it from being shorter; empty where the ratio is at most `WELL`.
    """

    workers: int
    seconds: float
    ratio: float
    limit: str


def group_times(folder: Path, profile: str | None = None) -> GroupTimes:
    """Read what the groups of a finished study took, from its store.

    Raises
    ------
    UserError
        If nothing was run there.
    """
    data = read_database(folder, profile)
    cells = data.rows.groupby("group", sort=False)["seconds"].sum()
    dense = data.dense.set_index("group")["seconds"]
    work = cells.add(dense.reindex(cells.index).fillna(0.0))
    overhead = max(0.0, float(data.meta["counters"].get("seconds", 0.0)) - float(work.sum())) / len(work)
    return GroupTimes(tuple((work + overhead).tolist()), overhead, len(data.rows))


def makespan(seconds: Sequence[float], workers: int) -> float:
    """Return the time until all groups are done, each given in turn to the worker that is free first (Graham 1969).

    Parameters
    ----------
    seconds : sequence of float
        Of the groups, in the order in which they are handed out.
    workers : int
        At least 1.

    Examples
    --------
    Two workers: 3 and then 2; 4.

    >>> makespan([3, 4, 2], 2), makespan([3, 4, 2], 1), makespan([3, 4, 2], 9)
    (5.0, 9.0, 4.0)
    """
    free = [0.0] * min(workers, max(1, len(seconds)))
    for each in seconds:
        heapq.heapreplace(free, free[0] + each)
    return max(free)


def simulate(
    times: GroupTimes, workers: int, *, longest_first: bool = False, rows_per_second: float = math.inf
) -> Scaling:
    """Simulate a run, in plan order or the longest groups first.

    Parameters
    ----------
    times : GroupTimes
        What its groups take.
    workers : int
        At least 1.
    longest_first : bool
        Hand out the longest groups first, as if their times were known beforehand.
    rows_per_second : float
        What the one writer can take.

    Examples
    --------
    >>> simulate(GroupTimes((3.0, 4.0, 2.0), 0.0, 9), 2)
    Scaling(workers=2, seconds=5.0, ratio=1.11, limit='')
    >>> simulate(GroupTimes((3.0, 4.0, 2.0), 0.0, 9), 4).limit
    'fewer groups than workers'
    """
    order = sorted(times.seconds, reverse=True) if longest_first else times.seconds
    computing, writing = makespan(order, workers), times.rows / rows_per_second
    longest, share = max(times.seconds), sum(times.seconds) / workers
    seconds = max(computing, writing)
    ratio = round(seconds / share, 2)
    if ratio <= WELL:
        limit = ""
    elif writing > computing:
        limit = "the writer"
    elif longest > share:
        limit = "the longest group" if workers <= len(times.seconds) else "fewer groups than workers"
    else:
        limit = "the last groups, while other workers have none left"
    return Scaling(workers, seconds, ratio, limit)
