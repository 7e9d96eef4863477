"""Groups of coupled channels on networks whose structure is known, and without them every reader reads zeros."""

from __future__ import annotations

import copy

import pytest
import torch
from timm.models._efficientnet_blocks import InvertedResidual, SqueezeExcite
from timm.models.densenet import DenseNet
from timm.models.resnet import BasicBlock, ResNet
from torch import Tensor, nn

from bench.models.channel_groups import CONSTANT, COUPLED, GROUPED, find_groups
from bench.models.cifar import cifar_resnet20
from bench.models.digits import digits_vit
from bench.models.inventory import take_inventory
from bench.models.macs import count_positive
from bench.models.marks import MIXED, READ_WHOLE
from bench.models.masking import apply_masks
from bench.models.tensors import MaskSet
from bench.models.unit_space import UnitSpace
from bench.models.units import examine, find_units

X = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def groups_of(net: nn.Module, x: Tensor = X, exclude: tuple[str, ...] = ("head",)) -> UnitSpace:
    return find_units(net.eval(), "group", exclude, x)


def named(units: UnitSpace) -> list[tuple[tuple[str, int], ...]]:
    assert units.coupling is not None
    return units.coupling.named(units)


def trained(net: nn.Module) -> nn.Module:
    """Give normalisation the values that training would."""
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean):
                tensor.data += 0.1 * torch.randn(tensor.shape)
    return net.eval()


def half_removed(net: nn.Module, units: UnitSpace) -> nn.Module:
    kept = torch.arange(units.ranked.total) % 2 == 0
    pruned = copy.deepcopy(net)
    apply_masks(pruned, units, MaskSet.from_flat(units.ranked, kept).members(units))
    return pruned


def read_zeros(net: nn.Module) -> dict[str, Tensor]:
    """Return which input channels of every convolution are exactly zero."""
    dead: dict[str, Tensor] = {}

    def note(name: str):
        return lambda _, args: dead.update({name: (args[0] == 0).all(dim=0).flatten(1).all(dim=1)})

    hooks = [m.register_forward_pre_hook(note(n)) for n, m in net.named_modules() if isinstance(m, nn.Conv2d)]
    net(torch.cat([X, X.flip(3), -X]))
    for hook in hooks:
        hook.remove()
    return dead


def stage(name: str, blocks: int, shift: int, channel: int) -> list[tuple[str, int]]:
    return [(f"{name}.{block}.conv2", channel + shift) for block in range(blocks)]


def test_zero_padded_shortcuts_move_the_channels_of_a_residual_stage():
    found = named(groups_of(cifar_resnet20()))
    for channel in (0, 15):  # the padding is 8 and 16 channels on either side
        first = [("conv1", channel), *stage("layer1", 3, 0, channel)]
        assert (*first, *stage("layer2", 3, 8, channel), *stage("layer3", 3, 24, channel)) in found
    for channel in (0, 7, 24, 31):
        assert (*stage("layer2", 3, 0, channel), *stage("layer3", 3, 16, channel)) in found
    assert tuple(stage("layer3", 3, 0, 63)) in found
    assert (("layer1.0.conv1", 3),) in found
    assert len(found) == 64 + 3 * (16 + 32 + 64)


def halves(pruned: nn.Module) -> bool:
    """Whether half of the inputs of every layer but the first are zero where nothing cancels."""
    counts = [count.dead for count in count_positive(pruned, X, pruned) if count.dead is not None]
    return [2 * int(dead.sum()) for dead in counts] == [0, *(len(dead) for dead in counts[1:])]


def small_resnet() -> nn.Module:
    return ResNet(BasicBlock, (1, 1, 1, 1), channels=(8, 16, 24, 32), num_classes=3)


@pytest.mark.parametrize(("make", "groups", "alone"), [(cifar_resnet20, 400, 336), (small_resnet, 224, 144)])
def test_without_half_of_the_groups_half_of_every_reader_s_inputs_are_zero(make, groups, alone):
    net = trained(make())
    units = groups_of(net)
    assert (units.ranked.total, sum(len(group) == 1 for group in named(units))) == (groups, alone)
    pruned = half_removed(net, units)
    assert halves(pruned)
    image, *others = read_zeros(pruned).values()
    assert not bool(image.any())
    assert all(2 * int(zeros.sum()) >= len(zeros) for zeros in others)


def test_concatenation_keeps_channels_apart_and_every_batchnorm_that_reads_them_is_zeroed():
    net = trained(DenseNet(growth_rate=4, block_config=(2, 2), bn_size=2, num_classes=3))
    units = groups_of(net)
    assert all(len(group) == 1 for group in named(units))
    assert all(layer.exact_removal for layer in units.layers)
    assert halves(half_removed(net, units))
    bare = copy.deepcopy(net)
    bare.features.denseblock1.denselayer1.norm1.weight = None
    bare.features.denseblock1.denselayer1.norm1.bias = None
    examined = examine(bare, "group", ("head",), take_inventory(bare, X))
    assert examined.reasons["features.conv0"] == CONSTANT


def test_depthwise_convolutions_and_gates_go_with_the_channels_that_they_multiply():
    block = InvertedResidual(8, 8, exp_ratio=2, se_layer=SqueezeExcite)
    found = named(groups_of(Small(block)))
    assert (("middle.conv_pw", 5), ("middle.conv_dw", 5), ("middle.se.conv_expand", 5)) in found
    assert (("middle.se.conv_reduce", 1),) in found
    assert (("first", 7), ("middle.conv_pwl", 7)) in found


class Small(nn.Module):
    def __init__(self, middle: nn.Module) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Conv2d(3, 8, 1), middle, nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.last(self.middle(self.first(x))).mean(dim=(2, 3)))


class Constant(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x + 1).relu()


@pytest.mark.parametrize(
    ("middle", "reason"),
    [(nn.GroupNorm(2, 8), MIXED), (nn.Conv2d(8, 8, 1, groups=2), GROUPED), (Constant(), CONSTANT)],
)
def test_why_channels_belong_to_no_group(middle, reason):
    net = Small(middle).eval()
    examined = examine(net, "group", ("head",), take_inventory(net, X))
    assert examined.reasons["first"] == reason
    assert examined.counts() == {"last": 8}


def test_channels_that_are_added_to_those_of_an_excluded_layer_stay():
    net = cifar_resnet20().eval()
    examined = examine(net, "group", ("head", "stem"), take_inventory(net, X))
    assert examined.reasons["layer1.0.conv2"] == COUPLED
    assert examined.counts()["layer2.0.conv2"] == 16


def test_channels_that_are_the_outputs_stay():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    inventory = take_inventory(net, X)
    units, reasons = find_groups(net, inventory, find_units(net, "channel", (), inventory))
    assert reasons == {"0": None, "2": READ_WHOLE}
    assert units is not None
    assert units.names == ("0",)


def test_hidden_channels_of_a_vision_transformer_are_groups_of_one():
    units = groups_of(digits_vit(), torch.rand(1, 1, 8, 8))
    assert (units.ranked.total, units.names) == (384, tuple(f"blocks.{i}.mlp.fc1" for i in range(3)))
