"""SIGKILL at 200 moments over SQLite: what was written is still there after each, and is never done again."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from evidence import Evidence, Kept, leftovers, write_study
from kill_driver import STAGES, Run, start

pytestmark = pytest.mark.slow

KILLS = 200
#: As many kills hit every stage of `STAGES`; the rest come at any time.
KILLS_PER_STAGE = 10


def test_two_hundred_kills_lose_nothing_written_and_repeat_only_what_was_not(finished, tmp_path, record_property):
    folder, scratch = tmp_path / "killed", tmp_path / "scratch"
    entries, expected = finished.entries, finished.evidence
    assert all(entries.values()), entries  # a stage that is never entered would be waited for for ever
    random = np.random.default_rng(20260)
    pending = [stage for stage in STAGES for _ in range(KILLS_PER_STAGE)]
    pending += [""] * (KILLS - len(pending))
    random.shuffle(pending)
    landed: Counter[str] = Counter()
    evaluations, lost, cycles = 0, 0, 0
    write_study(folder)
    while pending:
        stage = pending[-1]
        before = Kept.of(folder)
        if stage:
            run = start(scratch, "run", folder, stage=stage, count=int(random.integers(1, 2 + entries[stage] // 4)))
        else:
            run = start(scratch, "run", folder)
            run.process.join(float(random.uniform(0, finished.seconds)))
            run.process.kill()
        code = run.wait()
        evaluations += run.entries().get("evaluation", 0)
        before.assert_in(Kept.of(folder))
        if code == 0:  # it was faster than its killer
            assert_whole(run, folder, before, expected)
            assert evaluations <= entries["evaluation"] + lost
            shutil.rmtree(folder)
            write_study(folder)
            evaluations, lost = 0, 0
            cycles += 1
            continue
        assert code == -9, run.output()
        assert not stage or run.place() == stage
        lost += run.unwritten()
        landed[run.place()] += 1
        pending.pop()
    before = Kept.of(folder)
    run = start(scratch, "run", folder)
    assert run.wait() == 0, run.output()
    assert_whole(run, folder, before, expected)
    assert evaluations + run.entries()["evaluation"] <= entries["evaluation"] + lost
    print(*(f"{count} {place}" for place, count in landed.most_common()), sep="\n")
    record_property("fault", "SIGKILL, SQLite")
    record_property("times", KILLS)
    places = ", ".join(f"{count} {place}" for place, count in landed.most_common())
    record_property("outcome", f"{cycles + 1} runs finished, rows equal; killed: {places}")


def assert_whole(run: Run, folder: Path, before: Kept, expected: Evidence) -> None:
    """The study is as the undisturbed one, and the last run did what was missing, no more."""
    found = Evidence.of(folder)
    found.assert_equal(expected)
    assert leftovers(folder) == []
    missing = len(found.rows) - len(before.rows)
    assert f"{missing} cells done, 0 failed, 0 skipped, {len(before.rows)} already there" in run.output()
