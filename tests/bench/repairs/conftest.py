from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from bench.core.types import Granularity
from bench.models.masking import apply_masks
from bench.models.tensors import MaskSet
from bench.models.units import find_units
from bench.models.view import Calibration, ModelView
from bench.repairs.correction import RepairContext
from bench.repairs.statistics import channel_moments


class ConvNet(nn.Module):
    """Two convolutions with BatchNorm, then a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        out: Tensor = self.head(x.mean(dim=(2, 3)))
        return out


@pytest.fixture
def net() -> ConvNet:
    """A seeded net in float64 and eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ConvNet().double().eval().requires_grad_(False)
    for bn in (model.bn1, model.bn2):
        bn.running_mean.fill_(0.1)
        bn.running_var.fill_(0.5)
    return model


@pytest.fixture
def calibration() -> Calibration:
    """48 images in batches of 16."""
    images = torch.randn(48, 2, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Calibration(images, torch.zeros(48, dtype=torch.int64), 16)


def _half_pruned(
    net: nn.Module, calibration: Calibration, granularity: Granularity = "weight", exclude: tuple[str, ...] = ("head",)
) -> RepairContext:
    units = find_units(net, granularity, exclude, calibration.images[:1])
    masks = {}
    for name, magnitude in ModelView(net, units).magnitudes().items():
        masks[name] = magnitude > magnitude.quantile(0.5)
    model, mask_set = copy.deepcopy(net), MaskSet(units, masks)
    apply_masks(model, units, mask_set)
    return RepairContext(model, channel_moments(net, units.layers, calibration), units, mask_set, calibration, net)


@pytest.fixture
def half_pruned() -> Callable[..., RepairContext]:
    """Make a repair of a copy of a net, half of each layer's units pruned by magnitude."""
    return _half_pruned


@pytest.fixture
def context(net: ConvNet, calibration: Calibration) -> RepairContext:
    """A repair of a copy of the net, with masks that keep everything."""
    units = find_units(net, "weight", ("head",), calibration.images[:1])
    dense = channel_moments(net, units.layers, calibration)
    masks = MaskSet(units, {layer.name: torch.ones(layer.unit_shape, dtype=torch.bool) for layer in units.layers})
    return RepairContext(copy.deepcopy(net), dense, units, masks, calibration, net)
