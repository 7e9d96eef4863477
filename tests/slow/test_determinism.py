"""The same study gives the same evidence: elsewhere, under another environment, on another number of threads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from bench.models.checkpoints import load_checkpoint
from bench.store.reader import StudyData, read_database
from bench.store.schema import VOLATILE

pytestmark = pytest.mark.slow

STUDY = """\
name: again
data: [digits]
models:
  - {name: digits_cnn, recipe: {epochs: 2}}
  - {name: digits_vit, recipe: {epochs: 1}}
train_seeds: 1
granularities: [weight, channel]
scorers: [random, magnitude, taylor, wanda, obs, synflow, v1]
searches: [equal, {name: dbo, evaluations: 20}]
allocations: [global, emp]
sparsities: [0.5, 0.9]
corrections: [none, asr, reconstruct]
recalibrations: [none, cumulative]
exclude:
  - name: corrections only for magnitude
    where: {correction: {not: none}, scorer: {not: magnitude}}
execution: {precision: float32, memory_format: contiguous, batch: 128, threads: THREADS}
"""
HERE = {"PYTHONHASHSEED": "1", "TZ": "UTC", "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1"}
ELSEWHERE = {"PYTHONHASHSEED": "2", "TZ": "Asia/Kolkata", "LC_ALL": "POSIX", "OMP_NUM_THREADS": "2"}


def prunebench(environment: dict[str, str], *arguments: object) -> None:
    words = [sys.executable, "-m", "prunebench", *map(str, arguments)]
    done = subprocess.run(words, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def make(folder: Path, study: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text(study)
    (folder / "claims.yaml").write_text("version: 2\ninclude: [sics, asr, emp]\n")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_same(first: StudyData, second: StudyData) -> None:
    for name in ("rows", "checks", "dense"):
        ours, theirs = (getattr(data, name).drop(columns=list(VOLATILE), errors="ignore") for data in (first, second))
        pd.testing.assert_frame_equal(ours, theirs, check_exact=True)


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Path:
    folder = make(tmp_path_factory.mktemp("here") / "study", STUDY.replace("THREADS", "1"))
    prunebench(HERE, "run", folder)
    return folder


def test_another_place_and_environment_change_no_bit(here, tmp_path):
    there = make(tmp_path / "a b" / "\N{LATIN SMALL LETTER E WITH ACUTE}" / "study", STUDY.replace("THREADS", "1"))
    prunebench(ELSEWHERE, "run", there)
    first, second = read_database(here), read_database(there)
    assert len(first.rows) > 100
    assert_same(first, second)
    ours, theirs = files(here / "artifacts"), files(there / "artifacts")
    assert ours.keys() == theirs.keys()
    for name in ours:
        if name.endswith(".safetensors"):  # its metadata hold the time that training took
            weights = [load_checkpoint(folder / "artifacts" / name) for folder in (here, there)]
            assert all(weights[0][key].equal(weights[1][key]) for key in weights[0])
        else:
            assert ours[name] == theirs[name], name


def test_equal_evidence_gives_the_same_report_everywhere(here, tmp_path):
    prunebench(HERE, "report", here)
    there = make(tmp_path / "elsewhere", STUDY.replace("THREADS", "1"))
    (there / "report").mkdir()
    for evidence in (here / "report").glob("*.parquet"):
        shutil.copy(evidence, there / "report")
    prunebench(ELSEWHERE, "report", there)
    ours, theirs = files(here / "report"), files(there / "report")
    assert [name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)] == []


def rounded(notes: str | None) -> object:
    """Notes with all numbers to 6 digits."""
    return None if notes is None else json.loads(notes, parse_float=lambda text: f"{float(text):.6g}")


def test_the_number_of_threads_changes_no_row_of_given_weights(here, tmp_path):
    """One field may: EMP notes the effective number of scores, which follows their last bits.

    Those of gradients in float32 moved it by 8e-8, others by 3e-15. Trained weights change too, so these are given.
    """
    stored = {}
    for path in sorted((here / "artifacts" / "dense").glob("*.safetensors")):
        model = "digits_vit" if any("attn" in name for name in load_checkpoint(path)) else "digits_cnn"
        stored[model] = path
    models = json.dumps([{"name": name, "checkpoint": str(path)} for name, path in sorted(stored.items())])
    head, tail = STUDY.split("models:\n")[0], STUDY.split("train_seeds: 1\n")[1]
    folders = []
    for threads in ("1", "2"):
        study = f"{head}models: {models}\n{tail}".replace("THREADS", threads)
        folders.append(make(tmp_path / threads, study))
        prunebench({"OMP_NUM_THREADS": "2"}, "run", folders[-1])
    one, two = (read_database(folder).rows for folder in folders)
    assert one["state"].eq("done").sum() > 100
    differ = {name for name in one.columns if name not in VOLATILE and not one[name].equals(two[name])}
    assert differ <= {"notes"}
    assert one["notes"].map(rounded).equals(two["notes"].map(rounded))
