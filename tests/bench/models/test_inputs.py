"""Input patches against the layer's own output, their moments against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from timm.layers import Conv2dSame
from torch import Tensor, nn

from bench.models.inputs import input_moments, runs_of_layers, squared_inputs
from bench.models.observe import Call, observe
from bench.models.unit_space import PrunableLayer
from bench.models.units import find_units
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
    (nn.ConvTranspose2d, {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1}),
    (nn.ConvTranspose2d, {"kernel_size": (2, 3), "dilation": (1, 2), "groups": 2, "stride": (1, 3)}),
]


def _layers(model: nn.Module, x: Tensor) -> tuple[PrunableLayer, ...]:
    return find_units(model, "weight", (), x).layers


def _calls(model: nn.Module, x: Tensor) -> list[Call]:
    calls: list[Call] = []
    observe(model, _layers(model, x), [x], calls.append)
    return calls


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(("kind", "options"), CONVOLUTIONS)
def test_weight_times_patches_is_the_output_of_a_convolution(kind: type[nn.Conv2d], options: dict[str, object]) -> None:
    conv = kind(4, 8, **options).double()
    x = _random(3, 4, 9, 8)
    expected = conv(x) - (0 if conv.bias is None else conv.bias.view(-1, 1, 1))
    (call,) = _calls(nn.Sequential(conv), x)
    rows = call.layer.rows(conv.weight.detach())
    columns = call.patches(call.inputs())
    product = rows.reshape(conv.groups, 8 // conv.groups, -1) @ columns
    images_first = product.reshape(8, 3, -1).transpose(0, 1).reshape(expected.shape)
    torch.testing.assert_close(images_first, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(call.outputs(conv), conv(x))


@pytest.mark.parametrize("dims", [1, 3])
def test_convolutions_over_one_and_three_dimensions(dims: int) -> None:
    kind = {1: nn.Conv1d, 3: nn.Conv3d}[dims]
    conv = kind(4, 6, 3, stride=2, padding=1, dilation=2, groups=2, bias=False).double()
    x = _random(2, 4, *[9, 8, 7][:dims])
    (call,) = _calls(nn.Sequential(conv), x)
    product = call.layer.rows(conv.weight.detach()).reshape(2, 3, -1) @ call.patches(call.inputs())
    expected = conv(x)
    torch.testing.assert_close(product.reshape(6, 2, -1).transpose(0, 1).reshape(expected.shape), expected)


def test_weight_times_patches_is_the_output_of_a_linear_layer() -> None:
    layer, x = nn.Linear(5, 3).double(), _random(2, 7, 5)
    (call,) = _calls(nn.Sequential(layer), x)
    product = layer.weight.reshape(1, 3, 5) @ call.patches(call.inputs())
    torch.testing.assert_close(product[0].T.reshape(2, 7, 3) + layer.bias, layer(x))
    torch.testing.assert_close(call.outputs(layer).reshape(2, 7, 3), layer(x))


class TwoSizes(nn.Module):
    """One convolution and one linear layer, each called at two sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(1, 2, 3, bias=False), nn.Linear(2, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.conv(x), self.conv(x[..., ::2, ::2])]
        return sum(self.linear(part.mean(dim=(2, 3))) for part in parts)


def test_a_layer_called_at_two_sizes_sums_over_its_calls() -> None:
    net, images = TwoSizes().double(), _random(4, 1, 9, 9)
    draw = Calibration(images, torch.zeros(4, dtype=torch.int64), 2)
    layers = _layers(net, images[:1])
    moments, squares = input_moments(net, layers, draw), squared_inputs(net, layers, draw)
    expected = np.zeros((9, 9))
    for part in (images.numpy(), images.numpy()[..., ::2, ::2]):
        x = sliding_window_view(part[:, 0], (3, 3), axis=(1, 2)).reshape(-1, 9)
        expected += x.T @ x
    np.testing.assert_allclose(moments["conv"].second[0].numpy(), expected, rtol=1e-12)
    assert moments["conv"].count == 4 * (49 + 9)
    np.testing.assert_allclose(squares["conv"].numpy(), np.tile(np.diag(expected), (2, 1)), rtol=1e-12)


class CrossAttention(nn.Module):
    """Queries from one part of the image, keys and values from the other: one matrix, two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1).reshape(len(x), 8, 4)
        return self.attention(x[:, :3], x[:, 3:], x[:, 3:], need_weights=False)[0].mean(dim=1)


def test_rows_of_one_matrix_that_read_different_inputs() -> None:
    net, images = CrossAttention().double(), _random(5, 1, 4, 8)
    layers = [layer for layer in _layers(net, images[:1]) if layer.name == "attention.in_proj_weight"]
    squares = squared_inputs(net, layers, Calibration(images, torch.zeros(5, dtype=torch.int64), 5))
    tokens = images.numpy().reshape(5, 8, 4)
    queries, keys = (np.square(part).sum(axis=(0, 1)) for part in (tokens[:, :3], tokens[:, 3:]))
    found = squares["attention.in_proj_weight"].numpy()
    np.testing.assert_allclose(found, np.repeat([queries, keys, keys], 4, axis=0), rtol=1e-12)


@pytest.mark.parametrize(("images", "height", "parts"), [(7, 5, 1), (3000, 5, 2), (3, 5001, 3)])
def test_moments_are_sums_over_windows_cut_by_numpy(images: int, height: int, parts: int) -> None:
    """Patches that are held at once: all, those of several images, and those of each image."""
    net = nn.Sequential(
        nn.Conv2d(4, 6, 3, padding=1, stride=2, groups=2), nn.AdaptiveAvgPool2d((3, 3)), nn.Flatten(), nn.Linear(54, 2)
    ).double()
    draw = Calibration(_random(images, 4, height, 6), torch.zeros(images, dtype=torch.int64), images)
    moments = input_moments(net, _layers(net, draw.images[:1]), draw)
    assert len(list(_calls(net, draw.images)[0].parts())) == parts

    padded = np.pad(draw.images.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
    for group in (0, 1):
        x = windows[:, 2 * group : 2 * group + 2].transpose(0, 2, 3, 1, 4, 5).reshape(-1, 18)
        np.testing.assert_allclose(moments["0"].second[group].numpy(), x.T @ x, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(moments["0"].first[group].numpy(), x.sum(axis=0), rtol=1e-12, atol=1e-12)
        assert moments["0"].count == len(x)
    x = net[:3](draw.images).detach().numpy()
    np.testing.assert_allclose(moments["3"].second[0].numpy(), x.T @ x, rtol=1e-12, atol=1e-12)
    assert moments["3"].count == images


def test_layers_are_divided_by_the_bytes_of_their_moments() -> None:
    layers = [PrunableLayer(name, (2, k), (2, k)) for name, k in zip("abcd", (4, 4, 8, 2), strict=True)]
    for limit, runs in ((1, ["a", "b", "c", "d"]), (256, ["ab", "c", "d"]), (10_000, ["abcd"])):
        assert ["".join(layer.name for layer in run) for run in runs_of_layers(layers, limit)] == runs
    assert list(runs_of_layers([], 256)) == []


def test_float32_inputs_are_summed_in_float64() -> None:
    """Many small parts: sums in float32 would lose the digits that single products do not."""
    net = nn.Sequential(nn.Linear(3, 2))
    images = 1 + _random(20_000, 3).float()
    draw = Calibration(images, torch.zeros(20_000, dtype=torch.int64), 100)
    moments = input_moments(net, _layers(net, images[:1]), draw)["0"]
    x = images.double().numpy()
    np.testing.assert_allclose(moments.second[0].numpy(), x.T @ x, rtol=1e-7)
    np.testing.assert_allclose(moments.first[0].numpy(), x.sum(axis=0), rtol=1e-12)
    assert moments.second.dtype == moments.first.dtype == torch.float64
