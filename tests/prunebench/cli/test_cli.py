"""The command line as a user meets it: every command, and every mistake."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from bench.models.checkpoints import read_metadata, save_checkpoint, state_digest
from bench.store.database import open_store
from bench.store.reader import read_database


@pytest.fixture
def finished(finished_tiny, tmp_path) -> Path:
    """A copy of a finished study that a test may spoil."""
    return Path(shutil.copytree(finished_tiny, tmp_path / "finished"))


def test_new_makes_a_study_that_plan_accepts(tmp_path, command):
    assert command("new", tmp_path / "s", "--from", "digits").code == 0
    planned = command("plan", tmp_path / "s", "--profile", "quick", "--json")
    assert planned.code == 0
    summary = json.loads(planned.out)
    assert summary["todo"] == summary["cells"] > 1000
    assert summary["seconds"] > 0
    assert summary["memory"] > 0
    assert summary["decidable"]["least_effect_sd"] == pytest.approx(3.26, abs=0.01)
    assert not (tmp_path / "s" / "results.db").exists()


def test_new_puts_other_models_in_place(tmp_path, command):
    assert command("new", tmp_path / "s", "--model", "resnet10t", "--model", "digits_cnn").code == 0
    text = (tmp_path / "s" / "study.yaml").read_text()
    assert "# A study is a folder" in text
    summary = json.loads(command("plan", tmp_path / "s", "--profile", "quick", "--json").out)
    assert [model["name"] for model in summary["study"]["models"]] == ["resnet10t", "digits_cnn"]


def test_plan_reads_for_people(tiny, command):
    result = command("plan", tiny)
    assert result.code == 0
    for word in ("to do", "excluded", "forecast", "margin", "fewer than 6 models"):
        assert word in result.out or word == "forecast"


def test_status_and_show(finished, command):
    status = json.loads(command("status", finished, "--json").out)
    assert status["todo"] == status["failed"] == status["running"] == 0
    assert status["done"] + status["skipped"] == status["cells"]
    assert status["skips"][0]["reason"] == "scorer l2 is defined for granularity channel only"
    assert "to do, of" in command("status", finished).out
    row = json.loads(command("show", finished, "0", "--json").out)
    assert row["scorer"] == "dense"
    shown = command("show", finished, row["cell"][:10])
    assert f"--only cell={row['cell']}" in shown.out
    wrong = command("show", finished, "nonsense")
    assert wrong.code == 2
    assert "no cell begins with 'nonsense'" in wrong.err


def test_report_and_claims(finished, command):
    result = command("report", finished)
    assert result.code == 0
    index = finished / "report" / "index.html"
    assert str(index) in result.out
    verdicts = json.loads(command("claims", finished, "--json").out)
    assert {"P1", "P2", "C1"} <= {str(v) for row in verdicts for v in row.values()}
    (finished / "results.db").unlink()
    before = index.read_bytes()
    assert command("report", finished).code == 0
    assert index.read_bytes() == before


def test_prune_writes_a_model_that_does_what_the_row_says(finished, tmp_path, command):
    rows = read_database(finished).rows
    row = rows[rows["correction"].eq("asr") & rows["recalibration"].eq("cumulative")].iloc[0]
    out = tmp_path / "model.safetensors"
    result = command("prune", finished, row["cell"], "-o", out)
    assert result.code == 0, result.err
    assert f"{row['accuracy']:.4f}" in result.out
    with safe_open(out, "pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    zeros = sum(int((w == 0).sum()) for n, w in weights.items() if "num_batches" not in n and "running" not in n)
    total = sum(w.numel() for n, w in weights.items() if "num_batches" not in n and "running" not in n)
    assert zeros / total == pytest.approx(row["sparsity_parameters"])


@pytest.mark.parametrize(
    "kind", ["scorers", "searches", "repairs", "allocations", "models", "recipes", "datasets", "templates"]
)
def test_list_names_what_there_is(kind, command):
    entries = json.loads(command("list", kind, "--json").out)
    assert all(entry["name"] for entry in entries)
    assert len(entries) >= 2
    assert entries[0]["name"] in command("list", kind).out


def test_check_and_doctor(command):
    assert command("check", "wanda").code == 0
    assert all(v["problem"] is None for v in json.loads(command("check", "uniform", "--json").out))
    doctor = json.loads(command("doctor", "--json").out)
    assert "torch" in doctor["versions"]
    assert doctor["database"] == "SQLite with WAL works in this folder"


def test_help_teaches(command):
    for name in (
        "",
        "new",
        "plan",
        "run",
        "status",
        "show",
        "report",
        "claims",
        "list",
        "check",
        "doctor",
        "prune",
    ):
        result = command(*([name] if name else []), "--help")
        assert result.code == 0
        assert "Usage" in result.out


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "study.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("taylor]", "tailor]", "no scorer named 'tailor': did you mean 'taylor'?"),
        ("digits_cnn", "digits_cn", "did you mean 'digits_cnn'"),
        ("[digits]", "[digit]", "did you mean 'digits'"),
        ("[digits]", "['parquet:/nowhere']", "/nowhere: there is no such folder"),
        ("epochs: 3", "epoch: 3", "did you mean 'epochs'"),
        ("0.8]", "1.5]", "less than 1"),
        ("0.8]", "0.5]", "duplicate cells"),
        ("name: tiny", "nam: tiny", "unknown key 'nam'"),
        ("name: tiny", "name: [", "not valid YAML"),
        (
            "{name: digits_cnn, recipe: {epochs: 3}}",
            "{name: digits_cnn, checkpoint: absent.pt}",
            "absent.pt: there is no such file",
        ),
    ],
)
@pytest.mark.parametrize("verb", ["plan", "run"])
def test_a_mistake_in_the_study_is_one_line_and_exit_code_2(tiny, command, verb, old, new, message):
    edit(tiny, old, new)
    result = command(verb, tiny)
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert result.err.startswith("error: ")
    assert message in result.err
    assert not (tiny / "results.db").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "{tiny}", "--only", "scorrer=x"], "did you mean 'scorer'"),
        (["run", "{tiny}", "--engine", "spark"], "no engine named 'spark'"),
        (["run", "{tiny}", "--device", "tpu"], "valid: auto, cpu, cuda"),
        (["run", "{tiny}", "--profile", "on"], "did you mean 'one'"),
        (["plan", "{tiny}/absent"], "there is no such file"),
        (["status", "{tiny}"], "nothing has been run yet"),
        (["report", "{tiny}"], "run"),
        (["prune", "{tiny}", "0", "-o", "x.safetensors"], "run"),
        (["new", "{tiny}"], "exists already"),
        (["new", "{tiny}/x", "--from", "digit"], "did you mean 'digits'"),
        (["list", "scorer"], "did you mean 'scorers'"),
        (["check", "magnitud"], "did you mean 'magnitude'"),
        (["check", "./absent.py:f"], "there is no file"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_and_exit_code_2(tiny, command, arguments, message):
    result = command(*(word.replace("{tiny}", str(tiny)) for word in arguments))
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert message in result.err


def test_a_long_name_does_not_hide_where_the_error_is_and_how_to_mend_it(tiny, command):
    edit(tiny, "scorers: [random", f"scorers: [{'k' * 9000}")
    result = command("plan", tiny)
    assert result.code == 2
    assert len(result.err) < 1600
    assert result.err.startswith(f"error: {tiny / 'study.yaml'}")
    assert "valid: a5, a5_log6" in result.err[-200:]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_that_is_absent_is_one_line_and_exit_code_2(tiny, command):
    result = command("run", tiny, "--device", "cuda")
    assert result.code == 2
    assert "no usable GPU" in result.err


def test_a_store_of_another_schema_is_refused_and_kept(finished, command):
    connection = sqlite3.connect(finished / "results.db")
    connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
    connection.commit()
    connection.close()
    before = (finished / "results.db").read_bytes()
    for verb in ("run", "status", "report"):
        result = command(verb, finished)
        assert result.code == 2
        assert "schema 99" in result.err
    assert (finished / "results.db").read_bytes() == before


def test_a_second_run_is_told_who_holds_the_study(finished, command):
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
def test_a_plugin_that_exits_fails_its_cells(tiny, command, engine):
    (tiny / "mine.py").write_text("def leaves(view, calibration, generator):\n    raise SystemExit(3)\n")
    edit(tiny, "scorers: [random, magnitude", "scorers: ['./mine.py:leaves', magnitude")
    result = command("run", tiny, "--profile", "one", "--retry-failed", *engine)
    assert result.code == 0, result.err
    edit(tiny, "scorers: [magnitude, exp_magnitude]", "scorers: ['./mine.py:leaves', magnitude]")
    result = command("run", tiny, "--profile", "one", *engine)
    assert result.code == 2
    assert "cells failed" in result.err
    assert "SystemExit: 3" in result.err


def test_a_plugin_that_exits_at_import_is_named(tiny, command):
    (tiny / "mine.py").write_text("import sys\nsys.exit(0)\n")
    for verb in (("plan", tiny), ("check", f"./{tiny.name}/mine.py:f")):
        edit(tiny, "scorers: [random", "scorers: ['./mine.py:f'") if verb[0] == "plan" else None
        result = command(*verb)
        assert result.code == 2, verb
        assert "SystemExit" in result.err or "no file" in result.err


def test_nan_scores_fail_their_cells_and_the_run_goes_on(tiny, command):
    (tiny / "mine.py").write_text(
        "from prunebench.plugin import ScoreMap\n"
        "def nan(view, calibration, generator):\n"
        "    return ScoreMap({n: m * float('nan') for n, m in view.magnitudes().items()})\n"
    )
    edit(tiny, "scorers: [random, magnitude", "scorers: ['./mine.py:nan', magnitude")
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


def test_identical_failures_stop_the_run(tiny, command):
    (tiny / "mine.py").write_text("def bad(view, calibration, generator):\n    raise ValueError('always')\n")
    edit(tiny, "scorers: [random, magnitude", "scorers: ['./mine.py:bad', magnitude")
    edit(tiny, "name: tiny", "name: tiny\nstop_after_failures: 3")
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
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:2000]), "cannot be read"),
        (lambda path: save_file({"linear.weight": torch.zeros(3, 3)}, path), "missing"),
    ],
)
def test_a_spoilt_checkpoint_is_named(finished, tmp_path, command, spoil, message):
    checkpoint = next((finished / "artifacts" / "dense").glob("*.safetensors"))
    target = tmp_path / "mine.safetensors"
    shutil.copy(checkpoint, target)
    spoil(target)
    folder = tmp_path / "other"
    folder.mkdir()
    shutil.copy(finished / "study.yaml", folder / "study.yaml")
    edit(folder, "{name: digits_cnn, recipe: {epochs: 3}}", f"{{name: digits_cnn, checkpoint: {target}}}")
    result = command("run", folder)
    assert result.code == 2
    assert str(target) in result.err
    assert message in result.err


def test_a_damaged_dense_model_is_named_and_nothing_is_lost(finished, command):
    before = len(open_store(finished).states())
    checkpoint = sorted((finished / "artifacts" / "dense").glob("*.safetensors"))[0]
    content = bytearray(checkpoint.read_bytes())
    content[-5] ^= 1
    checkpoint.write_bytes(bytes(content))
    edit(finished, "0.8]", "0.8, 0.9]")
    result = command("run", finished)
    assert result.code == 2
    assert str(checkpoint) in result.err
    assert "delete it" in result.err
    assert len(open_store(finished).states()) >= before
    checkpoint.unlink()
    assert command("run", finished).code == 0


def test_a_dense_model_trained_otherwise_is_refused(finished, command):
    for checkpoint in (finished / "artifacts" / "dense").glob("*.safetensors"):
        state = {name: tensor.clone() for name, tensor in load_file(checkpoint).items()}
        state["linear.bias"] += 1
        known = read_metadata(checkpoint.read_bytes(), checkpoint)
        save_checkpoint(state, checkpoint, known | {"checkpoint": state_digest(state)})
    edit(finished, "0.8]", "0.8, 0.9]")
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


def test_power_before_and_after_a_run(tiny, finished, command):
    before = command("power", tiny, "--sd", "1.5", "--models", "5", "--models", "10")
    assert before.code == 0
    assert "Spread: stated, 1.5 points" in before.out
    assert "n = 5:" in before.out
    assert not (tiny / "results.db").exists()
    found = json.loads(command("power", finished, "--json").out)
    assert {one["claim"] for one in found} >= {"P2", "P3", "A1 (ema)"}
    assert command("power", tiny, "--pilot", finished).code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--sd", "-1"), "sd"),
        (("--models", "1"), "models"),
        (("--pilot", "nowhere"), "nowhere: neither results.db nor report/data.parquet is there"),
    ],
)
def test_power_mistakes_get_one_line(tiny, command, words, said):
    result = command("power", tiny, *words)
    assert result.code == 2
    assert said in result.err
    assert "Traceback" not in result.err


# ---------------------------------------------------------------- training


def test_a_model_that_only_guesses_is_reported_and_the_run_goes_on(tiny, command):
    edit(tiny, "recipe: {epochs: 3}", "recipe: {epochs: 1, lr: 1e-9}")
    result = command("run", tiny, "--profile", "one")
    assert result.code == 0
    lines = [" ".join(line.split()) for line in result.out.splitlines()]
    assert (
        sum("the network has learned almost nothing" in line for line in lines) == 2
    )  # when it is met, and at the end
    assert any(line.startswith("note: digits, digits_cnn, seed 0: the training loss ends at 2.3") for line in lines)
    assert any(line.startswith("note: 1 dense model with a warning: digits, digits_cnn, seed 0") for line in lines)


def test_a_training_shows_losses_and_learning_rates(tiny, command):
    result = command("run", tiny, "--profile", "one")
    assert re.search(r"training digits_cnn, seed 0: epoch 1/3, loss \d\.\d{3}, learning rate 0\.\d+", result.out)
    assert re.search(r"training digits_cnn, seed 0: epoch 3/3, loss \d\.\d{3}, learning rate ", result.out)
    assert "learned almost nothing" not in result.out
    shown = command("show", tiny, "0")
    assert re.search(r"epoch +training loss \(nats\) +learning rate", shown.out)
    history = json.loads(command("show", tiny, "0", "--json").out)["history"]
    assert [len(history[name]) for name in ("loss", "lr")] == [3, 3]
    assert f"{history['loss'][2]:.4g}" in shown.out
    assert "training loss" not in command("show", tiny, "2").out  # a pruned cell


@pytest.mark.parametrize("text", ["[1]", '{"loss": 3}', '{"loss": ["x"]}', '{"loss": [1.0], "lr": []}', "{"])
def test_a_damaged_history_is_one_line(finished, command, text):
    with closing(sqlite3.connect(finished / "results.db")) as connection:
        connection.execute("UPDATE dense SET history = ?", (text,))
        connection.commit()
    result = command("show", finished, "0")
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert "damaged" in result.err


def test_a_training_that_diverges_is_one_line_that_names_a_smaller_rate(tiny, command):
    edit(tiny, "recipe: {epochs: 3}", "recipe: {epochs: 3, optimizer: sgd, lr: 1e30}")
    result = command("run", tiny, "--profile", "one")
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert "training diverged: the loss is" in result.err
    assert "write `recipe: {lr: 1e+29}` for this model in study.yaml" in result.err


def change_settings(folder: Path, **changed: str) -> None:
    with closing(open_store(folder)) as store:
        store.set_meta("settings", json.dumps({**json.loads(store.meta("settings") or ""), **changed}))


def test_the_default_precision_changed_and_a_store_in_bfloat16_is_not_mixed(finished, command):
    change_settings(finished, precision="bfloat16")
    with closing(open_store(finished)) as store:
        before = store.study_hashes()
    for verb in ("plan", "run"):
        result = command(verb, finished)
        assert result.code == 2
        assert result.err.count("\n") == 1
        assert f"{finished / 'study.yaml'}: this study was begun in bfloat16" in result.err
        assert "Write `execution: {precision: auto}` to continue it" in result.err
    text = (finished / "study.yaml").read_text()
    (finished / "study.yaml").write_text(text + "execution: {precision: auto}\n")
    summary = json.loads(command("plan", finished, "--json").out)
    assert {summary["study_hash"]} == before


def test_models_of_a_store_that_were_trained_in_another_memory_format_are_named(finished, command):
    assert "changed since" not in command("plan", finished).out
    change_settings(finished, memory_format="channels_last")  # as version 0.1 measured it, and trained contiguous
    result = command("plan", finished)
    assert "digits_cnn: the memory format of its training changed since an earlier run: its cells are new" in result.out


def test_an_unknown_recipe_key_names_the_list(tiny, command):
    edit(tiny, "recipe: {epochs: 3}", "recipe: {momentun: 0.5}")
    result = command("plan", tiny)
    assert result.code == 2
    assert "did you mean 'momentum'?; `prunebench list recipes` lists them" in result.err
