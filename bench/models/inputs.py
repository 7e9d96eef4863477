"""What the weights of a layer read: its input patches, and their second moments over a calibration draw."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.linear import Linear as TimmLinear
from timm.layers.padding import pad_same
from torch import Tensor, nn

from bench.errors import NotApplicable
from bench.models.view import Calibration

#: Bytes of patches that are held at once on a CPU, where more leave its cache (one image's may be more).
PART = 2**22
#: The same on a GPU, which wants large products.
GPU_PART = 2**28
#: What computes weight times input plus bias; a subclass may do something else (standardise its weight).
PLAIN = (nn.Conv2d.forward, Conv2dSame.forward, nn.Linear.forward, TimmLinear.forward)


@dataclass(frozen=True)
class InputMoments:
    """Second moments of what a layer's weights read, x the column of `patches` for one output position.

    Attributes
    ----------
    second : Tensor
        Sum of x x^T over images and positions, float64, shape ``(groups, k, k)`` with k the weights of one
        output.
    first : Tensor
        Sum of x, float64, shape ``(groups, k)``.
    count : int
        Number of columns summed.
    """

    second: Tensor
    first: Tensor
    count: int


@torch.no_grad()
def input_moments(model: nn.Module, names: Iterable[str], calibration: Calibration) -> dict[str, InputMoments]:
    """Measure the inputs of some layers on a calibration draw, in one pass.

    Products are taken in the precision of the input and summed in float64, part by part.

    Parameters
    ----------
    model : nn.Module
        In eval mode; left as it is.
    names : iterable of str
        Names of `Conv2d` and `Linear` modules. All their sums are held at once, 8 k^2 bytes per group: give
        few names at a time where k is large.
    calibration : Calibration
        The draw.

    Raises
    ------
    NotApplicable
        If a layer is not linear in its weight and input (see `patches`).

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(2, 1))
    >>> draw = Calibration(torch.tensor([[1.0, 0.0], [3.0, 2.0]]), torch.zeros(2), batch=1)
    >>> moments = input_moments(net, ["0"], draw)["0"]
    >>> moments.second.tolist(), moments.first.tolist(), moments.count
    ([[[10.0, 6.0], [6.0, 4.0]]], [[4.0, 2.0]], 2)
    """
    found: dict[str, InputMoments] = {}

    def measure(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(layer: nn.Module, args: tuple[Any, ...]) -> None:
            for part in torch.split(args[0], _images_per_part(layer, args[0])):
                x = patches(layer, part)
                second, first = (x @ x.mT).double(), x.sum(dim=2, dtype=torch.float64)
                if name in found:
                    second, first = found[name].second.add_(second), found[name].first.add_(first)
                    found[name] = InputMoments(second, first, found[name].count + x.shape[2])
                else:
                    found[name] = InputMoments(second, first, x.shape[2])

        return hook

    handles = [model.get_submodule(name).register_forward_pre_hook(measure(name)) for name in names]
    try:
        for x, _ in calibration.parts():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found


def patches(layer: nn.Module, x: Tensor) -> Tensor:
    """Lay out a layer's input so that the layer is a matrix product.

    ``layer.weight.reshape(groups, out // groups, k) @ patches(layer, x)`` is the layer's output less its
    bias, group after group, for each image and position.

    Parameters
    ----------
    layer : nn.Module
        `Conv2d` of any stride, padding (also `Conv2dSame`'s), dilation and groups, or `Linear`.
    x : Tensor
        Its input, shape ``(n, in, h, w)`` or ``(..., in)``.

    Returns
    -------
    Tensor
        Shape ``(groups, k, columns)``, k = in / groups * kh * kw; padding counts as zeros. Columns run over
        images, then positions.

    Raises
    ------
    NotApplicable
        If the layer's class computes something else, such as a convolution with standardised weights.

    Examples
    --------
    >>> conv = nn.Conv2d(1, 1, 2, bias=False)
    >>> patches(conv, torch.arange(6.0).view(1, 1, 2, 3))
    tensor([[[0., 1.],
             [1., 2.],
             [3., 4.],
             [4., 5.]]])
    """
    if type(layer).forward not in PLAIN:
        raise NotApplicable(f"{type(layer).__name__} is not its weight times its input")
    if not isinstance(layer, nn.Conv2d):
        return x.reshape(-1, x.shape[-1]).mT.unsqueeze(0)
    columns = F.unfold(_pad(layer, x), layer.kernel_size, layer.dilation, stride=layer.stride)
    n, rows, positions = columns.shape
    return columns.transpose(0, 1).reshape(layer.groups, rows // layer.groups, n * positions)


def _pad(layer: nn.Conv2d, x: Tensor) -> Tensor:
    if isinstance(layer, Conv2dSame):
        same: Tensor = pad_same(x, list(layer.kernel_size), list(layer.stride), list(layer.dilation))
        return same
    # torch's own list serves padding in numbers, "same" and "valid", and the other padding modes
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return F.pad(x, layer._reversed_padding_repeated_twice, mode=mode)


def _images_per_part(layer: nn.Module, x: Tensor) -> int:
    values = x[0].numel()
    if isinstance(layer, nn.Conv2d):
        (kh, kw), (sh, sw) = layer.kernel_size, layer.stride
        values = -(-values * kh * kw // (sh * sw))
    return max(1, (GPU_PART if x.is_cuda else PART) // (values * x.element_size()))
