"""Matrix products with weights of any shape: each number counted by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hand_counted import (
    D,
    Net,
    T,
    check_halved,
    found,
    halve,
    images,
    prunable,
    reason,
    tokens,
    weight,
)
from torch import nn

from bench.models.build import seeded
from bench.models.inventory import take_inventory
from bench.models.units import examine, find_units


def test_a_matrix_whose_columns_are_the_outputs():
    def forward(net, x):
        return x.flatten(1)[:, :8] @ net.w

    net = Net(forward, w=weight(8, 10))
    (layer,) = found(net).values()
    assert (layer.name, layer.macs, layer.reason) == ("w", 80, None)
    assert torch.equal(layer.layout.rows(net.w), net.w.T)
    check_halved(net, half=80)


def test_einsum_with_a_weight_of_three_axes():
    def forward(net, x):
        return torch.einsum("btd,dhe->bthe", tokens(x), net.w).flatten(2).mean(1)

    net = Net(forward, w=weight(D, 2, 5))
    (layer,) = found(net).values()
    assert (layer.macs, layer.reason) == (T * D * 10, None)
    assert torch.equal(layer.layout.rows(net.w), net.w.flatten(1).T)
    check_halved(net, half=T * D * 10)


def test_einsum_with_a_matrix_for_each_head():
    def forward(net, x):
        return torch.einsum("bthd,hde->bthe", tokens(x, 8).unflatten(2, (2, 4)), net.w).flatten(2).mean(1)

    net = Net(forward, w=weight(2, 4, 5))
    (layer,) = found(net).values()
    assert (layer.macs, layer.reason) == (T * 2 * 4 * 5, None)
    assert torch.equal(layer.layout.rows(net.w), net.w.mT.reshape(10, 4))
    assert layer.layout.groups == 2
    check_halved(net, half=T * 2 * 4 * 5)


def test_two_parameters_as_one_weight():
    def forward(net, x):
        return F.linear(x.flatten(1)[:, :8], torch.cat([net.first, net.second]))

    net = Net(forward, first=weight(4, 8), second=weight(6, 8))
    assert prunable(net) == {"first": 32, "second": 48}
    check_halved(net, half=80)


def test_a_parameter_and_constants_as_one_weight():
    def forward(net, x):
        return F.linear(x.flatten(1)[:, :8], torch.cat([net.w, net.fixed]))

    net = Net(forward, w=weight(8, 8), fixed=torch.ones(2, 8))
    inventory = take_inventory(net, images())
    assert [one.macs for one in inventory.weights] == [64]
    assert (inventory.macs, inventory.without_weight, inventory.unregistered) == (80, 16, 16)
    check_halved(net, half=64, dense=16)


@pytest.mark.parametrize(
    "move",
    [
        lambda w: w.index_select(0, torch.tensor([2, 0, 1, *range(3, 10)])),
        lambda w: w.flip(0),
        lambda w: w.roll(3, 1),
        lambda w: w.T.contiguous().T,
        lambda w: w.clone(),
    ],
)
def test_values_of_a_weight_in_another_order(move):
    net = Net(lambda net, x: F.linear(x.flatten(1)[:, :8], move(net.w)), w=weight(10, 8))
    assert prunable(net) == {"w": 80}
    check_halved(net, half=80)


def test_filters_that_are_rotated():
    """As in a network that is equivariant to quarter turns: each weight is multiplied four times."""

    def forward(net, x):
        return net.head(F.conv2d(x, torch.cat([torch.rot90(net.w, turn, (2, 3)) for turn in range(4)])).mean((2, 3)))

    net = Net(forward, w=weight(2, 3, 3, 3), head=nn.Linear(8, 10))
    assert prunable(net) == {"w": 36 * 8 * 27, "head": 80}
    check_halved(net, half=36 * 8 * 27 + 80)


def test_a_bias_with_two_axes():
    def forward(net, x):
        return torch.baddbmm(net.b, tokens(x).transpose(0, 1), net.w).mean(0)

    net = Net(forward, w=weight(T, D, 10), b=weight(T, 2, 10))
    assert reason(net, "b") == "not multiplied as a weight"


def test_parts_of_one_parameter():
    def forward(net, x):
        y = tokens(x)
        hidden = F.linear(y, net.w[:4])
        return F.linear(F.relu(hidden.mean(1)), net.w[4:, :4])

    net = Net(forward, w=weight(14, 8))
    (layer,) = found(net).values()
    assert (layer.reason, layer.calls, layer.macs) == (None, 2, T * 4 * 8 + 10 * 4)
    macs = halve(net)
    by_hand = T * int((net.w[:4] != 0).sum()) + int((net.w[4:, :4] != 0).sum())
    assert (macs.total, macs.remaining) == (T * 32 + 40, by_hand)


def test_one_parameter_in_two_modules():
    def forward(net, x):
        return net.b(F.relu(net.a(x.flatten(1)[:, :10])))

    net = Net(forward, a=nn.Linear(10, 10, bias=False), b=nn.Linear(10, 10, bias=False))
    net.b.weight = net.a.weight
    (layer,) = found(net).values()
    assert (layer.name, layer.aliases, layer.calls, layer.macs) == ("a", ("b.weight",), 2, 200)
    assert take_inventory(net, images()).parameters == 100
    assert find_units(net, "weight", (), images()).total == 100
    check_halved(net, half=200)


def test_a_weight_and_its_transpose():
    def forward(net, x):
        return net.head(F.linear(F.relu(net.encoder(x.flatten(1)[:, :8])), net.encoder.weight.T))

    with seeded(0):  # no neuron is silent for both images
        net = Net(forward, encoder=nn.Linear(8, 6), head=nn.Linear(8, 10))
    assert prunable(net) == {"encoder": 2 * 48, "head": 80}
    assert find_units(net, "weight", (), images()).total == 48 + 80
    inventory = take_inventory(net, images())
    assert (examine(net, "channel", (), inventory).reasons["encoder"] or "").startswith("irregular use")
    check_halved(net, half=96 + 80)


def test_a_layer_called_at_two_sizes():
    def forward(net, x):
        return (net.conv(x).mean((2, 3)) + net.conv(F.avg_pool2d(x, 2)).mean((2, 3))) / 2

    net = Net(forward, conv=nn.Conv2d(3, 10, 3))
    (layer,) = found(net).values()
    assert (layer.calls, layer.sizes, layer.macs) == (2, ((3, 8, 8), (3, 4, 4)), (36 + 4) * 270)
    check_halved(net, half=40 * 270)


def test_a_recurrent_layer():
    hidden = 6

    def forward(net, x):
        return net.head(net.rnn(tokens(x))[0].mean(1))

    net = Net(forward, rnn=nn.LSTM(D, hidden, batch_first=True), head=nn.Linear(hidden, 10))
    macs = {"rnn.weight_ih_l0": T * D * 4 * hidden, "rnn.weight_hh_l0": T * hidden * 4 * hidden, "head": hidden * 10}
    assert prunable(net) == macs
    check_halved(net, half=sum(macs.values()))


def test_a_network_that_enters_inference_mode_itself():
    """Operations that torch defines by others, as `flatten` or `linear`, then reach the trace as they are."""

    def forward(net, x):
        with torch.inference_mode():
            return net.head(F.linear(tokens(x), net.w.mT.flatten(1)).flatten(1))

    net = Net(forward, w=weight(D, 6), head=nn.Linear(T * 6, 10))
    assert prunable(net) == {"w": T * D * 6, "head": T * 60}


def test_a_scalar_added_to_a_single_output():
    net = Net(lambda net, x: net.last(net.hidden(x.flatten(1)) + net.shift), hidden=nn.Linear(192, 1, bias=False),
              shift=nn.Parameter(torch.tensor(0.5)), last=nn.Linear(1, 10))  # fmt: skip
    assert prunable(net) == {"hidden": 192, "last": 10}


def test_a_bilinear_layer():
    def forward(net, x):
        return net.form(x.flatten(1)[:, :4], x.flatten(1)[:, 4:10])

    net = Net(forward, form=nn.Bilinear(4, 6, 10))
    weights = found(net)
    assert weights["form"].macs == 4 * 6 * 10
    assert weights["form"].reason is None
    check_halved(net, half=240)
