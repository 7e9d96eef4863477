"""A network of a user's own: from a file, with one checkpoint per seed, and a scorer beside it."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from bench.store.reader import read_database

NETWORK = """\
import torch
from torch import nn

def net(num_classes: int, in_chans: int, *, width: int = 8) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(in_chans, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(width, num_classes),
    )
"""
SCORER = """\
from bench.models.tensors import ScoreMap

def small_and_quiet(view, calibration, generator, *, power: float = 0.5):
    '''Score abs(w) ** power: higher is kept.'''
    return ScoreMap({name: magnitude**power for name, magnitude in view.magnitudes().items()})
"""
STUDY = """\
name: mine
data: [digits]
models:
  - {name: './mine.py:net', label: mine, args: {width: 16}, checkpoint: 'weights/{seed}.safetensors',
     normalisation: dataset}
train_seeds: 2
scorers: [magnitude, './mine.py:small_and_quiet', {name: './mine.py:small_and_quiet', power: 2.0}]
sparsities: [0.5]
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(NETWORK + SCORER)
    (tmp_path / "study.yaml").write_text(STUDY)
    (tmp_path / "weights").mkdir()
    for seed in range(2):
        torch.manual_seed(seed)
        state = {
            "0.weight": torch.randn(16, 1, 3, 3), "0.bias": torch.zeros(16), "1.weight": torch.ones(16),
            "1.bias": torch.zeros(16), "1.running_mean": torch.zeros(16), "1.running_var": torch.ones(16),
            "1.num_batches_tracked": torch.tensor(1), "5.weight": torch.randn(10, 16), "5.bias": torch.zeros(10),
        }  # fmt: skip
        save_file(state, tmp_path / "weights" / f"{seed}.safetensors")
    return tmp_path


def test_a_network_with_one_checkpoint_per_seed(folder, command):
    assert command("run", folder).code == 0
    data = read_database(folder)
    assert data.rows["state"].eq("done").all()
    assert data.dense["checkpoint"].nunique() == 2
    assert set(data.dense["train_overlap"]) == {"unknown"}
    assert set(data.rows["scorer"]) >= {"./mine.py:small_and_quiet", "./mine.py:small_and_quiet(power=2.0)"}
    masks = data.rows[data.rows["scorer"].ne("dense")].groupby("group")["mask"].nunique()
    assert masks.tolist() == [1, 1]  # increasing functions of magnitude


def test_an_edited_checkpoint_makes_new_cells(folder, command):
    assert command("run", folder).code == 0
    path = folder / "weights" / "0.safetensors"
    state = {name: tensor.clone() for name, tensor in load_file(path).items()}
    save_file({**state, "5.bias": torch.ones(10)}, path)
    planned = json.loads(command("plan", folder, "--json").out)
    assert planned["todo"] == planned["cells"] // 2


def test_the_scorer_of_the_readme_conforms(folder, command, monkeypatch):
    monkeypatch.chdir(folder)
    assert command("check", "./mine.py:small_and_quiet").code == 0
