"""Tests of `bench.models.channel_rules`: known values and labels of single operations."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.export import Dim, export

from bench.models.channel_rules import RULES
from bench.models.removal import follow_channels

CONSTANTS = {
    "relu": (torch.relu, 0.0),
    "sigmoid": (torch.sigmoid, 0.5),
    "sum": (lambda x: F.hardswish(x) + 1, 1.0),
    "product": (lambda x: x * x, 0.0),
    "maximum": (lambda x: F.max_pool2d(x + 2, 2, padding=1), 2.0),
    "mean": (lambda x: (x - 3).mean((2, 3), keepdim=True), -3.0),
    "mean of padded zeros": (lambda x: F.avg_pool2d(x, 2, padding=1), 0.0),
    # some kernels turn NaN, which marks unknown values, into numbers
    "hardswish": (F.hardswish, 0.0),
    "hardtanh": (F.hardtanh, 0.0),
    "hardsigmoid": (F.hardsigmoid, 0.5),
    "silu": (F.silu, 0.0),
    "gelu": (F.gelu, 0.0),
}
OTHERS = {
    "padded mean": lambda x: F.avg_pool2d(x + 1, 2, padding=1),
    "padded channels": lambda x: F.pad(x, (1, 1, 0, 0, 2, 1)),
}


class Branches(nn.Module):
    """Functions of the output of a convolution, whose first channel is zero."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.conv.weight.data[0] = 0
        self.conv.bias.data[0] = 0

    def forward(self, x):
        x = self.conv(x)
        return [function(x) for function, _ in CONSTANTS.values()] + [function(x) for function in OTHERS.values()]


@pytest.fixture(scope="module")
def flows():
    """Name of a function -> labels and known values of its result."""
    program = export(Branches().eval(), (torch.rand(2, 1, 6, 6),), dynamic_shapes=({0: Dim("batch")},))
    graph = program.run_decompositions({}).module()
    _, found = follow_channels(graph)
    results = next(node for node in graph.graph.nodes if node.op == "output").all_input_nodes
    return {name: found[node] for name, node in zip((*CONSTANTS, *OTHERS), results, strict=True)}


def known_values(flow):
    """One value per channel, None where it is not the same known one at every position."""
    rows = flow.known.movedim(1, 0).flatten(1)
    return [float(row[0]) if bool((row == row[0]).all()) else None for row in rows]


def labels_of(flow):
    rows = flow.labels.movedim(1, 0).flatten(1)
    assert bool((rows == rows[:, :1]).all())
    return rows[:, 0].tolist()


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_are_known_and_nothing_else(flows, name):
    assert known_values(flows[name]) == [CONSTANTS[name][1], None, None, None]


def test_a_padded_mean_of_a_constant_is_not_known(flows):
    assert known_values(flows["padded mean"]) == [None] * 4


def test_padded_channels_have_labels_of_their_own(flows):
    flow = flows["padded channels"]
    labels = labels_of(flow)
    assert len(set(labels)) == 7
    assert known_values(flow) == [0, 0, 0, None, None, None, 0]


def test_every_rule_names_an_operation():
    assert [name for name in RULES if not hasattr(torch.ops.aten, name)] == []
