"""``run``: what it computes, and how it fails."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bench.models.checkpoints import read_metadata, save_checkpoint, state_digest
from bench.store.database import open_store
from bench.store.reader import read_database


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_that_is_absent_is_one_line_and_exit_code_2(tiny, command):
    result = command("run", tiny, "--device", "cuda")
    assert result.code == 2
    assert "no usable GPU" in result.err


def test_a_second_run_names_the_process_that_holds_the_study(finished, command):
    with open_store(finished).lock():
        result = command("run", finished)
    assert result.code == 2
    assert f"locked by process {os.getpid()} on {socket.gethostname()} since" in result.err


@pytest.mark.parametrize("arguments", [("--merge", "absent"), ("--engine", "ray", "--address", "127.0.0.1:1")])
def test_a_first_run_that_is_refused_leaves_nothing(tiny, command, arguments):
    if "ray" in arguments:
        pytest.importorskip("ray", reason="Ray is not installed")
    before = sorted(tiny.iterdir())
    result = command("run", tiny, *arguments)
    assert result.code == 2
    assert "Traceback" not in result.err
    assert sorted(tiny.iterdir()) == before


@pytest.mark.parametrize(
    ("where", "place"),
    [("artifacts", "artifacts"), ("results.db", "results.db"), ("artifacts/dense", "dense"), (".prunebench.lock", "x")],
)
def test_a_run_writes_nothing_outside_the_study(tiny, tmp_path, command, where, place):
    outside = tmp_path / "outside"
    outside.mkdir()
    (tiny / where).parent.mkdir(exist_ok=True)
    (tiny / where).symlink_to(outside / place)
    result = command("run", tiny)
    assert result.code == 2
    assert "leads out of the study; remove the link" in result.err
    assert not list(outside.iterdir())


@pytest.mark.parametrize("engine", [(), ("--workers", 2)])
def test_a_plugin_that_exits_fails_its_cells(tiny, command, engine, edit_study):
    (tiny / "mine.py").write_text("def leaves(view, calibration, generator):\n    raise SystemExit(3)\n")
    edit_study(tiny, "scorers: [random, magnitude", "scorers: ['./mine.py:leaves', magnitude")
    result = command("run", tiny, "--profile", "one", "--retry-failed", *engine)
    assert result.code == 0, result.err
    edit_study(tiny, "scorers: [magnitude, exp_magnitude]", "scorers: ['./mine.py:leaves', magnitude]")
    result = command("run", tiny, "--profile", "one", *engine)
    assert result.code == 2
    assert "cells failed" in result.err
    assert "SystemExit: 3" in result.err


def test_a_plugin_that_exits_at_import_is_named(tiny, command, edit_study):
    (tiny / "mine.py").write_text("import sys\nsys.exit(0)\n")
    edit_study(tiny, "scorers: [random", "scorers: ['./mine.py:f'")
    for arguments in (("plan", tiny), ("check", f"{tiny}/mine.py:f")):
        result = command(*arguments)
        assert result.code == 2
        assert f"importing {tiny / 'mine.py'} raised SystemExit: 0" in result.err


def test_nan_scores_fail_their_cells_and_the_run_goes_on(tiny, command, edit_study):
    (tiny / "mine.py").write_text(
        "from bench.models.tensors import ScoreMap\n"
        "def nan(view, calibration, generator):\n"
        "    return ScoreMap({n: m * float('nan') for n, m in view.magnitudes().items()})\n"
    )
    edit_study(tiny, "scorers: [random, magnitude", "scorers: ['./mine.py:nan', magnitude")
    result = command("run", tiny, "--only", "granularity=weight", "--only", "train_seed=0")
    assert result.code == 2
    assert "8 cells failed" in result.err
    assert "NaN or infinite" in result.err
    status = json.loads(command("status", tiny, "--json").out)
    assert status["failed"] == 8
    assert status["done"] > 20
    shown = command("show", tiny, status["failures"][0]["cell"])
    assert "CellError" in shown.out
    assert "Traceback" in shown.out
    (tiny / "mine.py").write_text((tiny / "mine.py").read_text().replace("float('nan')", "1.0"))
    planned = command("plan", tiny)
    assert "./mine.py:nan has changed since an earlier run: its cells are new" in planned.out
    assert command("run", tiny, "--only", "granularity=weight", "--only", "train_seed=0").code == 0


def test_identical_failures_stop_the_run(tiny, command, edit_study):
    (tiny / "mine.py").write_text("def bad(view, calibration, generator):\n    raise ValueError('always')\n")
    edit_study(tiny, "scorers: [random, magnitude", "scorers: ['./mine.py:bad', magnitude")
    edit_study(tiny, "name: tiny", "name: tiny\nstop_after_failures: 3")
    result = command("run", tiny)
    assert result.code == 2
    assert "3 cells failed in the same way: ValueError: always" in result.err
    again = command("run", tiny, "--retry-failed", "--limit", "8")
    assert "3 cells failed in the same way" in again.err


def test_a_cell_that_takes_too_long_fails_alone(tiny, command):
    result = command("run", tiny, "--cell-timeout", "0.001", "--limit", "2", "--profile", "one")
    assert "2 cells failed" in result.err
    assert "deadline" in result.err


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:2000]), "cannot be read"),
        (lambda path: save_file({"linear.weight": torch.zeros(3, 3)}, path), "missing"),
    ],
)
def test_a_damaged_checkpoint_is_named(finished, tmp_path, command, damage, message, edit_study):
    checkpoint = next((finished / "artifacts" / "dense").glob("*.safetensors"))
    target = tmp_path / "mine.safetensors"
    shutil.copy(checkpoint, target)
    damage(target)
    folder = tmp_path / "other"
    folder.mkdir()
    shutil.copy(finished / "study.yaml", folder / "study.yaml")
    edit_study(folder, "{name: digits_cnn, recipe: {epochs: 3}}", f"{{name: digits_cnn, checkpoint: {target}}}")
    result = command("run", folder)
    assert result.code == 2
    assert str(target) in result.err
    assert message in result.err


def test_a_damaged_dense_model_is_named_and_nothing_is_lost(finished, command, edit_study):
    before = len(open_store(finished).states())
    checkpoint = sorted((finished / "artifacts" / "dense").glob("*.safetensors"))[0]
    content = bytearray(checkpoint.read_bytes())
    content[-5] ^= 1
    checkpoint.write_bytes(bytes(content))
    edit_study(finished, "0.8]", "0.8, 0.9]")
    result = command("run", finished)
    assert result.code == 2
    assert str(checkpoint) in result.err
    assert "delete it" in result.err
    assert len(open_store(finished).states()) >= before
    checkpoint.unlink()
    assert command("run", finished).code == 0


def test_a_dense_model_trained_otherwise_is_refused(finished, command, edit_study):
    for checkpoint in (finished / "artifacts" / "dense").glob("*.safetensors"):
        state = {name: tensor.clone() for name, tensor in load_file(checkpoint).items()}
        state["linear.bias"] += 1
        known = read_metadata(checkpoint.read_bytes(), checkpoint)
        save_checkpoint(state, checkpoint, known | {"checkpoint": state_digest(state)})
    edit_study(finished, "0.8]", "0.8, 0.9]")
    rows = len(read_database(finished).rows)
    result = command("run", finished)
    assert result.code == 2
    assert "the rows already there were computed with" in result.err
    assert len(open_store(finished).states()) == rows


def test_a_timeout_spares_the_checks(tiny, command):
    assert command("run", tiny, "--cell-timeout", "30").code == 0
    assert len(read_database(tiny).checks) >= 20


def test_a_run_tells_what_it_left(tiny, command):
    first = command("run", tiny, "--profile", "one", "--limit", "2").out
    assert "2 cells done, 0 failed, 0 skipped, 0 already there, 12 left for another run" in first
    some = command("run", tiny, "--profile", "one", "--only", "sparsity=0.80").out  # a number, however it is written
    done, there, left = map(int, re.findall(r"(\d+) (?:cells done|already there|left)", some))
    assert there == 2
    assert done + left == 12
    assert min(done, left) > 0
    assert "left for another run" not in command("run", tiny, "--profile", "one").out


def test_only_that_matches_nothing_says_so(tiny, command):
    result = command("run", tiny, "--only", "sparsity=0.55")
    assert result.code == 2
    assert "no cell of the plan has that" in result.err


def test_evidence_is_complete(finished):
    data = read_database(finished)
    done = data.rows[data.rows["state"].eq("done")]
    bits = [np.unpackbits(np.frombuffer(b, np.uint8), count=400).mean() for b in done["correct"]]
    np.testing.assert_allclose(bits, done["accuracy"])
    assert done["sparsity_achieved"].between(0, 1).all()
    assert (done["speedup"] >= 1).all()
    assert data.checks["mismatches"].eq(0).all()
    assert len(data.checks) >= 20
    assert done["shared_with"].notna().sum() > 10
    uniform = done[done["allocation"].eq("uniform") & done["granularity"].eq("weight")]
    achieved = uniform["sparsity_achieved"] - uniform["sparsity"]
    assert achieved.abs().max() < 1e-3


def test_a_model_that_only_guesses_is_reported_and_the_run_goes_on(tiny, command, edit_study):
    edit_study(tiny, "recipe: {epochs: 3}", "recipe: {epochs: 1, lr: 1e-9}")
    result = command("run", tiny, "--profile", "one")
    assert result.code == 0
    lines = [" ".join(line.split()) for line in result.out.splitlines()]
    assert (
        sum("the network has learned almost nothing" in line for line in lines) == 2
    )  # when it is met, and at the end
    assert any(line.startswith("note: digits, digits_cnn, seed 0: the training loss ends at 2.3") for line in lines)
    assert any(line.startswith("note: 1 dense model with a warning: digits, digits_cnn, seed 0") for line in lines)


def test_a_training_that_diverges_is_one_line_that_names_a_smaller_rate(tiny, command, edit_study):
    edit_study(tiny, "recipe: {epochs: 3}", "recipe: {epochs: 3, optimizer: sgd, lr: 1e30}")
    result = command("run", tiny, "--profile", "one")
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert "training diverged: the loss is" in result.err
    assert "write `recipe: {lr: 1e+29}` for this model in study.yaml" in result.err
