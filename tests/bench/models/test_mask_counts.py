"""What masks leave of small networks, by hand, and of larger ones against the count on the masked network."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import nn

from bench.models import digits
from bench.models.cifar import CifarResNet
from bench.models.inventory import take_inventory
from bench.models.macs import count_macs
from bench.models.mask_counts import MaskCounts, count_nonzero
from bench.models.masking import apply_masks
from bench.models.tensors import MaskSet
from bench.models.units import find_units


def trained(net):
    """Give BatchNorm and biases the values that no trained network has zeros in."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.copy_(torch.randn(module.running_mean.shape, generator=generator))
        for parameter in net.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.rand(parameter.shape, generator=generator))
    return net.eval()


def counts_of(net, granularity, x):
    inventory = take_inventory(net, x)
    units = find_units(net, granularity, ("head",), inventory)
    return units, MaskCounts(net, inventory, units, x, count_macs(net, x))


def masked(net, units, masks):
    pruned = copy.deepcopy(net)
    apply_masks(pruned, units, masks)
    return pruned


def never():
    raise AssertionError("the network is counted although the masks are enough")


def small():
    """Two convolutions on 4x4 images and a head; one weight and one bias of the first convolution are zero."""
    net = nn.Sequential(
        nn.Conv2d(1, 3, 1), nn.Conv2d(3, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(),
        nn.Linear(2 * 16, 2),
    )  # fmt: skip
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.uniform_(0.5, 1.0)
    net[2].running_mean.fill_(-1.0)
    return net.eval()


def test_weights_by_hand():
    net, x = small(), torch.rand(1, 1, 4, 4)
    net[1].weight.data[1, 2, 0, :] = 0  # three weights that training left at zero
    units, counts = counts_of(net, "weight", x)
    kept = {"0": torch.tensor([1, 0, 1]).bool().view(3, 1, 1, 1), "1": torch.ones(2, 3, 3, 3).bool()}
    kept["1"][1, 2] = False  # nine weights, three of which were zero
    found = counts.of(MaskSet(units, kept), never)
    assert found.kept == (2, 54 - 9)
    assert found.nonzero == (2 + 3) + (54 - 9) + 4 + (64 + 2)
    assert found.macs.remaining == 16 * (2 + 54 - 9) + 64
    assert found.macs.total == 16 * (3 + 54) + 64
    empty = MaskSet(units, {name: torch.zeros_like(mask) for name, mask in kept.items()})
    found = counts.of(empty, never)  # biases and BatchNorm keep the inputs of all layers different from zero
    assert (found.kept, found.nonzero, found.macs.remaining) == ((0, 0), 3 + 4 + 66, 64)


def test_channels_by_hand():
    net, x = small(), torch.rand(1, 1, 4, 4)
    net[1].weight.data[1, 2, 0, :] = 0
    units, counts = counts_of(net, "channel", x)
    found = counts.of(MaskSet(units, {"0": torch.tensor([True, False, True]), "1": torch.tensor([False, True])}), never)
    assert found.kept == (2, 1)
    # the weights of the second convolution that read the pruned channel are parameters, but multiply zeros
    assert found.nonzero == (2 + 2) + (27 - 3) + 2 + (64 + 2)
    assert found.macs.remaining == 16 * (2 + 2 * 9 - 3) + 2 * 16
    found = counts.of(MaskSet(units, {"0": torch.zeros(3).bool(), "1": torch.ones(2).bool()}), never)
    assert (found.kept, found.nonzero, found.macs.remaining) == ((0, 2), (54 - 3) + 4 + 66, 64)


class Residual(nn.Module):
    """The outputs of two layers are added, those of the first shifted by a channel."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 3, 1)
        self.head = nn.Conv2d(3, 5, 1)

    def forward(self, x):
        return self.head(nn.functional.pad(self.first(x), (0, 0, 0, 0, 1, 0)) + self.second(x)).mean(dim=(2, 3))

    def get_classifier(self):
        return self.head


def test_a_channel_is_removed_if_all_that_is_added_to_it_is_pruned():
    net, x = trained(Residual()), torch.rand(1, 1, 2, 2)
    units, counts = counts_of(net, "channel", x)
    for first, second, inputs in (
        ("10", "000", 1),
        ("10", "010", 1),
        ("10", "100", 2),
        ("11", "100", 3),
        ("00", "00", 0),
    ):
        masks = {"first": [one == "1" for one in first], "second": [one == "1" for one in second.ljust(3, "0")]}
        found = counts.of(MaskSet(units, {name: torch.tensor(mask) for name, mask in masks.items()}), never)
        kept = masks["first"].count(True) + masks["second"].count(True)
        assert found.macs.remaining == 4 * (kept + 5 * inputs)


class Mlp(nn.Module):
    def __init__(self, bias=True):
        super().__init__()
        self.fc1, self.fc2, self.head = nn.Linear(16, 6), nn.Linear(6, 4, bias=bias), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.fc2(torch.sigmoid(self.fc1(x.flatten(1)))))

    def get_classifier(self):
        return self.head


def test_hidden_channels_of_an_mlp_by_hand():
    """The sigmoid of a pruned channel is not zero, but the weights that read it are."""
    net, x = trained(Mlp()), torch.rand(1, 1, 4, 4)
    units, counts = counts_of(net, "channel", x)
    found = counts.of(MaskSet(units, {"fc1": torch.arange(6) < 2}), never)
    assert found.nonzero == 2 * 16 + 2 + 2 * 4 + 4 + 15
    assert found.macs.remaining == 2 * 16 + 2 * 4 + 12


class Others(nn.Module):
    """Grouped, transposed and depthwise convolutions, and a concatenation."""

    def __init__(self):
        super().__init__()
        self.stem, self.grouped = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1, groups=2)
        self.up, self.depthwise = nn.ConvTranspose2d(8, 6, 2, groups=2), nn.Conv2d(10, 10, 3, groups=10)
        self.head = nn.Linear(10, 3)

    def forward(self, x):
        y = self.stem(x)
        up = self.up(self.grouped(y))[:, :, :-1, :-1]
        return self.head(self.depthwise(torch.cat([up, y], dim=1).relu()).mean(dim=(2, 3)))

    def get_classifier(self):
        return self.head


class SqueezeExcitation(nn.Module):
    """Channels are multiplied by what is computed from all of them."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.squeeze = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1)
        self.excite, self.head = nn.Conv2d(4, 8, 1), nn.Linear(8, 3)

    def forward(self, x):
        y = self.bn(self.conv(x)).relu()
        scale = self.excite(self.squeeze(y.mean(dim=(2, 3), keepdim=True)).relu()).sigmoid()
        return self.head((y * scale).mean(dim=(2, 3)))

    def get_classifier(self):
        return self.head


NETWORKS = {
    "digits_cnn": (lambda: digits.digits_cnn(10, 1), (1, 8, 8)),
    "digits_vit": (lambda: digits.digits_vit(10, 1), (1, 8, 8)),
    "resnet of option A": (lambda: CifarResNet(1, 10), (3, 16, 16)),
    "squeeze and excitation": (SqueezeExcitation, (1, 4, 4)),
    "mlp": (Mlp, (1, 4, 4)),
    "other convolutions": (Others, (1, 8, 8)),
}


@pytest.mark.parametrize("granularity", ["weight", "channel"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_masks_give_what_is_counted_on_the_network(name, granularity):
    make, shape = NETWORKS[name]
    torch.manual_seed(0)
    net, x = trained(make()), torch.rand(2, *shape)
    units, counts = counts_of(net, granularity, x)
    assert counts.by_sums
    assert counts.parameters == sum(parameter.numel() for parameter in net.parameters())
    generator = torch.Generator().manual_seed(0)
    sets = [
        {one.name: torch.rand(one.unit_shape, generator=generator) >= sparsity for one in units.layers}
        for sparsity in (0.3, 0.9, 0.99)
    ]
    sets.append({one.name: torch.full(one.unit_shape, one is not units.layers[0]) for one in units.layers})
    for masks in (MaskSet(units, kept) for kept in sets):
        found, pruned = counts.of(masks, never), masked(net, units, masks)
        expected = count_macs(pruned, x)
        assert (found.macs.total, found.macs.remaining) == (expected.total, expected.remaining)
        assert found.nonzero == count_nonzero(pruned)
        assert found.kept == tuple(int(mask.sum()) for mask in masks.values())


class Twice(nn.Module):
    """One module under two names."""

    def __init__(self):
        super().__init__()
        self.first = self.second = nn.Linear(16, 16, bias=False)

    def forward(self, x):
        return self.second(self.first(x.flatten(1)))


def on_a_small_map(*layers):
    return nn.Sequential(*layers, nn.Conv2d(4, 5, 1, bias=False), nn.Flatten(), nn.Linear(5, 2)).eval()


def larger_than_its_map():
    """Of nine weights of a filter only the one in the middle reads the map; the others read padding."""
    net = on_a_small_map(
        nn.AvgPool2d(4), nn.Conv2d(3, 4, 1, bias=False), nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)
    )
    kept = {"1": torch.ones(4, 3, 1, 1), "2": torch.ones(4, 1, 3, 3), "3": torch.ones(5, 4, 1, 1)}
    kept["2"][0, 0, 1, 1] = 0
    return net, kept, 3 * 4 + 4 * 9 + 4 * 5 + 5 * 2 - 1 - 5


def zeros_at_the_border():
    """Of the first filter one weight is left, which makes a 2x2 map of three zeros; the next layer reads only zeros."""
    net = on_a_small_map(
        nn.AvgPool2d(2), nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4, bias=False),
    )  # fmt: skip
    kept = {"1": torch.ones(4, 3, 3, 3), "2": torch.ones(4, 1, 3, 3), "3": torch.ones(5, 4, 1, 1)}
    for name, place in (("1", (0, 0)), ("2", (1, 1))):
        kept[name][0] = 0
        kept[name][0, 0][place] = 1
    return net, kept, 4 * 27 * 4 + 4 * 9 + 4 * 5 + 5 * 2 - 4 * 26 - 8 - 5


def used_twice():
    kept = torch.ones(16, 16)
    kept[:4] = 0
    return Twice(), {"first": kept}, 12 * 16 + 12 * 12


@pytest.mark.parametrize("case", [larger_than_its_map, zeros_at_the_border, used_twice])
def test_a_network_whose_masks_are_not_enough_is_counted_itself(case):
    """Without bias and BatchNorm a channel can be zero although its filter is not empty."""
    net, kept, remaining = case()
    x = torch.rand(1, 3 if case is not used_twice else 1, 4, 4)
    inventory = take_inventory(net, x)
    exclude = () if case is used_twice else ("head",)
    units = find_units(net, "weight", exclude, inventory)
    counts = MaskCounts(net, inventory, units, x, count_macs(net, x))
    assert not counts.by_sums
    masks = MaskSet(units, {name: mask.bool() for name, mask in kept.items()})
    found = counts.of(masks, lambda: masked(net, units, masks))
    pruned = int(sum((mask == 0).sum() for mask in kept.values()))
    assert found.macs.remaining == remaining
    assert found.nonzero == sum(parameter.numel() for parameter in net.parameters()) - pruned
    assert found.kept == tuple(int(mask.sum()) for mask in kept.values())
    assert all(isinstance(parameter, nn.Parameter) for parameter in net.parameters())


class Gated(nn.Module):
    """A channel is the product of two, so that it needs both."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 1), nn.Conv2d(2, 3, 1)

    def forward(self, x):
        return self.head(self.first(x) * self.second(x)).mean(dim=(2, 3))

    def get_classifier(self):
        return self.head


class SharedBias(nn.Module):
    """Two layers add one bias, which is zeroed with the channels of either."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1), nn.Conv2d(2, 3, 1)
        self.second.bias = self.first.bias

    def forward(self, x):
        return self.head(self.second(self.first(x))).mean(dim=(2, 3))

    def get_classifier(self):
        return self.head


@pytest.mark.parametrize("make", [Gated, SharedBias, lambda: Mlp(bias=False)])
def test_channels_that_depend_on_each_other_are_counted_on_the_network(make):
    net, x = trained(make()), torch.rand(1, 1, 4, 4)
    units, counts = counts_of(net, "channel", x)
    assert not counts.by_sums
    for kept in (0, 1):
        masks = MaskSet(units, {layer.name: torch.arange(layer.size) < kept for layer in units.layers})
        pruned = masked(net, units, masks)
        found = counts.of(masks, partial(masked, net, units, masks))
        assert found.macs.remaining == count_macs(pruned, x).remaining
        assert found.nonzero == count_nonzero(pruned)
