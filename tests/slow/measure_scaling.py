"""A study's run on 1 to 512 workers, simulated from its own times: ``python tests/slow/measure_scaling.py STUDY``.

The writer's rows per second are measured with rows of that study, in a store like its own in a temporary folder.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from bench.run.forecast import group_work
from bench.run.open_study import open_study
from bench.run.row_writer import RowWriter
from bench.run.scaling import makespan
from bench.store.database import ROWS, Store, open_store
from bench.store.reader import read_database

WORKERS = tuple(2**i for i in range(10))
WRITTEN = 2000
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


def main() -> None:
    """Print a table of simulated runs."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    times, rate = group_times(folder), rows_per_second(folder)
    seconds = list(times.seconds.values())
    print(
        f"{times.rows:,} rows in {len(seconds)} groups, {sum(seconds):,.0f} s in all, "
        f"the longest {max(seconds):.0f} s; overhead {times.overhead:.1f} s a group; "
        f"the writer takes {rate:,.0f} rows/s\n"
    )
    print("| workers | time, s | over T/R | in plan order | longest first | limited by |\n|---|---|---|---|---|---|")
    session = open_study(folder)
    work = group_work(session, {cell.id for cell in session.plan.cells()})
    forecast, longest = (_ordered(times, costs) for costs in (work, times.seconds))
    for workers in WORKERS:
        found, planned, ideal = (simulate(one, workers, rate) for one in (forecast, times, longest))
        ratios = f"{found.ratio:.2f} | {planned.ratio:.2f} | {ideal.ratio:.2f}"
        print(f"| {workers} | {found.seconds:,.0f} | {ratios} | {found.limit or '-'} |")


def _ordered(times: GroupTimes, costs: Mapping[str, float]) -> GroupTimes:
    """Return the groups in the order in which a run hands them out: the most costly first."""
    order = sorted(times.seconds, key=lambda group: -costs[group])
    return replace(times, seconds={group: times.seconds[group] for group in order})


def rows_per_second(folder: Path) -> float:
    """Write rows of a study as a run does, each with the mark of the next."""
    with closing(open_store(folder)) as store, store.transaction() as connection:
        rows = [dict(row) for row in islice(connection.execute(ROWS.select()).mappings(), WRITTEN)]
    with tempfile.TemporaryDirectory() as scratch, closing(open_store(Path(scratch), create=True)) as store:
        return len(rows) / _seconds(store, rows)


def _seconds(store: Store, rows: list[dict[str, object]]) -> float:
    start, writer = time.perf_counter(), RowWriter(store)
    for row, upcoming in zip(rows, [*rows[1:], None], strict=True):
        writer.add(row, upcoming and {**upcoming, "state": "running"})
    writer.flush()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
