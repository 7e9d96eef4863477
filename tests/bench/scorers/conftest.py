from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from bench.core.types import Granularity
from bench.models.units import find_units
from bench.models.view import Calibration, ModelView


class _Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 6)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(self.act(self.fc1(x)))
        return out


class Net(nn.Module):
    """Small and smooth: convolutions (one grouped, one strided), BatchNorm, an MLP on tokens, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 6, 3, stride=2, groups=2, bias=False), nn.BatchNorm2d(6)
        self.mlp, self.dropout, self.head = _Mlp(), nn.Dropout(0.5), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.bn1(self.conv1(x)))
        x = torch.tanh(self.bn2(self.conv2(x)))
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.mlp(tokens)
        out: Tensor = self.head(self.dropout(tokens.mean(dim=1)))
        return out


@pytest.fixture
def view_of() -> Callable[[Granularity], ModelView]:
    """Make a view of the net, float64 so that finite differences are sharp."""

    def make(granularity: Granularity) -> ModelView:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = Net().double()
        for bn in (net.bn1, net.bn2):
            bn.running_mean.fill_(0.1)
            bn.running_var.fill_(0.3)
        net.eval()
        example = torch.zeros(1, 2, 5, 5, dtype=torch.float64)
        return ModelView(net, find_units(net, granularity, ("head",), example))

    return make


@pytest.fixture
def calibration() -> Calibration:
    """40 images in batches of 16: the last batch is smaller."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(40, 2, 5, 5, generator=generator, dtype=torch.float64)
    return Calibration(images, torch.randint(3, (40,), generator=generator), 16)
