from __future__ import annotations

import numpy as np
import torch
from torch import nn

from bench.models.unchanged import left_behind, marks
from bench.models.unit_space import PrunableLayer
from bench.models.units import find_units
from bench.models.view import Calibration
from bench.repairs.statistics import Moments, batch_moments, channel_moments


def _draw(shape: tuple[int, ...], batch: int) -> Calibration:
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Calibration(images, torch.zeros(len(images), dtype=torch.int64), batch)


def _layers(net: nn.Module, draw: Calibration) -> tuple[PrunableLayer, ...]:
    return find_units(net, "weight", (), draw.images[:1]).layers


def test_convolution_is_numpys_variance_over_images_and_space() -> None:
    draw = _draw((11, 2, 5, 5), 4)  # batches of 4, 4 and 3
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 1)).double()
    found = channel_moments(net, _layers(net, draw), draw)
    with torch.no_grad():
        outputs = {"0": net[0](draw.images).numpy(), "2": net(draw.images).numpy()}
    for name, output in outputs.items():
        np.testing.assert_allclose(found[name].mean.numpy(), output.mean(axis=(0, 2, 3)), rtol=1e-12)
        np.testing.assert_allclose(found[name].variance.numpy(), output.var(axis=(0, 2, 3)), rtol=1e-12)
        assert found[name].count == 11 * 9


def test_linear_layer_over_images_and_tokens() -> None:
    draw = _draw((7, 1, 3, 4), 2)
    net = nn.Sequential(nn.Flatten(1, 2), nn.Linear(4, 5)).double()
    found = channel_moments(net, _layers(net, draw), draw)["1"]
    with torch.no_grad():
        output = net(draw.images).numpy().reshape(-1, 5)
    np.testing.assert_allclose(found.variance.numpy(), output.var(axis=0), rtol=1e-12)
    assert found.count == 21


def test_variance_survives_a_large_mean() -> None:
    values = torch.randn(1000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shifted = [Moments.of(part + 1e9) for part in values.split(300)]
    pooled = shifted[0]
    for moments in shifted[1:]:
        pooled = pooled.pool(moments)
    # sums of squares would lose all digits: (1e9) ** 2 has an ulp of 128
    np.testing.assert_allclose(float(pooled.variance), values.numpy().var(), rtol=1e-6)


def test_large_outputs_are_measured_in_parts_that_pool_to_the_whole() -> None:
    draw = _draw((3, 1, 300, 300), 3)  # an image's output exceeds one part
    net = nn.Sequential(nn.Conv2d(1, 4, 1)).double()
    with torch.no_grad():
        expected = net(draw.images).numpy().var(axis=(0, 2, 3))
    np.testing.assert_allclose(
        channel_moments(net, _layers(net, draw), draw)["0"].variance.numpy(), expected, rtol=1e-12
    )


def test_leaves_no_hooks() -> None:
    net = nn.Sequential(nn.Linear(2, 2)).double()
    draw = _draw((2, 2), 2)
    before = marks(net)
    channel_moments(net, _layers(net, draw), draw)
    assert left_behind(net, before) is None


def test_batches_apart_are_numpys_and_pool_to_the_whole() -> None:
    draw = _draw((11, 2, 5, 5), 4)
    net = nn.Sequential(nn.Conv2d(2, 3, 3)).double()
    batches = batch_moments(net, _layers(net, draw), draw)["0"]
    with torch.no_grad():
        outputs = [net(x).numpy() for x in draw.images.split(4)]
    assert [moments.count for moments in batches] == [36, 36, 27]
    for moments, output in zip(batches, outputs, strict=True):
        np.testing.assert_allclose(moments.mean.numpy(), output.mean(axis=(0, 2, 3)), rtol=1e-12)
        np.testing.assert_allclose(moments.variance.numpy(), output.var(axis=(0, 2, 3)), rtol=1e-12)


def test_a_layer_called_twice_is_measured_over_both_calls() -> None:
    layer = nn.Linear(2, 2).double()
    draw = _draw((6, 2), 3)
    net = nn.Sequential(layer, layer)
    found = batch_moments(net, _layers(net, draw), draw)["0"]
    with torch.no_grad():
        once = layer(draw.images[:3])
        both = torch.cat([once, layer(once)]).numpy()
    assert [moments.count for moments in found] == [6, 6]
    np.testing.assert_allclose(found[0].variance.numpy(), both.var(axis=0), rtol=1e-12)
