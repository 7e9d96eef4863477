"""Fixed small inputs on which the authors' code and ours are compared.

numpy draws them, so that they are the same under every version of torch. `README.md` describes how the stored values
were computed from them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.core.types import Granularity
from bench.models.units import find_units
from bench.models.view import Calibration, ModelView

#: Images of the draw, and of a batch of it; 3 classes of 16 images each.
IMAGES, BATCH, CLASSES = 48, 8, 3


def stored(name: str) -> dict[str, Any]:
    """Return the values that the authors' code gave, from the JSON file of that name."""
    values: dict[str, Any] = json.loads(Path(__file__).with_name(f"{name}.json").read_text(encoding="utf-8"))
    return values


def uniform(seed: int, *shape: int) -> Tensor:
    """Return float64 values, uniform in [-1, 1)."""
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, shape))


def draw() -> Calibration:
    """Return 48 images of 2 x 6 x 6 in batches of 8, the classes in turn."""
    return Calibration(2 * uniform(1, IMAGES, 2, 6, 6), torch.arange(IMAGES) % CLASSES, BATCH)


def network() -> nn.Sequential:
    """Return two convolutions with BatchNorm and two linear layers, 204 weights, float64, eval mode."""
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(),
        nn.Conv2d(3, 4, 3, stride=2, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, CLASSES),
    )  # fmt: skip
    return filled(net)


def plain_network() -> nn.Sequential:
    """Return three convolutions with biases and without BatchNorm, and a linear layer, float64, eval mode."""
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3, stride=2), nn.ReLU(),
        nn.Conv2d(5, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4, CLASSES),
    )  # fmt: skip
    return filled(net)


def filled(net: nn.Sequential) -> nn.Sequential:
    """Fill a network's parameters and BatchNorm statistics with seeded values, in the order of its layers."""
    net.double().eval()
    for seed, layer in enumerate(net):
        if isinstance(layer, nn.BatchNorm2d):
            values = uniform(100 + seed, 4, layer.num_features)
            layer.weight.data.copy_(1 + values[0] / 2)
            layer.bias.data.copy_(values[1] / 2)
            layer.running_mean.copy_(values[2] / 2)
            layer.running_var.copy_(1 + values[3] / 2)
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            fan_in = layer.weight[0].numel()
            layer.weight.data.copy_(2 * uniform(100 + seed, *layer.weight.shape) / fan_in**0.5)
            if layer.bias is not None:
                layer.bias.data.copy_(uniform(200 + seed, len(layer.bias)) / 2)
    return net


def view_of(net: nn.Module, granularity: Granularity = "weight") -> ModelView:
    """Return a view of all prunable layers, the head included."""
    return ModelView(net, find_units(net, granularity, (), draw().images[:1]))


def halved(net: nn.Sequential) -> nn.Sequential:
    """Zero the smaller half of the weights of each convolution, in place, and all of the first filter of the second."""
    convolutions = [layer for layer in net if isinstance(layer, nn.Conv2d)]
    for layer in convolutions:
        magnitude = layer.weight.detach().abs()
        layer.weight.data[magnitude < magnitude.median()] = 0
    convolutions[1].weight.data[0] = 0
    return net
