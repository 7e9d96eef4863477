"""Times of reading a store of about 100,000 rows (F6): ``python tests/slow/measure_store.py [ROWS]``.

Both kinds of store, PostgreSQL's on a server of its own. The bounds are 2 s for reading all rows in a process that has
its imports, and 1 s for the whole command ``status``. Each time is the least of three.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from bench.store import reader, schema  # noqa: E402
from bench.store.database import Store, fix_places, open_store  # noqa: E402
from bench.store.places import Places  # noqa: E402
from bench.store.tables import PLAN, ROWS  # noqa: E402
from tests.analysis.conftest import synthetic, with_features  # noqa: E402
from tests.slow.conftest import running_server  # noqa: E402
from tests.slow.measure_report import PER_SEED  # noqa: E402


def main() -> None:
    """Make the stores and print what reading them takes."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    data = with_features(
        synthetic(
            models=("cnn", "vit", "resnet", "mixer"), seeds=max(2, round(rows / PER_SEED)),
            sparsities=(0.5, 0.6, 0.7, 0.8, 0.9), n_test=10_000,
        )
    ).rows  # fmt: skip
    plain = data.astype("object").where(data.notna(), None).to_dict("records")
    with tempfile.TemporaryDirectory() as scratch, running_server() as server:
        for kind in ("SQLite", "PostgreSQL"):
            folder = Path(scratch) / kind
            folder.mkdir()
            fix_places(folder, Places(store=server.new_database() if kind == "PostgreSQL" else None), "large", "hash")
            with closing(open_store(folder, create=True)) as store:
                fill(store, plain)
                print(f"{kind}, {len(plain):,} rows")
                measure(store, folder, len(plain) // 2)


def measure(store: Store, folder: Path, cell: int) -> None:
    least("read all rows", lambda: reader.read_database(folder), bound=2)
    least("fetch the plan alone", lambda: fetch_plan(store))
    least("read the states alone", store.states)
    least("`status`, the whole command", lambda: command("status", folder), bound=1)
    least("`show`, the whole command", lambda: command("show", folder, cell))


def least(what: str, work: Callable[[], object], bound: float | None = None) -> None:
    """Print the least time of three: by the clock and of the processor, which other processes disturb less."""
    times = []
    for _ in range(3):
        clock, processor = time.perf_counter(), sum(os.times()[:4])
        work()
        times.append((time.perf_counter() - clock, sum(os.times()[:4]) - processor))
    clock, processor = map(min, zip(*times, strict=True))
    print(f"  {what:<28} {clock:6.2f} s, processor {processor:5.2f} s" + (f" (bound {bound} s)" if bound else ""))


def command(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "prunebench", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def fetch_plan(store: Store) -> None:
    with store.transaction() as connection:
        store.fetch(connection, sa.select(PLAN.c.position, PLAN.c.axes))


def fill(store: Store, rows: list[dict[str, object]]) -> None:
    """Write a plan and all its rows, with correctness bits and notes as large as real ones."""
    axes = [c.name for c in schema.AXES if c.name != "position"]
    study = {"study_hash": "h", "name": "large", "claims_hash": None, "study": "{}"}
    store.register(study, [(row["cell"], row["position"], {name: row[name] for name in axes}) for row in rows])
    notes = json.dumps({"channels": {f"layer{number}.conv": number / 7 for number in range(9)}})
    for row in rows:
        if row["state"] == "done":
            row |= {"correct": os.urandom(1250), "notes": notes if row["notes"] == "{}" else row["notes"]}
    names = [column.name for column in ROWS.columns]
    store.repeat(lambda connection: connection.execute(sa.insert(ROWS), [{n: row[n] for n in names} for row in rows]))


if __name__ == "__main__":
    main()
