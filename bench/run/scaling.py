"""Simulation of a run on more workers, from the times that the groups of a finished study took."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.store.reader import read_database

#: A run scales well if it takes at most so many times T/R (T: time on one worker, R: number of workers).
GOOD_RATIO = 1.15


@dataclass(frozen=True)
class GroupTimes:
    """Times of the groups of a study.

    Attributes
    ----------
    seconds : mapping of str to float
        Group id -> time of its dense model, cells and overhead, in the order in which groups are handed out.
    overhead : float
        Mean time per group for neither dense model nor cells: checks, alignment, loading.
    rows : int
        Rows that the driver writes.
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
        Number of workers; each computes one group at a time.
    seconds : float
        From the start to the end of the last group.
    ratio : float
        `seconds` over T/R; 1 is ideal.
    limit : str
        What prevents a shorter run; empty if the ratio is at most `GOOD_RATIO`.
    """

    workers: int
    seconds: float
    ratio: float
    limit: str


def group_times(folder: Path, profile: str | None = None) -> GroupTimes:
    """Read the times of the groups of a finished study from its store, in plan order.

    Raises
    ------
    UserError
        If no run has written to the folder.
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


def simulate(times: GroupTimes, workers: int, rows_per_second: float = math.inf) -> Scaling:
    """Simulate a run.

    Parameters
    ----------
    times : GroupTimes
        Times of its groups.
    workers : int
        At least 1.
    rows_per_second : float
        Largest rate at which the driver can write.

    Examples
    --------
    >>> times = GroupTimes({"a": 3.0, "b": 4.0, "c": 2.0}, 0.0, 9)
    >>> simulate(times, 2)
    Scaling(workers=2, seconds=5.0, ratio=1.11, limit='')
    >>> simulate(times, 4).limit
    'fewer groups than workers'
    """
    seconds_of_groups = list(times.seconds.values())
    computing, writing = makespan(seconds_of_groups, workers), times.rows / rows_per_second
    longest, share = max(seconds_of_groups), sum(seconds_of_groups) / workers
    seconds = max(computing, writing)
    ratio = round(seconds / share, 2)
    if ratio <= GOOD_RATIO:
        limit = ""
    elif writing > computing:
        limit = "the writer"
    elif longest > share:
        limit = "the longest group" if workers <= len(seconds_of_groups) else "fewer groups than workers"
    else:
        limit = "the last groups, while other workers have none left"
    return Scaling(workers, seconds, ratio, limit)
