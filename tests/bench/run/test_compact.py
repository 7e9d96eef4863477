"""Tests of `bench.run.compact`: compact files equal their rows, and load without prunebench."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from bench.run.compact import largest_difference, median_latencies
from bench.store.compact import read_compact
from bench.store.reader import read_database


@pytest.fixture(scope="module")
def study(finished_tiny, tmp_path_factory):
    """A copy of a finished study, in which compact networks are recorded."""
    return shutil.copytree(finished_tiny, tmp_path_factory.mktemp("compact") / "study")


def test_a_cell_is_written_verified_and_loaded(study, tmp_path, command):
    rows = read_database(study).rows
    chosen = rows["granularity"].eq("channel") & rows["correction"].eq("asr") & rows["recalibration"].eq("cumulative")
    chosen &= rows["sparsity"].eq(0.5) & rows["allocation"].eq("uniform")
    row = rows[chosen].iloc[0]
    path = tmp_path / "net.pt2"
    result = command("prune", study, row["cell"], "--compact", "-o", path)
    assert result.code == 0, result.err
    assert result.err == ""
    shown = f"{100 * row['accuracy']:.2f} %"
    assert f"accuracy {shown} in float32, the row has {shown}" in result.out
    (network,) = read_compact(study)
    assert network.cell == row["cell"]
    assert network.parameters < 0.5 * network.dense_parameters
    assert network.dense_macs / network.macs == pytest.approx(row["speedup"])  # no channel of this network is coupled
    assert f"{network.macs:,.0f}" in result.out
    assert [one.batch for one in network.latency] == [1, 128]
    assert [layer.after for layer in network.layers] == [8, 16, 32, 32, 10]
    assert command("prune", study, row["cell"], "--verify", path).code == 0
    extra = {"prunebench.json": ""}
    net = torch.export.load(path, extra_files=extra).module()
    assert [net(torch.zeros(batch, 1, 8, 8)).shape for batch in (1, 7)] == [(1, 10), (7, 10)]
    about = json.loads(extra["prunebench.json"])
    assert (about["cell"], len(about["mean"])) == (row["cell"], 1)
    assert about["layers"] == [layer.model_dump() for layer in network.layers]

    content = path.read_bytes()
    path.write_bytes(content + b"x")
    refused = command("prune", study, "--verify", path)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "loading such a file can run code in it" in refused.err
    path.write_bytes(content)
    other = rows.loc[rows["granularity"].eq("channel") & rows["correction"].eq("none"), "cell"].iloc[0]
    refused = command("prune", study, other, "--verify", path)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert f"holds cell {row['cell'][:12]}, not {other[:12]}" in refused.err


def test_what_cannot_be_compact_is_one_line(study, tmp_path, command):
    rows = read_database(study).rows
    weights = rows.loc[rows["granularity"].eq("weight"), "cell"].iloc[0]
    dense = rows.loc[rows["scorer"].eq("dense"), "cell"].iloc[0]
    path = tmp_path / "net.pt2"
    for arguments, message in (
        ([weights, "--compact", "-o", path], "(granularity weight): no channel is removable"),
        ([dense, "--compact", "-o", path], "is the dense network"),
        ([weights, "--compact", "-o", tmp_path / "net.safetensors"], "name a .pt2 file"),
        ([weights, "-o", path], "name a .safetensors file (or, with --compact, a .pt2 file)"),
        (["zzz", "--compact", "-o", path], "zzz"),
        (["--compact", "-o", path], "give CELL and -o FILE"),
        ([weights, "--compact"], "give CELL and -o FILE"),
        ([weights, "--compact", "--verify", path], "--compact writes a file; leave it out to verify one"),
        (["--verify", path], "there is no such file"),
    ):
        result = command("prune", study, *arguments)
        assert result.code == 2, arguments
        assert result.err.count("\n") == 1, result.err
        assert message in result.err
    assert not path.exists()


def test_the_largest_difference_is_relative_to_the_largest_logit():
    images = torch.rand(10, 1, 2, 2)
    masked = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2)).requires_grad_(False)
    compact = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2)).requires_grad_(False)
    compact.load_state_dict(masked.state_dict())
    assert largest_difference(masked, compact, images) == 0
    compact[1].bias.data += 0.1
    expected = 0.1 / max(float(masked(part).abs().max()) for part in (images[:1], images[:3], images))
    assert largest_difference(masked, compact, images) >= expected
    compact[1].bias.data[0] = torch.nan
    assert largest_difference(masked, compact, images) != largest_difference(masked, compact, images)  # NaN


def test_networks_alternate_and_the_median_is_returned():
    calls = []

    class Net(torch.nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def forward(self, x):
            calls.append(self.name)
            return x

    ticks = iter(range(1000))
    found = median_latencies([Net("a"), Net("b")], torch.zeros(1), seconds=0, clock=lambda: next(ticks))
    assert calls == ["a", "b"] * 6  # once before the timed passes
    assert found == [1000.0, 1000.0]
