"""Times of laying out and showing a plan of about 100,000 cells (F6): ``python tests/slow/measure_plan.py``.

The study is the digits template with more train seeds: its exclusions leave one point of a hundred. The bound is 5 s
after imports for opening the study and summing it up; each time is the least of three.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.run.driver import Driver, RunOptions
from bench.run.open_study import open_study
from bench.run.plan_summary import summarise_plan
from bench.store.database import open_store
from bench.study.begin import begin_study
from bench.study.templates import new_study

#: 22 seeds of two models: 103,048 cells.
SEEDS = 22


def main() -> None:
    """Make the study and print what each step takes."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "large"
        new_study(folder, "digits", [], None)
        file = folder / "study.yaml"
        file.write_text(file.read_text().replace("train_seeds: 10", f"train_seeds: {SEEDS}", 1))
        session = least("open_study: read the study, lay out its plan", lambda: open_study(folder))
        summary = least("summarise_plan", lambda: summarise_plan(session))
        print(f"{summary['cells']:,} cells in {len(session.plan.groups)} groups")
        least("`prunebench plan`, imports included", lambda: command("plan", folder))
        least("`prunebench plan --help`: imports alone", lambda: command("plan", "--help"))
        with closing(open_store(folder, create=True)) as store:
            least("register", lambda: begin_study(store, session.plan, session.settings, session.facts, None))
            driver = Driver(session.plan, session.registry, session.settings, store, RunOptions())
            least("what is to be done", driver.todo)


def least(what: str, work: Callable[[], Any]) -> Any:
    """Do some work three times and print the shortest."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - start)
    print(f"{what}: {min(times):.2f} s", flush=True)
    return result


def command(*words: object) -> None:
    """Run ``prunebench WORDS`` in a process of its own."""
    subprocess.run([sys.executable, "-m", "prunebench", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
