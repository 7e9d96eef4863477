"""A user's method that modifies a model which it must not change never makes a wrong row."""

from __future__ import annotations

import pytest

from bench.store.reader import read_database

STUDY = """\
name: modified
data: [digits]
models: [{name: digits_cnn, recipe: {epochs: 2}}]
train_seeds: %(seeds)d
granularities: [weight]
scorers: [%(scorers)s]
allocations: [%(allocations)s]
sparsities: [0.5, 0.8]
corrections: [%(corrections)s]
recalibrations: [none, cumulative]
"""
PLUGINS = """\
import torch
from torch import nn
from bench.core.errors import NotApplicable
from bench.masks.allocation import global_
from bench.models.tensors import ScoreMap

calls = []

def flips_and_fails(view, calibration, generator):
    for name in view.units.names:
        view.module(name).weight.data.neg_()
    raise RuntimeError("before it restores them")

def leaves_a_hook(view, calibration, generator):
    view.model.register_forward_hook(lambda module, inputs, output: output * 0)
    return ScoreMap(view.magnitudes())

def only_once(view, calibration, generator):
    calls.append(view)
    if len(calls) > 1:
        raise NotApplicable("it cannot be called twice")
    return ScoreMap(view.magnitudes())

def doubles_weights(view, calibration, generator):
    view.module(view.units.names[0]).weight.data.mul_(2)
    return ScoreMap(view.magnitudes())

def doubles(units, scores, sparsity, view):
    view.module(units.names[0]).weight.data.mul_(2)
    return global_(units, scores, sparsity, view)

def trains(context):
    context.model.train()
    return {}

def adds_a_bias(context):
    layer = context.model.get_submodule(context.units.names[0])
    layer.bias = nn.Parameter(torch.zeros(len(layer.weight)))
    return {}

def swaps_weights(context):
    layer = context.model.get_submodule(context.units.names[0])
    layer.weight = nn.Parameter(layer.weight.detach().clone())
    return {}

def scales_the_dense(context):
    context.dense_model.get_submodule(context.units.names[0]).weight.data.mul_(3)
    return {}
"""


@pytest.fixture
def rows_of(tmp_path, command):
    """Run a study; return its rows."""

    def run(name, *, code=2, seeds=1, scorers="magnitude", allocations="global", corrections="none"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "mine.py").write_text(PLUGINS)
        lists = {"seeds": seeds, "scorers": scorers, "allocations": allocations, "corrections": corrections}
        (folder / "study.yaml").write_text(STUDY % lists)
        done = command("run", folder)
        assert done.code == code, done.err
        return read_database(folder).rows, done

    return run


@pytest.mark.parametrize(
    ("axis", "ours", "theirs", "change"),
    [
        ("scorers", "magnitude", "flips_and_fails", "it changes its weights or buffers"),
        ("scorers", "magnitude", "leaves_a_hook", "it leaves a hook on the model"),
        ("allocations", "global", "doubles", "it changes its weights or buffers"),
        ("corrections", "asr", "scales_the_dense", "it changes its weights or buffers"),
    ],
)
def test_rows_computed_with_a_modified_dense_model_are_failed_and_the_method_is_named(
    rows_of, axis, ours, theirs, change
):
    found, done = rows_of("with", **{axis: f"'./mine.py:{theirs}', {ours}"})
    assert not found["state"].eq("done").any()
    reasons = found.loc[found["reason"].str.contains("a method modified the dense model", na=False), "reason"]
    assert len(reasons) > 2
    assert reasons.str.contains(f"({change})", regex=False).all()
    assert reasons.str.endswith(f"shows which one: ./mine.py:{theirs}").all()
    assert change in done.err
    assert "0 cells done" in done.out


def test_another_run_without_the_method_computes_the_rows_that_were_not_valid(rows_of, tmp_path, command):
    rows_of("with", scorers="magnitude, './mine.py:doubles_weights'")
    file = tmp_path / "with" / "study.yaml"
    file.write_text(file.read_text().replace("magnitude, './mine.py:doubles_weights'", "magnitude"))
    again = command("run", tmp_path / "with", "--retry-failed")
    assert again.code == 0, again.err
    alone, _ = rows_of("alone", code=0, scorers="magnitude")
    rows = read_database(tmp_path / "with").rows.set_index("cell")
    for row in alone.itertuples():
        assert rows.loc[row.cell, "state"] == "done"
        assert rows.loc[row.cell, "correct"] == row.correct


def test_a_parameter_that_a_correction_adds_fails_its_own_cells_alone(rows_of):
    found, _ = rows_of("with", corrections="'./mine.py:adds_a_bias', asr")
    own = found[found["correction"].astype(str).str.contains("adds_a_bias")]
    assert own["reason"].str.contains("other parameters or buffers than its architecture: features.0.bias").all()
    alone, _ = rows_of("without", code=0, corrections="asr")
    kept = found[found["state"].eq("done")].set_index("cell")
    assert set(kept.index) == set(alone["cell"])
    for name in ("accuracy", "loss", "mask", "correct"):
        assert kept[name].to_dict() == alone.set_index("cell")[name].to_dict()


@pytest.mark.parametrize("theirs", ["trains", "swaps_weights"])
def test_modes_and_tensors_that_a_correction_leaves_reach_no_other_cell(rows_of, theirs):
    found, _ = rows_of("with", code=0, corrections=f"'./mine.py:{theirs}', asr")
    alone, _ = rows_of("without", code=0, corrections="asr")
    kept = found.set_index("cell")
    for row in alone.itertuples():
        assert (kept.loc[row.cell, "accuracy"], kept.loc[row.cell, "correct"]) == (row.accuracy, row.correct)


def test_checks_that_fail_leave_the_other_groups_their_turn(rows_of):
    found, done = rows_of("once", seeds=2, scorers="magnitude, './mine.py:only_once', random")
    others = found[found["scorer"].isin(["magnitude", "random", "dense"])]
    assert others["state"].eq("done").all()
    assert others["train_seed"].nunique() == 2
    assert "the checks of 1 groups failed (group 1/2: digits, digits_cnn, seed 0: NotApplicable: it cannot" in done.err
