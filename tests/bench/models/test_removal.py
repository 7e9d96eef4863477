"""Tests of `bench.models.removal`: smaller networks compute what the masked ones compute."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from bench.models.cifar import CifarResNet
from bench.models.macs import count_macs
from bench.models.masking import apply_masks
from bench.models.removal import remove_channels
from bench.models.tensors import MaskSet
from bench.models.units import find_units


def trained(net):
    """Give every parameter and statistic a value that training could have left."""
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1, generator=generator)
            module.weight.data.uniform_(0.5, 1, generator=generator)
            module.bias.data.normal_(0, 0.1, generator=generator)
    return net.eval()


def zero(*parameters, rows):
    for parameter in parameters:
        parameter.data[rows] = 0


def vit():
    return VisionTransformer(
        img_size=8, patch_size=4, in_chans=1, num_classes=3, embed_dim=16, depth=1, num_heads=4, mlp_ratio=2
    )


def channels_left(net, example):
    """Channels left by layer, after a check that the outputs are those of the network."""
    removal = remove_channels(net, example)
    compact = removal.compact.module()
    with torch.no_grad():
        for batch in (1, 5):
            images = torch.rand(batch, *example.shape[1:], generator=torch.Generator().manual_seed(batch))
            expected = net(images)
            assert float((compact(images) - expected).abs().max()) <= 1e-5 * float(expected.abs().max())
    return {layer.layer: layer.after for layer in removal.layers}, removal


@pytest.mark.parametrize(("make", "channels", "size"), [(vit, 1, 8), (lambda: CifarResNet(1, 10), 3, 16)])
def test_masked_networks(make, channels, size):
    torch.manual_seed(0)
    net, example = trained(make()), torch.rand(2, channels, size, size)
    units = find_units(net, "channel", (), example)
    generator = torch.Generator().manual_seed(1)
    kept = {layer.name: torch.rand(layer.size, generator=generator) > 0.6 for layer in units.layers}
    apply_masks(net, units, MaskSet(units, kept))
    masked = count_macs(net, example)
    left, removal = channels_left(net, example)
    pruned = sum(int((~mask).sum()) for mask in kept.values())
    stay = sum(layer.zero for layer in removal.layers)
    assert removal.removed + stay == pruned
    assert removal.removed > 0
    module = removal.compact.module()
    compact = count_macs(torch.fx.GraphModule(module, module.graph), example)
    assert compact.remaining == masked.remaining
    assert (compact.total == masked.remaining) == (stay == 0)
    for layer in units.layers:
        if layer.name.endswith(("conv1", "fc1")) and "." in layer.name:  # not on a residual stream
            assert left[layer.name] == int(kept[layer.name].sum())


@pytest.mark.parametrize(
    ("granularity", "make", "channels", "size"),
    [("head", vit, 1, 8), ("group", vit, 1, 8), ("group", lambda: CifarResNet(1, 10), 3, 16)],
)
def test_of_units_that_are_removed_as_a_whole_nothing_stays(granularity, make, channels, size):
    torch.manual_seed(0)
    net, example = trained(make()), torch.rand(2, channels, size, size)
    units = find_units(net, granularity, (), example)
    kept = torch.rand(units.ranked.total, generator=torch.Generator().manual_seed(1)) > 0.5
    masks = MaskSet.from_flat(units.ranked, kept).members(units)
    apply_masks(net, units, masks)
    left, removal = channels_left(net, example)
    assert all(layer.zero == 0 for layer in removal.layers)
    assert 0 < removal.removed == int((~masks.flat).sum())
    assert {name: left[name] for name in units.names} == {name: int(masks[name].sum()) for name in units.names}


def test_zero_padded_shortcuts_shift_the_channels():
    """Channel 3 of the first stage is channel 11 of the second and 27 of the third."""
    net = trained(CifarResNet(1, 10))
    zero(net.conv1.weight, net.bn1.weight, net.bn1.bias, rows=3)
    for stage, place in ((net.layer1, 3), (net.layer2, 11), (net.layer3, 27)):
        block = stage[0]
        zero(block.conv2.weight, block.bn2.weight, block.bn2.bias, rows=place)
    block = net.layer2[0]
    zero(block.conv2.weight, block.bn2.weight, block.bn2.bias, rows=[0, 31])  # next to padded zeros alone
    block = net.layer3[0]
    zero(block.conv2.weight, block.bn2.weight, block.bn2.bias, rows=[16, 47])
    left, removal = channels_left(net, torch.rand(2, 3, 16, 16))
    assert left["conv1"] == 15
    assert left["layer2.0.conv2"] == 29
    assert left["layer3.0.conv2"] == 61
    assert sum(layer.zero for layer in removal.layers) == 0


class Residual(nn.Module):
    """A block whose output is added to its input."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3)
        self.conv1 = nn.Conv2d(6, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 6, 3, padding=1)
        self.last = nn.Linear(6, 3)

    def forward(self, x):
        x = self.stem(x)
        return self.last(F.relu(x + self.conv2(F.relu(self.conv1(x)))).mean((2, 3)))


def test_coupled_channels_stay_and_are_counted():
    net = Residual().eval()
    zero(net.conv2.weight, net.conv2.bias, rows=[0, 1])
    zero(net.stem.weight, net.stem.bias, rows=[1, 2])
    zero(net.conv1.weight, net.conv1.bias, rows=[0, 3, 7])
    left, removal = channels_left(net, torch.rand(2, 1, 8, 8))
    assert left == {"stem": 5, "conv1": 5, "conv2": 5, "last": 3}
    assert {layer.layer: layer.zero for layer in removal.layers} == {"stem": 1, "conv1": 0, "conv2": 1, "last": 0}


def test_a_dead_layer_keeps_one_channel():
    net = Residual().eval()
    zero(net.conv1.weight, net.conv1.bias, rows=slice(None))
    left, _ = channels_left(net, torch.rand(2, 1, 8, 8))
    assert left["conv1"] == 1


def test_heads_of_attention_are_removed_whole():
    net = vit().eval()
    attention = net.blocks[0].attn
    nn.init.normal_(attention.qkv.bias)
    for part in range(3):  # width 16, 4 heads of 4: the third head
        zero(attention.qkv.weight, attention.qkv.bias, rows=slice(16 * part + 8, 16 * part + 12))
    attention.proj.weight.data[:, 12:16] = 0  # the last head is not read
    zero(attention.qkv.weight, attention.qkv.bias, rows=slice(0, 2))  # half of the queries of the first head
    left, _ = channels_left(net, torch.rand(2, 1, 8, 8))
    assert left["blocks.0.attn.qkv"] == 24


class Constants(nn.Module):
    """Pruned channels that a BatchNorm shifts before they are read."""

    def __init__(self, padding, bias):
        super().__init__()
        self.first = nn.Conv2d(2, 6, 3, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 4, 3, padding=padding, bias=bias)

    def forward(self, x):
        return self.second(F.relu(self.norm(F.relu(self.first(x))))).mean((2, 3))


@pytest.mark.parametrize("bias", [True, False])
def test_constants_go_into_the_bias_unless_zeros_are_padded(bias):
    for padding, left in ((0, 4), (1, 5)):
        net = trained(Constants(padding, bias))
        zero(net.first.weight, rows=[1, 2])
        net.norm.bias.data[1], net.norm.running_mean[1] = 1.0, 0.0  # a constant
        net.norm.bias.data[2], net.norm.running_mean[2] = -1.0, 0.0  # zero after the ReLU
        found, _ = channels_left(net, torch.rand(2, 2, 8, 8))
        assert found["first"] == left


def test_channels_that_are_read_by_zeros_are_removed():
    net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.Sigmoid(), nn.Conv2d(6, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 3))
    net.eval()
    net[2].weight.data[:, 4] = 0
    net[5].weight.data[:, 16:32] = 0  # the second channel of the second convolution
    net[2].weight.data[[0, 2, 3, 4, 5], 0] = 0  # read by that channel alone
    left, _ = channels_left(net, torch.rand(2, 1, 8, 8))
    assert left == {"0": 4, "2": 5, "5": 3}


class Mixed(nn.Module):
    """Depthwise and grouped convolutions, a concatenation, a gate per channel, and two halves that are multiplied."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, bias=False)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.side = nn.Conv2d(1, 4, 3, bias=False)
        self.gate = nn.Conv2d(12, 12, 1)
        self.grouped = nn.Conv2d(12, 6, 1, groups=3)
        self.scale = nn.Parameter(torch.rand(1, 6, 1, 1) + 0.5)
        self.halves = nn.Linear(6, 8)
        self.last = nn.Linear(4, 3)

    def forward(self, x):
        x = torch.cat([F.relu(self.depthwise(self.first(x))), self.side(x)], dim=1)
        x = x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        one, other = self.halves((self.scale * self.grouped(x)).flatten(2).mean(2)).chunk(2, dim=-1)
        return self.last(one * F.silu(other))


def test_other_connections():
    torch.manual_seed(0)
    net = Mixed().eval()
    zero(net.first.weight, rows=[0, 1, 2, 3, 5])  # the first four are the first group of `grouped`
    net.grouped.bias.data[:2] = 0
    zero(net.halves.weight, net.halves.bias, rows=[1, 6])
    left, _ = channels_left(net, torch.rand(2, 1, 8, 8))
    assert (left["first"], left["depthwise"]) == (4, 4)
    assert (left["gate"], left["grouped"]) == (8, 4)
    assert (left["halves"], left["last"]) == (4, 3)


def test_nothing_is_removed_of_a_network_without_zeros():
    left, removal = channels_left(Residual().eval(), torch.rand(2, 1, 8, 8))
    assert removal.removed == 0
    assert list(left.values()) == [6, 8, 6, 3]


class Parts(nn.Module):
    """Cuts its channels in parts, counted from either end."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 6, 3)
        self.last = nn.Linear(7, 3)

    def forward(self, x):
        x = self.first(x).mean((2, 3))
        return self.last(torch.cat([x[:, -4:-1], x[:, 1:4], x[:, -1:]], dim=1))


def test_parts_are_cut_at_the_same_channels():
    net = Parts().eval()
    zero(net.first.weight, net.first.bias, rows=[2, 4])
    left, _ = channels_left(net, torch.rand(2, 1, 8, 8))
    assert left["first"] == 3  # the first channel is in no part


class Unknown(nn.Module):
    """Sorts its channels, for which there is no rule."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 6, 3)
        self.last = nn.Linear(6, 3)

    def forward(self, x):
        return self.last(self.first(x).mean((2, 3)).sort(dim=1)[0])


def test_operations_without_a_rule_keep_their_channels():
    net = Unknown().eval()
    zero(net.first.weight, net.first.bias, rows=[0, 1])
    left, removal = channels_left(net, torch.rand(2, 1, 8, 8))
    assert left["first"] == 6
    assert removal.layers[0].zero == 2
