"""What convolutions multiply with which parameter: each number counted by hand."""

from __future__ import annotations

from math import prod

import pytest
import torch
import torch.nn.functional as F
from hand_counted import (
    Net,
    check_halved,
    found,
    images,
    prunable,
    reason,
    weight,
)
from torch import nn

from bench.models.inventory import take_inventory


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolutions(groups):
    def forward(net, x):
        return net.head(net.up(x).mean((2, 3)))

    def net():
        return Net(forward, up=nn.ConvTranspose2d(4, 6, 3, stride=2, groups=groups), head=nn.Linear(6, 10))

    x = images(channels=4)
    up = 8 * 8 * 4 * (6 // groups) * 9  # each input position meets every weight
    assert prunable(net(), x) == {"up": up, "head": 60}
    check_halved(net(), half=up + 60, x=x)
    # its channels are on the second axis
    model = net().eval()
    layer = found(model, x)["up"].layout
    with torch.no_grad():
        layer.rows(model.up.weight)  # (6, inputs of a group * 9)
        rows = layer.rows(model.up.weight).clone()
        rows[4] = 0
        model.up.weight.copy_(layer.weight(rows, tuple(model.up.weight.shape)))
        silent = [int(c) for c in range(6) if torch.allclose(model.up(x)[:, c], model.up.bias[c])]
    assert silent == [4]


@pytest.mark.parametrize("dims", [1, 3])
def test_convolutions_of_one_and_three_dimensions(dims):
    side = {1: (10,), 3: (4, 4, 4)}[dims]
    convolution = {1: nn.Conv1d, 3: nn.Conv3d}[dims]

    def forward(net, x):
        y = x.flatten(1)[:, : 2 * prod(side)].unflatten(1, (2, *side))
        return net.head(net.conv(y).flatten(2).mean(2))

    def net():
        return Net(forward, conv=convolution(2, 4, 3), head=nn.Linear(4, 10))

    positions = prod(size - 2 for size in side)
    conv = positions * 4 * 2 * 3**dims
    assert prunable(net()) == {"conv": conv, "head": 40}
    check_halved(net(), half=conv + 40)


def test_a_convolution_with_a_parameter():
    def forward(net, x):
        return F.conv2d(x, net.filters, padding=1).mean((2, 3))

    def net():
        return Net(forward, filters=weight(10, 3, 3, 3))

    assert prunable(net()) == {"filters": 64 * 270}
    check_halved(net(), half=64 * 270)


def test_grouped_and_depthwise_convolutions():
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 3, groups=4), nn.Conv2d(12, 12, 3, groups=12),
                        nn.AdaptiveAvgPool2d(1), nn.Flatten())  # fmt: skip
    assert prunable(net) == {"0": 64 * 24, "1": 36 * 12 * 2 * 9, "2": 16 * 12 * 9}
    check_halved(net, half=64 * 24 + 36 * 12 * 2 * 9 + 16 * 12 * 9)


def test_squeeze_and_excitation():
    def forward(net, x):
        y = net.conv(x)
        gate = net.expand(F.relu(net.reduce(y.mean((2, 3), keepdim=True))))
        return (y * gate.sigmoid()).mean((2, 3))

    net = Net(forward, conv=nn.Conv2d(3, 10, 1), reduce=nn.Conv2d(10, 4, 1), expand=nn.Conv2d(4, 10, 1))
    assert prunable(net) == {"conv": 64 * 30, "reduce": 40, "expand": 40}
    check_halved(net, half=64 * 30 + 80)


def test_filters_that_are_mixed_for_each_image():
    """timm's CondConv: four filter banks, mixed by weights that the image gives."""
    from timm.layers import CondConv2d

    def forward(net, x):
        return net.conv(x, net.routing(x.mean((2, 3))).sigmoid()).mean((2, 3))

    net = Net(forward, conv=CondConv2d(3, 10, 3, num_experts=4, bias=False), routing=nn.Linear(3, 4))
    weights = found(net)
    assert weights["routing"].reason is None
    assert reason(net, "conv") == "mixed filters"
    # the mixing, and the convolution with the mixture
    assert weights["conv"].macs == 4 * 270 + 64 * 270
    inventory = take_inventory(net, images())
    assert inventory.macs == 3 * 4 + 4 * 270 + 64 * 270
    assert inventory.without_weight == 0
