"""How a study's run would gain from more workers: its groups, as long as they took, handed out in turn."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
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
    seconds : mapping of str to float
        Group id -> its dense model, cells and overhead, in the order in which groups are handed out.
    overhead : float
        The part of each that is neither dense model nor cell: checks, alignment, loading; their mean.
    rows : int
        Rows that the one writer has to write.
    """

    seconds: Mapping[str, float]
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
    """Read what the groups of a finished study took, from its store, in plan order.

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
    return GroupTimes({str(group): s + overhead for group, s in work.items()}, overhead, len(data.rows))


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


def simulate(times: GroupTimes, workers: int, rows_per_second: float = math.inf) -> Scaling:
    """Simulate a run.

    Parameters
    ----------
    times : GroupTimes
        What its groups take.
    workers : int
        At least 1.
    rows_per_second : float
        What the one writer can take.

    Examples
    --------
    >>> times = GroupTimes({"a": 3.0, "b": 4.0, "c": 2.0}, 0.0, 9)
    >>> simulate(times, 2)
    Scaling(workers=2, seconds=5.0, ratio=1.11, limit='')
    >>> simulate(times, 4).limit
    'fewer groups than workers'
    """
    taken = list(times.seconds.values())
    computing, writing = makespan(taken, workers), times.rows / rows_per_second
    longest, share = max(taken), sum(taken) / workers
    seconds = max(computing, writing)
    ratio = round(seconds / share, 2)
    if ratio <= WELL:
        limit = ""
    elif writing > computing:
        limit = "the writer"
    elif longest > share:
        limit = "the longest group" if workers <= len(taken) else "fewer groups than workers"
    else:
        limit = "the last groups, while other workers have none left"
    return Scaling(workers, seconds, ratio, limit)
