"""Biases, BatchNorms and readers next to a weight."""

from __future__ import annotations

import torch
from torch import nn

from bench.models.forward_pass import ForwardPass
from bench.models.neighbours import Neighbours
from bench.models.unit_space import BiasPart


def neighbours_of(net: nn.Module, x: torch.Tensor, parameter: str):
    found = ForwardPass(net, x)
    return Neighbours(found), found.uses[parameter]


def test_the_batchnorm_that_alone_reads_a_convolution():
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 2, 1), nn.ReLU())
    x = torch.zeros(2, 1, 3, 3)
    near, uses = neighbours_of(net, x, "0.weight")
    assert near.batchnorm(uses) == "1"
    near, uses = neighbours_of(net, x, "3.weight")
    assert near.batchnorm(uses) is None


def test_a_bias_of_the_layer_and_one_that_another_operation_adds():
    class Added(nn.Module):
        def __init__(self):
            super().__init__()
            self.own, self.plain = nn.Linear(3, 2), nn.Linear(2, 4, bias=False)
            self.shift = nn.Parameter(torch.ones(4))

        def forward(self, x):
            return self.plain(self.own(x)) + self.shift

    near, uses = neighbours_of(Added(), torch.zeros(2, 3), "own.weight")
    assert near.bias(uses) == ((BiasPart("own.bias", 0, 2),), False)
    near, uses = neighbours_of(Added(), torch.zeros(2, 3), "plain.weight")
    assert near.bias(uses) == ((BiasPart("shift", 0, 4),), True)


def test_the_hidden_layer_of_an_mlp_is_read_point_by_point_by_the_second():
    mlp = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4))
    near, uses = neighbours_of(mlp, torch.zeros(2, 4), "0.weight")
    assert near.pointwise_reader(uses) == "2.weight"
    near, uses = neighbours_of(mlp, torch.zeros(2, 4), "2.weight")
    assert near.pointwise_reader(uses) is None
    mixed = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 4))
    near, uses = neighbours_of(mixed, torch.zeros(2, 4), "0.weight")
    assert near.pointwise_reader(uses) is None


def test_a_projection_whose_output_is_added_to_attention():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.attention = nn.Linear(3, 4), nn.MultiheadAttention(4, 1, batch_first=True)
            self.head = nn.Linear(4, 2)

        def forward(self, x):
            x = self.embed(x)
            return self.head(x + self.attention(x, x, x)[0])

    x = torch.randn(2, 5, 3)
    near, uses = neighbours_of(Block(), x, "embed.weight")
    assert near.is_on_attention_stream(uses)
    near, uses = neighbours_of(Block(), x, "head.weight")
    assert not near.is_on_attention_stream(uses)
