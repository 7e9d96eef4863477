from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from bench.core.errors import NotApplicable
from bench.core.types import Granularity
from bench.models.units import find_units
from bench.models.view import ModelView
from bench.scorers import magnitude as family

FUNCTIONS = {
    "magnitude": lambda m: m,
    "log_magnitude": np.log,
    "sqrt_magnitude": np.sqrt,
    "square_magnitude": np.square,
    "exp_magnitude": np.exp,
}


def _view(granularity: Granularity) -> ModelView:
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 1, groups=2))
    for parameter in net.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator))
    return ModelView(net, find_units(net, granularity, (), torch.zeros(1, 2, 3, 3)))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("granularity", ["weight", "channel"])
def test_family_is_a_function_of_magnitude(name: str, granularity: Granularity) -> None:
    view = _view(granularity)
    scores = getattr(family, name)(view, None, None)
    for layer in view.units.names:
        m = np.abs(view.module(layer).weight.detach().numpy().astype(np.float64))
        m = m if granularity == "weight" else m.mean(axis=(1, 2, 3))
        np.testing.assert_allclose(scores[layer].numpy(), FUNCTIONS[name](m), rtol=1e-14)


def test_log_of_zero_is_finite_and_lowest() -> None:
    view = _view("weight")
    view.module("0").weight.data[0, 0, 0, 0] = 0
    score = family.log_magnitude(view, None, None)["0"]
    assert score.flatten().argmin() == 0
    assert float(score[0, 0, 0, 0]) == pytest.approx(-690.7755, abs=1e-4)


def test_l2_is_the_root_mean_square_of_the_filter() -> None:
    view = _view("channel")
    w = view.module("0").weight.detach().numpy().astype(np.float64)
    expected = np.linalg.norm(w.reshape(4, -1), axis=1) / np.sqrt(18)
    np.testing.assert_allclose(family.l2(view, None, None)["0"].numpy(), expected, rtol=1e-14)


def test_l2_may_order_channels_otherwise_than_magnitude() -> None:
    net = nn.Sequential(nn.Conv2d(2, 2, 1))
    net[0].weight.data.copy_(torch.tensor([[1.0, 1.0], [1.9, 0.0]]).view(2, 2, 1, 1))
    view = ModelView(net, find_units(net, "channel", (), torch.zeros(1, 2, 1, 1)))
    assert int(family.magnitude(view, None, None)["0"].argmax()) == 0
    assert int(family.l2(view, None, None)["0"].argmax()) == 1


def test_l2_does_not_apply_to_weights() -> None:
    with pytest.raises(NotApplicable, match="channels"):
        family.l2(_view("weight"), None, None)
