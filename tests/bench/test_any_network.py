"""Networks that hold or use their weights in unusual ways, through a whole run: every method, and the real zeros."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
import torch
from safetensors.torch import load_file

from bench.store.reader import read_database

NETS = """\
import torch
import torch.nn.functional as F
from torch import nn


class Tied(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, classes)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.head(torch.relu(self.second(torch.relu(self.first(x.flatten(1))))))


class TwoSizes(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv, self.shared = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, classes)

    def forward(self, x):
        x = torch.relu(self.conv(x))
        parts = [torch.relu(self.shared(part)).mean((2, 3)) for part in (x, F.max_pool2d(x, 2))]
        return sum(self.head(part) for part in parts)


class Held(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.up, self.bn = nn.ConvTranspose2d(1, 8, 3, stride=2), nn.BatchNorm2d(8)
        self.filters = nn.Parameter(0.1 * torch.randn(12, 8, 3, 3))
        self.attention = nn.MultiheadAttention(12, 2, batch_first=True)
        self.matrix, self.head = nn.Parameter(0.2 * torch.randn(12, 16)), nn.Linear(16, classes)

    def forward(self, x):
        x = F.conv2d(torch.relu(self.bn(self.up(x))), self.filters, stride=2).flatten(2).mT
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head(torch.relu(x.mean(1) @ self.matrix))
"""

STUDY = """\
name: any
data: [{name: digits, limit: {train: 600, test: 100}}]
models:
  - {name: "./nets.py:tied", label: tied, recipe: {epochs: 1}}
  - {name: "./nets.py:two_sizes", label: two sizes, recipe: {epochs: 1}}
  - {name: "./nets.py:held", label: held, recipe: {epochs: 1}}
train_seeds: 1
granularities: [weight, channel]
scorers: [random, magnitude, taylor, grasp, wanda, obs, activation]
allocations: [uniform, per_output]
sparsities: [0.5]
corrections: [none, asr, repair, reconstruct, {name: reconstruct, order: sequential}, grail]
exclude:
  - {name: magnitude, where: {correction: {not: none}, scorer: {not: magnitude}}}
"""
BUILDERS = "\n".join(
    f"def {name}(num_classes):\n    return {cls}(num_classes)\n"
    for name, cls in (("tied", "Tied"), ("two_sizes", "TwoSizes"), ("held", "Held"))
)
#: Prunable weights at granularity weight, by hand.
PRUNABLE = {"tied": 64 * 64, "two sizes": 8 * 9 + 8 * 8 * 9, "held": 8 * 9 + 12 * 8 * 9 + 36 * 12 + 12 * 12 + 12 * 16}


@pytest.fixture(scope="module")
def study(tmp_path_factory, run_command):
    folder = tmp_path_factory.mktemp("any")
    (folder / "nets.py").write_text(f"{NETS}\n\n{BUILDERS}")
    (folder / "study.yaml").write_text(STUDY)
    result = run_command("run", str(folder))
    assert result.returncode == 0, result.stdout
    return folder


def rows(study, condition="1"):
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.row_factory = sqlite3.Row
        read_database(study).rows.to_sql("rows", connection)
        return [dict(row) for row in connection.execute(f"select * from rows where {condition}")]


def test_every_method_works_or_is_skipped_with_a_reason(study):
    states = {row["state"] for row in rows(study)}
    assert states == {"done", "skipped"}
    reasons = {row["reason"] for row in rows(study, "state = 'skipped'")}
    assert reasons == {
        "allocation per_output is defined for granularity weight only",
        "grail refits the layers that read removed channels; at granularity weight none is removed",
        "scorer obs is defined for granularity weight only",
        "scorer activation is defined for granularity channel only",
        "the network has nothing to prune at granularity channel",
    }
    for model in PRUNABLE:
        done = rows(study, f"state = 'done' and model = '{model}' and granularity = 'weight'")
        assert {row["scorer"] for row in done} == {"random", "magnitude", "taylor", "grasp", "wanda", "obs"}
        assert {row["correction"] for row in done} >= {"none", "asr", "repair", "reconstruct"}


@pytest.mark.parametrize(("model", "scorer"), [("tied", "random"), ("held", "wanda")])
def test_half_of_the_weights_are_zero_where_they_are_held(study, model, scorer, run_command, tmp_path):
    (row,) = rows(
        study, f"model = '{model}' and scorer = '{scorer}' and allocation = 'uniform' and granularity = 'weight'"
    )
    file = tmp_path / "pruned.safetensors"
    result = run_command("prune", str(study), row["cell"], "-o", str(file))
    assert result.returncode == 0, result.stdout
    state = load_file(file)
    zeros = sum(int((tensor == 0).sum()) for name, tensor in state.items() if tensor.dim() > 1)
    copies = 2 if model == "tied" else 1  # the file holds a tied weight under both names
    assert zeros == copies * PRUNABLE[model] // 2
    if model == "tied":
        assert torch.equal(state["first.weight"], state["second.weight"])


def test_speedup_of_a_tied_weight_by_hand(study):
    (row, *_) = rows(study, "model = 'tied' and state = 'done' and allocation = 'per_output'")
    products = 2 * 64 * 64  # the tied matrix is multiplied twice
    assert row["speedup"] == pytest.approx((products + 640) / (products / 2 + 640))
