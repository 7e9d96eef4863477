"""Kill a real run, resume it, and compare every row with an undisturbed run's, bit for bit."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.store.reader import StudyData, read_database
from bench.store.schema import VOLATILE

DRIVER = Path(__file__).with_name("kill_driver.py")
#: Stage and its entry at which the run is killed; the stages come in this order in a run of the tiny study.
KILLS = (
    ("training", 7), ("between write and rename", 1), ("scoring", 3), ("evaluation", 2), ("within a commit", 30),
    ("evaluation", 40),
)  # fmt: skip
RANDOM_KILLS = 30
#: Evaluations: 1 dense row, then two searches of about 20 different masks each.
SEARCHED_STUDY = """\
name: searched
data: [digits]
models: [{name: digits_cnn, recipe: {epochs: 2}}]
train_seeds: 1
granularities: [channel]
scorers: [v1, a5]
searches: [{name: random_search, evaluations: 40}]
sparsities: [0.4]
recalibrations: [none, cumulative]
"""


def start(folder: Path, log: Path, stage: str = "-", count: int = 0) -> subprocess.Popen[str]:
    words = [sys.executable, DRIVER, log, stage, count, "--", "run", folder]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [str(word) for word in words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )


def finish(folder: Path, log: Path) -> str:
    process = start(folder, log)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def stable(data: StudyData) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Everything that must be equal: rows, checks and dense models, times apart."""
    return (
        data.rows.drop(columns=list(VOLATILE)),
        data.checks,
        data.dense.drop(columns="seconds"),
    )


def assert_same(first: StudyData, second: StudyData) -> None:
    for ours, theirs in zip(stable(first), stable(second), strict=True):
        pd.testing.assert_frame_equal(ours, theirs, check_exact=True)


def alignment(folder: Path) -> dict[str, bytes]:
    """The artifacts on alignment: name -> content."""
    files = [path for kind in ("alignment", "units") for path in (folder / "artifacts" / kind).rglob("*.parquet")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def expected(finished_tiny) -> StudyData:
    """Evidence of an undisturbed run."""
    data = read_database(finished_tiny)
    assert data.rows["state"].isin(["done", "skipped"]).all()
    return data


def test_six_kills_in_every_stage_lose_nothing(expected, finished_tiny, tiny, tmp_path):
    folder = tiny
    landed = []
    for stage, count in KILLS:
        log = tmp_path / "log"
        process = start(folder, log, stage, count)
        output, _ = process.communicate(timeout=300)
        assert process.returncode == -signal.SIGKILL, f"{stage} {count} was never reached: {output}"
        landed.append(log.read_text().strip())
    print("kills landed at:", ", ".join(landed))
    assert [place.rsplit(" ", 1)[0] for place in landed] == [stage for stage, _ in KILLS]
    finish(folder, tmp_path / "log")
    assert_same(read_database(folder), expected)
    assert alignment(folder) == alignment(finished_tiny)
    assert len(alignment(folder)) == 2 * 2
    assert not list((folder / "artifacts").rglob(".*.tmp"))


def test_a_kill_inside_a_search_loses_that_search_alone(tmp_path):
    """Twice: in the first search, and in the second one, when a row already holds what the first has found."""
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    for folder in (killed, undisturbed):
        folder.mkdir()
        (folder / "study.yaml").write_text(SEARCHED_STUDY)
        (folder / "claims.yaml").write_text("include: [sics]\n")
    for count in (8, 12):
        process = start(killed, tmp_path / "log", "evaluation", count)
        output, _ = process.communicate(timeout=300)
        assert process.returncode == -signal.SIGKILL, output
    finish(killed, tmp_path / "log")
    finish(undisturbed, tmp_path / "log")
    assert_same(read_database(killed), read_database(undisturbed))
    searches = read_database(killed).rows["notes"].dropna()
    assert searches[searches.str.contains('"search"')].nunique() == 2
    assert (killed / "artifacts" / "curves").is_dir()
    kept = alignment(undisturbed)
    assert alignment(killed) == kept
    for kind in ("alignment", "units"):
        shutil.rmtree(killed / "artifacts" / kind)
    assert "0 cells done" in finish(killed, tmp_path / "log")
    assert alignment(killed) == kept


def test_a_second_run_computes_nothing(expected, finished_tiny, tmp_path):
    output = finish(finished_tiny, tmp_path / "log")
    assert "0 cells done, 0 failed, 0 skipped" in output
    again = read_database(finished_tiny)
    pd.testing.assert_frame_equal(again.rows, expected.rows)
    assert again.meta["registered"] == expected.meta["registered"]


def test_any_order_of_runs_gives_the_same_rows(expected, finished_tiny, tiny, run_command):
    for arguments in (["--only", "scorer=taylor"], ["--limit", "7"], ["--profile", "one"], []):
        done = run_command("run", tiny, *arguments)
        assert done.returncode == 0, done.stdout
    found = read_database(tiny)
    # the profile is a study of its own, with a sample of its own: its checks come on top
    mine = found.checks.merge(expected.checks, how="inner")
    assert_same(replace(found, checks=mine), expected)
    assert alignment(tiny).items() >= alignment(finished_tiny).items()


@pytest.mark.slow
def test_thirty_random_kills_lose_nothing(expected, tmp_path, write_tiny):
    folder = write_tiny(tmp_path / "killed")
    random = np.random.default_rng(20260)
    landed: list[str] = []
    while len(landed) < RANDOM_KILLS:
        log = tmp_path / "log"
        log.unlink(missing_ok=True)
        process = start(folder, log)
        while not (log.exists() and log.stat().st_size) and process.poll() is None:
            time.sleep(0.005)
        time.sleep(float(random.uniform(0, 4)))  # a whole run takes about as long from its first commit on
        if process.poll() is not None:  # finished: begin anew, so that every kill hits a run at work
            shutil.rmtree(folder)
            write_tiny(folder)
            continue
        process.kill()
        process.communicate()
        landed.append(log.read_text().strip())
    print("kills landed at:", *landed, sep="\n  ")
    finish(folder, tmp_path / "log")
    assert_same(read_database(folder), expected)
