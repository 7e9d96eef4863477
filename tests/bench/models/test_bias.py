"""Biases of output channels, wherever they are held."""

from __future__ import annotations

import torch
from torch import nn

from bench.models.bias import bias_parts, bias_values
from bench.models.unit_space import BiasPart, PrunableLayer


class Shared(nn.Module):
    """The last two of six values of one vector are the bias of the middle of four channels."""

    def __init__(self):
        super().__init__()
        self.weight, self.vector = nn.Parameter(torch.ones(4, 1)), nn.Parameter(torch.arange(6.0))


LAYER = PrunableLayer("weight", (4, 1), (4, 1), parameter="weight", bias=(BiasPart("vector", 1, 3, first=4),))


def test_channels_without_a_bias_are_zero():
    assert bias_values(Shared(), LAYER).tolist() == [0, 4, 5, 0]
    assert bias_values(nn.Sequential(nn.Linear(1, 2, bias=False)), PrunableLayer("0", (2, 1), (2,))).tolist() == [0, 0]


def test_a_part_is_a_view_through_which_the_bias_changes():
    net = Shared()
    ((part, channels),) = bias_parts(net, LAYER)
    with torch.no_grad():
        part.mul_(2)
    assert channels == slice(1, 3)
    assert net.vector.tolist() == [0, 1, 2, 3, 8, 10]
