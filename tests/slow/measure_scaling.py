"""A study's run on 1 to 512 workers, simulated from its own times: ``python tests/slow/measure_scaling.py STUDY``.

The writer's rows per second are measured with rows of that study, in a store like its own in a temporary folder.
"""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import closing
from itertools import islice
from pathlib import Path

from bench.scaling import group_times, simulate
from bench.store.database import ROWS, Store, open_store

WORKERS = tuple(2**i for i in range(10))
WRITTEN = 2000


def main() -> None:
    """Print a table of simulated runs."""
    folder = Path(sys.argv[1])
    times, rate = group_times(folder), rows_per_second(folder)
    total, longest = sum(times.seconds), max(times.seconds)
    print(
        f"{times.rows:,} rows in {len(times.seconds)} groups, {total:,.0f} s in all, the longest {longest:.0f} s; "
        f"overhead {times.overhead:.1f} s a group; the writer takes {rate:,.0f} rows/s\n"
    )
    print("| workers | time, s | over T/R | longest first | limited by |\n|---|---|---|---|---|")
    for workers in WORKERS:
        found = simulate(times, workers, rows_per_second=rate)
        first = simulate(times, workers, rows_per_second=rate, longest_first=True)
        print(f"| {workers} | {found.seconds:,.0f} | {found.ratio:.2f} | {first.ratio:.2f} | {found.limit or '-'} |")


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
