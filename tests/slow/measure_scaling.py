"""A study's run on 1 to 512 workers, simulated from its own times: ``python tests/slow/measure_scaling.py STUDY``.

The writer's rows per second are measured with rows of that study, in a store like its own in a temporary folder.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

from bench.run.forecast import group_work
from bench.run.open_study import open_study
from bench.run.scaling import GroupTimes, group_times, simulate
from bench.store.database import Store, open_store
from bench.store.tables import ROWS

WORKERS = tuple(2**i for i in range(10))
WRITTEN = 2000


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
    """Write rows of a study one by one, each with the mark of the next, as a run does."""
    with closing(open_store(folder)) as store, store.transaction() as connection:
        rows = [dict(row) for row in islice(connection.execute(ROWS.select()).mappings(), WRITTEN)]
    with tempfile.TemporaryDirectory() as scratch, closing(open_store(Path(scratch), create=True)) as store:
        return len(rows) / _seconds(store, rows)


def _seconds(store: Store, rows: list[dict[str, object]]) -> float:
    start = time.perf_counter()
    for row, upcoming in zip(rows, [*rows[1:], None], strict=True):
        store.write_row(row, upcoming and {**upcoming, "state": "running"})
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
