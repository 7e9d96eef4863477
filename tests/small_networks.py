"""A small study of the digits, and untrained networks that are the same in every test."""

from __future__ import annotations

import torch
from torch import nn

from bench.models.digits import DigitsCNN
from bench.models.units import find_units
from bench.models.view import ModelView

STUDY = """\
name: m
data: [digits]
models: [digits_cnn]
train_seeds: 1
calibration: {images: 32, batch: 16}
scorers: [magnitude, taylor]
sparsities: [0.5]
corrections: [none, asr_eb]
recalibrations: [none, exact, cumulative]
execution: {batch: 4}
"""


def seeded_net(width: int = 1, kind: type[DigitsCNN] = DigitsCNN) -> DigitsCNN:
    """Return a network in eval mode, whose last convolution has `width` times as many channels."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = kind(num_classes=10, in_chans=1)
        if width > 1:
            net.features[9] = nn.Conv2d(64, 64 * width, 3, stride=2, padding=1, bias=False)
            net.features[10], net.linear = nn.BatchNorm2d(64 * width), nn.Linear(64 * width, 10)
    return net.eval()


def view_of(net: nn.Module, granularity: str = "weight") -> ModelView:
    """Return a view of all layers but the head."""
    return ModelView(net, find_units(net, granularity, ("head",), torch.zeros(1, 1, 8, 8)))
