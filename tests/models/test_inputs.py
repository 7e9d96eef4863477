"""Input patches against the layer's own output, their moments against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from timm.layers import Conv2dSame, StdConv2d
from torch import Tensor, nn

from bench.errors import NotApplicable
from bench.models import inputs
from bench.models.inputs import input_moments, patches
from bench.models.view import Calibration

CONVOLUTIONS = [
    (nn.Conv2d, {"kernel_size": 3}),
    (nn.Conv2d, {"kernel_size": 3, "padding": 1, "stride": 2}),
    (nn.Conv2d, {"kernel_size": (3, 2), "padding": (2, 1), "stride": (1, 2), "dilation": (2, 1), "groups": 2}),
    (nn.Conv2d, {"kernel_size": 1, "groups": 4, "bias": False}),
    (nn.Conv2d, {"kernel_size": 3, "padding": "same", "dilation": 2}),
    (nn.Conv2d, {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"}),
    (Conv2dSame, {"kernel_size": 3, "stride": 2}),
    (Conv2dSame, {"kernel_size": 5, "stride": 2, "dilation": 2, "groups": 4}),
]


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(("kind", "options"), CONVOLUTIONS)
def test_weight_times_patches_is_the_output_of_a_convolution(kind: type[nn.Conv2d], options: dict[str, object]) -> None:
    conv = kind(4, 8, **options).double()
    x = _random(3, 4, 9, 8)
    expected = conv(x) - (0 if conv.bias is None else conv.bias.view(-1, 1, 1))
    columns = patches(conv, x)
    product = conv.weight.reshape(conv.groups, 8 // conv.groups, -1) @ columns
    images_first = product.reshape(8, 3, -1).transpose(0, 1).reshape(expected.shape)
    torch.testing.assert_close(images_first, expected, rtol=1e-12, atol=1e-12)


def test_weight_times_patches_is_the_output_of_a_linear_layer() -> None:
    layer, x = nn.Linear(5, 3).double(), _random(2, 7, 5)
    product = layer.weight.reshape(1, 3, 5) @ patches(layer, x)
    torch.testing.assert_close(product[0].T.reshape(2, 7, 3) + layer.bias, layer(x))


def test_a_layer_that_changes_its_weight_is_refused() -> None:
    with pytest.raises(NotApplicable, match="StdConv2d"):
        patches(StdConv2d(4, 8, 3), _random(1, 4, 5, 5))


@pytest.mark.parametrize("part", [1, 2**30])  # bytes: image by image, and all at once
def test_moments_are_sums_over_windows_cut_by_numpy(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "PART", part)
    net = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1, stride=2, groups=2), nn.Flatten(), nn.Linear(54, 2)).double()
    draw = Calibration(_random(7, 4, 5, 6), torch.zeros(7, dtype=torch.int64), 3)
    moments = input_moments(net, ["0", "2"], draw)

    padded = np.pad(draw.images.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
    for group in (0, 1):
        x = windows[:, 2 * group : 2 * group + 2].transpose(0, 2, 3, 1, 4, 5).reshape(-1, 18)
        np.testing.assert_allclose(moments["0"].second[group].numpy(), x.T @ x, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(moments["0"].first[group].numpy(), x.sum(axis=0), rtol=1e-12, atol=1e-12)
        assert moments["0"].count == len(x)
    x = net[:2](draw.images).detach().numpy()
    np.testing.assert_allclose(moments["2"].second[0].numpy(), x.T @ x, rtol=1e-12, atol=1e-12)
    assert moments["2"].count == 7
    assert not any(layer._forward_pre_hooks for layer in net)


def test_float32_inputs_are_summed_in_float64() -> None:
    """Many small parts: sums in float32 would lose the digits that single products do not."""
    net = nn.Sequential(nn.Linear(3, 2))
    images = 1 + _random(20_000, 3).float()
    draw = Calibration(images, torch.zeros(20_000, dtype=torch.int64), 100)
    moments = input_moments(net, ["0"], draw)["0"]
    x = images.double().numpy()
    np.testing.assert_allclose(moments.second[0].numpy(), x.T @ x, rtol=1e-7)
    np.testing.assert_allclose(moments.first[0].numpy(), x.sum(axis=0), rtol=1e-12)
    assert moments.second.dtype == moments.first.dtype == torch.float64
