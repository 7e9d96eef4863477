"""Kill a real run, resume it, and compare every row with an undisturbed run's, bit for bit."""

from __future__ import annotations

import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from kill_driver import start

from bench.store.reader import StudyData, read_database
from bench.store.schema import VOLATILE

#: Stage and its entry at which the run is killed; the stages come in this order in a run of the tiny study.
KILLS = (
    ("training", 7), ("between write and rename", 1), ("scoring", 3), ("evaluation", 2), ("within a commit", 30),
    ("evaluation", 40),
)  # fmt: skip
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


def killed(folder: Path, scratch: Path, stage: str, count: int) -> str:
    """Run a study until it is killed at an entry into a stage; return where it was."""
    run = start(scratch, "run", folder, stage=stage, count=count)
    assert run.wait() == -signal.SIGKILL, f"{stage} {count} was never reached: {run.output()}"
    return run.place()


def finish(folder: Path, scratch: Path) -> str:
    run = start(scratch, "run", folder)
    assert run.wait() == 0, run.output()
    return run.output()


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
    landed = [killed(folder, tmp_path / "log", stage, count) for stage, count in KILLS]
    assert landed == [stage for stage, _ in KILLS]
    finish(folder, tmp_path / "log")
    assert_same(read_database(folder), expected)
    assert alignment(folder) == alignment(finished_tiny)
    assert len(alignment(folder)) == 2 * 2
    assert not list((folder / "artifacts").rglob(".*.tmp"))


@pytest.mark.trains
def test_a_kill_inside_a_search_loses_that_search_alone(tmp_path):
    """Twice: in the first search, and in the second one, when a row already holds what the first has found."""
    folder, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    for place in (folder, undisturbed):
        place.mkdir()
        (place / "study.yaml").write_text(SEARCHED_STUDY)
        (place / "claims.yaml").write_text("version: 2\ninclude: [sics]\n")
    for count in (8, 12):
        killed(folder, tmp_path / "log", "evaluation", count)
    finish(folder, tmp_path / "log")
    finish(undisturbed, tmp_path / "log")
    assert_same(read_database(folder), read_database(undisturbed))
    searches = read_database(folder).rows["notes"].dropna()
    assert searches[searches.str.contains('"search"')].nunique() == 2
    assert (folder / "artifacts" / "curves").is_dir()
    kept = alignment(undisturbed)
    assert alignment(folder) == kept
    for kind in ("alignment", "units"):
        shutil.rmtree(folder / "artifacts" / kind)
    assert "0 cells done" in finish(folder, tmp_path / "log")
    assert alignment(folder) == kept


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
