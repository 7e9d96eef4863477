"""Compare the rows, checks and counters of two runs of one study, bit for bit.

``python tests/slow/compare_runs.py BEFORE AFTER`` prints what differs and exits with code 1 if anything does. Only the
columns of `schema.VOLATILE` (times, tracebacks) may differ.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[2]))
from bench.store import schema
from bench.store.reader import read_database


def main(before: Path, after: Path) -> int:
    first, second = read_database(before), read_database(after)
    differences = _rows(first.rows, second.rows)
    for name in ("checks", "dense"):
        ours, theirs = (getattr(data, name).drop(columns="seconds", errors="ignore") for data in (first, second))
        keys = list(ours.columns[:2])
        if not ours.sort_values(keys, ignore_index=True).equals(theirs.sort_values(keys, ignore_index=True)):
            differences.append(f"{name} differ")
    counters = [{k: v for k, v in data.meta["counters"].items() if k != "seconds"} for data in (first, second)]
    for name in sorted(counters[0].keys() | counters[1].keys()):
        if counters[0].get(name) != counters[1].get(name):
            differences.append(f"counter {name}: {counters[0].get(name)} before, {counters[1].get(name)} after")
    print(f"{len(first.rows)} rows, {len(first.checks)} checks, counters {counters[1]}")
    print(*(differences or ["equal, bit for bit"]), sep="\n")
    return int(bool(differences))


def _rows(before: pd.DataFrame, after: pd.DataFrame) -> list[str]:
    if set(before["cell"]) != set(after["cell"]):
        return [f"{len(set(before['cell']) ^ set(after['cell']))} cells are in one run only"]
    before, after = (rows.set_index("cell").sort_index() for rows in (before, after))
    columns = [column.name for column in schema.ROWS if column.name not in {*schema.VOLATILE, "cell"}]
    return [f"column {name} differs" for name in columns if not before[name].equals(after[name])]


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:3])))
