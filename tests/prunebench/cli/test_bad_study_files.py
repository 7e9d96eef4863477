"""Damaged study files: every command ends well or with one line, soon, and leaves nothing half made."""

from __future__ import annotations

import pytest

from tests.prunebench.cli.fuzzing import files_in, fuzz, mutated_files, shares, tree_of

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")


STUDY = """\
# every key that a study may have
name: everything
description: >-
  Two lines
  of text
data:
  - {name: digits, label: small, calibration: 200, search: 100, limit: {train: 900, test: 300}}
models:
  - name: digits_cnn
    label: net
    args: {}
    recipe: {optimizer: adamw, epochs: 1, batch: 64, lr: 1.0e-3, augmentation: shift, shift: 1}
    normalisation: {mean: [0.3], std: [0.4]}
    exclude: [head]
train_seeds: [0, 3]
calibration: {draws: 1, images: [64, 32], batch: 16}
scorers: [random, magnitude, &one taylor, {name: v1}]
searches: [equal, {name: dbo, evaluations: 20}]
granularities: [weight]
allocations: [uniform, 2:4, {name: emp, beta: 0.5}]
sparsities: [0.5, 0.75]
corrections: [none, asr]
recalibrations: [none, {name: ema, batches: 2}]
exclude:
  - name: corrections for one alone
    where: {correction: {not: none}, scorer: {not: *one}}
execution: {precision: float32, memory_format: contiguous, batch: 128, threads: 1}
stop_after_failures: 3
profiles:
  quick: {train_seeds: 1, sparsities: [0.5]}
"""


@shares(20, 2000)
def test_study_files(ends_well, tmp_path, monkeypatch, examples):
    monkeypatch.chdir(tmp_path)
    study = tmp_path / "study"
    study.mkdir()
    before = {"study", "study/study.yaml"}

    def check(content: bytes) -> None:
        (study / "study.yaml").write_bytes(content)
        refused = ends_well("plan", study)
        ends_well("plan", study, "--profile", "quick")
        # a run that has nothing to do is refused too, so none of these may leave a store
        options = [] if refused else ["--only", "cell=none"]
        assert ends_well("run", study, *options) == 2
        assert files_in(tmp_path) == before

    fuzz(mutated_files(STUDY, tree_of(STUDY)), check, examples)
