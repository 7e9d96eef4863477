"""Mean abs activations against the net's modules called one by one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from bench.core.errors import NotApplicable
from bench.core.types import Granularity
from bench.models.units import find_units
from bench.models.view import Calibration, ModelView
from bench.scorers.activation import activation

ViewOf = Callable[[Granularity], ModelView]


@torch.no_grad()
def test_is_the_mean_over_images_and_space_after_batchnorm(view_of: ViewOf, calibration: Calibration) -> None:
    view = view_of("channel")
    net, scores = view.model, activation(view, calibration, None)
    first = net.bn1(net.conv1(calibration.images))
    second = net.bn2(net.conv2(torch.tanh(first)))
    tokens = torch.tanh(second).flatten(2).transpose(1, 2)
    hidden = net.mlp.fc1(tokens)  # before its GELU; it has no BatchNorm
    expected = {"conv1": first.abs().mean((0, 2, 3)), "conv2": second.abs().mean((0, 2, 3)),
                "mlp.fc1": hidden.abs().mean((0, 1))}  # fmt: skip
    assert set(scores) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(scores[name], value, rtol=1e-12, atol=1e-15)


@torch.no_grad()
def test_a_batchnorm_that_activates_is_read_before_its_non_linearity() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), BatchNormAct2d(1)).eval()
    net[0].weight.fill_(1.0)
    net[1].eps = 0.0
    draw = Calibration(torch.tensor([-3.0, 1.0]).view(2, 1, 1, 1), torch.zeros(2), 1)
    view = ModelView(net, find_units(net, "channel", (), draw.images))
    assert view.units.layers[0].batchnorm == "1"
    assert activation(view, draw, None)["0"].item() == pytest.approx(2.0)  # after its ReLU: 0.5


def test_weights_have_no_activation(view_of: ViewOf, calibration: Calibration) -> None:
    with pytest.raises(NotApplicable, match="channels"):
        activation(view_of("weight"), calibration, None)
