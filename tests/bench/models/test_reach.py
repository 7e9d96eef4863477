"""Which units keep an input different from zero, found on small networks and worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.models.macs import count_products
from bench.models.reach import find_reach
from bench.models.units import find_units


class Sum(nn.Module):
    """Two layers whose outputs are added; `shift` moves the channels of the first by as many places."""

    def __init__(self, shift=0, channels=3):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, channels, 1), nn.Conv2d(1, channels + shift, 1)
        self.head, self.shift = nn.Conv2d(channels + shift, 2, 1), shift

    def forward(self, x):
        first = nn.functional.pad(self.first(x), (0, 0, 0, 0, self.shift, 0))
        return self.head((first + self.second(x)).relu()).mean(dim=(2, 3))

    def get_classifier(self):
        return self.head


class Mixed(Sum):
    """The channels of a layer are added to one another, so that one input depends on several units."""

    def forward(self, x):
        first = self.first(x)
        return self.head((first + first.flip(1) + self.second(x)).relu()).mean(dim=(2, 3))


def reach_of(net):
    net = net.eval()
    image = torch.rand(1, 1, 4, 4)
    units, traced = find_units(net, "channel", ("head",), image), []
    with torch.no_grad():
        count_products(net, torch.cat([image, image]), net, traced)
    return units, find_reach(net, units, traced, image)


@pytest.mark.parametrize("channels", [1, 2, 3, 7, 40])
@pytest.mark.parametrize("shift", [0, 2])
def test_what_is_added_keeps_an_input_alive(shift, channels):
    _, reach = reach_of(Sum(shift, channels))
    images, head = 2, channels + shift  # each layer reads the image, then the head reads the sum
    assert reach.always.tolist() == [True] * images + [False] * head
    first = {(images + shift + unit, unit) for unit in range(channels)}
    second = {(images + unit, channels + unit) for unit in range(head)}
    assert set(zip(reach.inputs.tolist(), reach.units.tolist(), strict=True)) == first | second


def test_an_input_is_alive_if_a_unit_is_kept():
    _, reach = reach_of(Sum())
    kept = torch.tensor([1, 0, 0, 0, 0, 1]).double()
    assert reach.alive(kept).tolist() == [1, 1, 1, 0, 1]


def test_a_bias_that_another_layer_adds_keeps_an_input_alive():
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.GroupNorm(1, 2), nn.Conv2d(2, 3, 1), nn.Flatten(), nn.Linear(48, 2))
    nn.init.ones_(net[1].bias)
    _, reach = reach_of(net)
    assert reach.always.tolist() == [True] * 3 + [False] * 48
    assert set(zip(reach.inputs.tolist(), reach.units.tolist(), strict=True)) == {
        (3 + place, 2 + place // 16) for place in range(48)
    }


def no_bias():
    """A kept unit is zero if all that it reads is pruned."""
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 3, 1, bias=False), nn.Flatten(), nn.Linear(48, 2))


@pytest.mark.parametrize("make", [Mixed, no_bias])
def test_no_reach_where_the_rule_is_another_one(make):
    assert reach_of(make())[1] is None


def test_the_network_stays_as_it_is():
    net = Sum()
    before = {name: (id(tensor), tensor.clone()) for name, tensor in net.state_dict(keep_vars=True).items()}
    reach_of(net)
    for name, tensor in net.state_dict(keep_vars=True).items():
        assert id(tensor) == before[name][0]
        assert torch.equal(tensor, before[name][1])
