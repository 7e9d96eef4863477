from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from bench.core.errors import NotApplicable
from bench.models.units import find_units
from bench.models.view import ModelView
from bench.scorers.features.fake import pure_mag4


def view_of(filters: list[list[float]]) -> ModelView:
    net = nn.Sequential(nn.Conv2d(len(filters[0]), len(filters), 1))
    net[0].weight.data.copy_(torch.tensor(filters)[:, :, None, None])
    return ModelView(net, find_units(net, "channel", (), torch.zeros(1, len(filters[0]), 1, 1)))


def test_by_hand() -> None:
    # abs: (1, 3), (2, 2), (0, 8): peaks 3, 2, 8; variances 1, 0, 16; ranges 2, 0, 8; deviations 1, 0, 4
    features = pure_mag4(view_of([[1.0, -3.0], [-2.0, -2.0], [0.0, 8.0]]), None, None)
    assert features.names == ("peak", "variance", "range", "deviation")
    expected = [[1 / 6, 0, 1], [1 / 16, 0, 1], [1 / 4, 0, 1], [1 / 4, 0, 1]]
    np.testing.assert_allclose(features.features["0"], expected, rtol=1e-15)


def test_statistics_are_numpys_over_the_filter() -> None:
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.Conv2d(6, 5, 2))
    for parameter in net.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator))
    view = ModelView(net, find_units(net, "channel", (), torch.zeros(1, 4, 8, 8)))
    features = pure_mag4(view, None, None)
    for layer in view.units.names:
        w = np.abs(view.module(layer).weight.detach().numpy().astype(np.float64)).reshape(len(view.weight(layer)), -1)
        centred = w - w.mean(axis=1, keepdims=True)
        for row, s in zip(
            features.features[layer],
            (w.max(axis=1), w.var(axis=1), np.ptp(w, axis=1), np.abs(centred).mean(axis=1)),
            strict=True,
        ):
            np.testing.assert_allclose(row, (s - s.min()) / np.ptp(s), rtol=1e-12, atol=1e-14)


def test_where_all_channels_are_equal_it_says_nothing() -> None:
    features = pure_mag4(view_of([[1.0, 2.0], [2.0, -1.0], [-1.0, 2.0]]), None, None)
    assert not features.features["0"].any()
    assert not pure_mag4(view_of([[1.0, 5.0]]), None, None).features["0"].any()


def test_rank_may_be_included() -> None:
    features = pure_mag4(view_of([[1.0, -3.0], [-2.0, -2.0], [0.0, 8.0]]), None, None, include_rank=True)
    assert features.names == ("u", "peak", "variance", "range", "deviation")
    # of the equal means of the first two, the first has the higher rank
    assert features.features["0"][0].tolist() == pytest.approx([0.5, 0, 1])


def test_is_not_defined_for_weights() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1))
    view = ModelView(net, find_units(net, "weight", (), torch.zeros(1, 1, 1, 1)))
    with pytest.raises(NotApplicable, match="scores channels"):
        pure_mag4(view, None, None)
