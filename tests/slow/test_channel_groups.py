"""Groups of coupled channels on networks of timm, compared with the dependency graph of torch-pruning."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from bench.models.cifar import cifar_resnet20
from bench.models.units import find_units
from bench.models.vgg import vgg16_bn_cifar

pytestmark = pytest.mark.slow
X = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def ours(net: nn.Module) -> list[set[tuple[str, int]]]:
    units = find_units(net, "group", ("head",), X)
    assert units.coupling is not None
    return [set(group) for group in units.coupling.named(units)]


def theirs(net: nn.Module, layer: str) -> set[tuple[str, int]]:
    tp = pytest.importorskip("torch_pruning")
    graph = tp.DependencyGraph().build_dependency(net, example_inputs=X)
    names = {module: name for name, module in net.named_modules()}
    group = graph.get_pruning_group(net.get_submodule(layer), tp.prune_conv_out_channels, idxs=[0])
    return {
        (names[dep.target.module], int(index))
        for dep, indices in group
        for index in indices
        if isinstance(dep.target.module, nn.Conv2d) and "out_channels" in dep.handler.__name__
    }


@pytest.mark.parametrize(
    ("name", "groups", "layers"),
    [
        ("resnet18", 2880, ("conv1", "layer2.0.conv2", "layer3.0.conv1")),
        ("vgg11", 10944, ("features.0", "features.11")),
        ("mobilenetv3_small_100", 4872, ("conv_stem", "blocks.2.0.conv_pw")),
        ("densenet121", 10240, ("features.conv0", "features.denseblock1.denselayer2.conv2")),
        ("resnet50", 11456, ("conv1", "layer1.0.conv3", "layer4.2.conv2")),
    ],
)
def test_groups_are_those_of_torch_pruning(name, groups, layers):
    net = timm.create_model(name, num_classes=3).eval()
    found = ours(net)
    assert len(found) == groups
    for layer in layers:
        [group] = [group for group in found if (layer, 0) in group]
        assert {(name, at) for name, at in theirs(net, layer) if name != "pre_logits.fc1"} == group


def test_vgg16_has_groups_of_one():
    assert [len(group) for group in ours(vgg16_bn_cifar().eval())] == [1] * 4224


def test_torch_pruning_is_wrong_on_zero_padded_shortcuts():
    """It couples channel 0 of the first stage with channel 0 of the second, which the padding makes channel 8."""
    net = cifar_resnet20().eval()
    found = theirs(net, "conv1")
    assert found not in ours(net)
    assert ("layer2.0.conv2", 0) in found
