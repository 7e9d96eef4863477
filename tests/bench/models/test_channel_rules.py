"""Tests of `bench.models.channel_rules`: known values and labels of single operations."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.export import Dim, export

from bench.models.channel_rules import ELEMENTWISE, RULES
from bench.models.removal import follow_channels


class Wrapped(nn.Module):
    """A function of the output of a convolution, whose first channel is zero."""

    def __init__(self, function):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.conv.weight.data[0] = 0
        self.conv.bias.data[0] = 0
        self.function = function

    def forward(self, x):
        return self.function(self.conv(x))


def followed(function):
    """Labels and known values of the last operation, for the channels of the first axis after the batch."""
    net = Wrapped(function).eval()
    program = export(net, (torch.rand(2, 1, 6, 6),), dynamic_shapes=({0: Dim("batch")},))
    graph = program.run_decompositions({}).module()
    _, flows = follow_channels(graph)
    last = [node for node in graph.graph.nodes if node.op == "call_function"][-1]
    return flows[last]


def by_channel(tensor):
    """One value per channel."""
    rows = tensor.movedim(1, 0).flatten(1)
    assert bool(((rows == rows[:, :1]) | rows.isnan()).all())
    return rows[:, 0].tolist()


@pytest.mark.parametrize(
    ("function", "value"),
    [
        (torch.relu, 0.0),
        (torch.sigmoid, 0.5),
        (lambda x: nn.functional.hardswish(x) + 1, 1.0),
        (lambda x: x * x, 0.0),
        (lambda x: nn.functional.max_pool2d(x + 2, 2, padding=1), 2.0),
        (lambda x: (x - 3).mean((2, 3), keepdim=True), -3.0),
        (lambda x: nn.functional.avg_pool2d(x, 2, padding=1), 0.0),
    ],
)
def test_constants_are_known_and_nothing_else(function, value):
    flow = followed(function)
    known = by_channel(flow.known)
    assert known[0] == value
    assert all(one != one for one in known[1:])  # NaN
    assert len(set(by_channel(flow.labels))) == 4


def test_a_padded_mean_of_a_constant_is_not_known():
    known = by_channel(followed(lambda x: nn.functional.avg_pool2d(x + 1, 2, padding=1)).known)
    assert all(one != one for one in known)


def test_padded_channels_have_labels_of_their_own():
    flow = followed(lambda x: nn.functional.pad(x, (1, 1, 0, 0, 2, 1)))
    labels = by_channel(flow.labels)
    assert len(set(labels)) == 7
    assert [labels[channel] for channel in range(2, 6)] == sorted(labels)[:4]
    assert [value == 0 for value in by_channel(flow.known)] == [True, True, True, False, False, False, True]


def test_an_unknown_value_stays_unknown_in_every_operation():
    """Some kernels turn NaN, which marks unknown values, into numbers."""
    for name in ("relu", "hardswish", "hardtanh", "hardsigmoid", "silu", "gelu"):
        assert name in ELEMENTWISE
        assert all(one != one for one in by_channel(followed(getattr(nn.functional, name)).known)[1:])


def test_every_rule_names_an_operation():
    assert [name for name in RULES if not hasattr(torch.ops.aten, name)] == []
