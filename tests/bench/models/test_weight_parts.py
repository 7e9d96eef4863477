"""Which parameters a weight consists of."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.models.products import Products, traceable
from bench.models.weight_parts import weight_parts


def parts_of(net: nn.Module, x: torch.Tensor):
    found = []
    with traceable(net), Products(net, lambda product: found.append(weight_parts(tracer, product))) as tracer:
        net(x)
    return found


class Joined(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.more = nn.Parameter(torch.randn(6, 4)), nn.Parameter(torch.randn(3, 4))

    def forward(self, x):
        value = F.linear(x, self.qkv[4:])
        return value, F.linear(x, torch.cat([self.more, self.qkv]))


def test_a_slice_is_some_of_the_channels_of_its_parameter():
    (part,) = parts_of(Joined(), torch.randn(2, 4))[0]
    assert (part.parameter, part.columns, part.channels, part.share) == ("qkv", slice(0, 2), slice(4, 6), 1.0)
    assert part.layout.channels == 6


def test_joined_parameters_share_the_columns():
    found = {part.parameter: part for part in parts_of(Joined(), torch.randn(2, 4))[1]}
    assert (found["more"].columns, found["more"].channels) == (slice(0, 3), slice(0, 3))
    assert (found["qkv"].columns, found["qkv"].channels) == (slice(3, 9), slice(0, 6))
    assert sum(part.share for part in found.values()) == pytest.approx(1)


def test_a_matrix_that_is_used_transposed_has_its_channels_along_the_other_axis():
    class Transposed(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 5))

        def forward(self, x):
            return x @ self.weight

    net = Transposed()
    ((part,),) = parts_of(net, torch.randn(2, 4))
    assert part.layout.channels == 5
    assert torch.equal(part.layout.rows(net.weight), net.weight.mT)
