"""The inputs and outputs of some layers during a forward pass, wherever the network holds their weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.core.errors import CellError
from bench.models.bias import bias_values
from bench.models.product import Product
from bench.models.products import Products, traceable
from bench.models.unit_space import PrunableLayer
from bench.models.weight_parts import WeightPart, weight_parts

#: Bytes of patches that are held at once on a CPU, where more leave its cache (one image's may be more).
PART = 2**22
#: The same on a GPU, which needs large products.
GPU_PART = 2**26


@dataclass(frozen=True)
class Call:
    """One product of a forward pass with the weight of a layer.

    Attributes
    ----------
    layer : PrunableLayer
        The layer.
    product : Product
        What is computed.
    part : WeightPart
        Which of the product's output channels are the layer's, and which of the layer's these are.
    """

    layer: PrunableLayer
    product: Product
    part: WeightPart

    @property
    def start(self) -> int:
        """The first of the layer's output channels that this call computes."""
        return int(self.part.channels.start)

    def outputs(self, model: nn.Module) -> Tensor:
        """Return the output channels of this call, bias added.

        Parameters
        ----------
        model : nn.Module
            The network, for a bias that another operation adds.

        Returns
        -------
        Tensor
            Shape ``(n, channels, ...)``; for a matrix product n counts images and tokens.
        """
        output = self.product.output
        if not self.product.is_convolution:
            if self.product.row_groups > 1:  # one matrix per group of channels
                output = output.movedim(0, -2).flatten(-2)
            output = output.reshape(-1, self.product.channels)
        output = output[:, self.part.columns]
        if self.layer.bias_apart and self.layer.bias:
            own = bias_values(model, self.layer)[self.part.channels]
            output = output + own.view(-1, *[1] * (output.dim() - 2)).to(output.dtype)
        return output

    def inputs(self) -> Tensor:
        """Return what is multiplied, the first axis counting images or rows: `patches` of its parts add up."""
        x = self.product.data.tensor
        if self.product.is_convolution:
            return x
        if self.product.row_groups > 1:
            return x.movedim(0, 1)  # (rows, groups, k)
        return x.reshape(-1, x.shape[-1])

    def patches(self, x: Tensor) -> Tensor:
        """Lay out inputs so that the layer is a matrix product.

        Parameters
        ----------
        x : Tensor
            Some of `inputs`, along the first axis.

        Returns
        -------
        Tensor
            Shape ``(groups, k, columns)``, k the weights of one output in the order of `PrunableLayer.rows`; padding
            counts as zeros. Columns run over images, then positions.
        """
        if not self.product.is_convolution:
            return x.movedim(0, -1) if x.dim() == 3 else x.mT.unsqueeze(0)
        return _patches(self.product, x)

    def parts(self) -> Iterator[Tensor]:
        """Iterate over `inputs` in parts whose patches fit in `PART` bytes."""
        x = self.inputs()
        values = self.patches(x[:1]).numel()
        yield from torch.split(x, max(1, (GPU_PART if x.is_cuda else PART) // (values * x.element_size())))


def observe(
    model: nn.Module, layers: Iterable[PrunableLayer], batches: Iterable[Tensor], see: Callable[[Call], None]
) -> None:
    """Run a network in eval mode without gradients and pass on every product with the weight of some layers.

    Parameters
    ----------
    model : nn.Module
        Left as it is.
    layers : iterable of PrunableLayer
        Which layers; each must be used on every batch.
    batches : iterable of Tensor
        Inputs of the network.
    see : callable
        Called with every `Call`, in forward order.

    Raises
    ------
    CellError
        If a layer is not used.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(2, 1, bias=False))
    >>> _ = net[0].weight.data.fill_(1.0)
    >>> layer = PrunableLayer("0", (1, 2), (1, 2))
    >>> observe(net, [layer], [torch.ones(3, 2)], lambda call: print(call.outputs(net).flatten().tolist()))
    [2.0, 2.0, 2.0]
    """
    watched = {layer.parameter: layer for layer in layers}
    seen: set[str] = set()

    def pass_on(product: Product) -> None:
        if product.weight.source == "parameter" and not product.weight.parameters.isdisjoint(watched):
            for part in weight_parts(tracer, product):
                if part.parameter in watched:
                    layer = watched[part.parameter]
                    layer.channels  # noqa: B018 - raises where its channels are not known
                    seen.add(part.parameter)
                    see(Call(layer, product, part))

    with traceable(model), Products(model, pass_on) as tracer:
        for x in batches:
            model(x)
    missing = sorted(watched.keys() - seen)
    if missing:
        raise CellError(f"the forward pass did not use {watched[missing[0]].name} as it did on two images")


def _patches(product: Product, x: Tensor) -> Tensor:
    """Unfold the input of a convolution of any dimension."""
    kernel, stride = product.weight.tensor.shape[2:], product.stride
    margins = [(padding, padding) for padding in product.padding]
    if product.kind == "transposed convolution":  # a convolution with the flipped kernel over an input with gaps
        x = _with_gaps(x, stride)
        margins = [
            (dilation * (size - 1) - padding, dilation * (size - 1) - padding + more)
            for size, dilation, padding, more in zip(
                kernel, product.dilation, product.padding, product.output_padding, strict=True
            )
        ]
        stride = (1,) * len(kernel)
    x = F.pad(x, [margin for pair in reversed(margins) for margin in pair])
    if len(kernel) == 2 and product.kind == "convolution":
        columns = F.unfold(x, tuple(kernel), product.dilation, stride=stride)
    else:
        for axis, (size, dilation, step) in enumerate(zip(kernel, product.dilation, stride, strict=True), start=2):
            x = x.unfold(axis, dilation * (size - 1) + 1, step)[..., ::dilation]
        if product.kind == "transposed convolution":
            x = x.flip([-1 - axis for axis in range(len(kernel))])
        dims = len(kernel)
        columns = x.permute(0, 1, *range(2 + dims, 2 + 2 * dims), *range(2, 2 + dims)).flatten(1, 1 + dims).flatten(2)
    n, rows, positions = columns.shape
    return columns.transpose(0, 1).reshape(product.groups, rows // product.groups, n * positions)


def _with_gaps(x: Tensor, stride: tuple[int, ...]) -> Tensor:
    """Put ``stride - 1`` zeros between neighbours along each axis of space."""
    shape = [(size - 1) * step + 1 for size, step in zip(x.shape[2:], stride, strict=True)]
    spread = x.new_zeros(*x.shape[:2], *shape)
    index: tuple[Any, ...] = (..., *(slice(None, None, step) for step in stride))
    spread[index] = x
    return spread
