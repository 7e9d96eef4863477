"""What marked channels reach, on networks whose paths are known."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.models.inventory import take_inventory
from bench.models.macs import Traced, count_products
from bench.models.marks import MIXED, READ_WHOLE, Marked, is_dynamic, mark_channels
from bench.models.units import find_units

X = torch.rand(1, 2, 4, 4, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Two convolutions, what stands between them, and a linear layer."""

    def __init__(self, between: nn.Module, channels: int = 3) -> None:
        super().__init__()
        self.a, self.between, self.b = nn.Conv2d(2, 3, 1), between, nn.Conv2d(channels, 2, 1)
        self.head = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(self.between(self.a(x))).mean(dim=(2, 3)))


def marked(net: nn.Module) -> tuple[Marked | None, list[Traced]]:
    traced: list[Traced] = []
    net.eval()
    count_products(net, torch.cat([X, X]), net, traced)
    units = find_units(net, "channel", ("head",), take_inventory(net, X))
    return mark_channels(net, units, traced, X), traced


class Padded(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.pad(F.hardsigmoid(x, inplace=True).relu_(), (0, 0, 0, 0, 1, 1))


def test_padding_moves_channels_and_activations_keep_them():
    found, traced = marked(Net(Padded(), channels=5))
    assert found is not None
    assert all(map(is_dynamic, traced))
    assert found.inputs == [slice(0, 2), slice(2, 7), slice(7, 9)]
    assert sorted(found.edges) == [(0, 3), (1, 4), (2, 5), (3, 7), (4, 8)]
    assert (found.fixed, bool(found.stays.any())) == ({}, False)


def test_a_batchnorm_is_named_with_its_channels():
    found, _ = marked(Net(nn.BatchNorm2d(3)))
    assert found is not None
    assert found.normalised == [(("between.weight", "between.bias"), slice(7, 10))]
    assert {edge for edge in found.edges if edge[1] >= 7} == {(0, 7), (1, 8), (2, 9)}


def test_layers_whose_channels_are_mixed_or_leave_the_network_are_fixed():
    found, _ = marked(Net(nn.GroupNorm(1, 3)))
    assert found is not None
    assert found.fixed == {0: MIXED}
    net = Net(nn.Identity())
    net.head = nn.Identity()
    traced: list[Traced] = []
    net.eval()
    count_products(net, torch.cat([X, X]), net, traced)
    last = mark_channels(net, find_units(net, "channel", (), X), traced, X)
    assert last is not None
    assert last.fixed == {1: READ_WHOLE}


class Shared(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.mean()


def test_a_network_whose_copies_cannot_be_told_apart_is_not_followed():
    assert marked(Net(Shared()))[0] is None
