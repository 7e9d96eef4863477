"""One product of a forward pass, and its two operands."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

Source = Literal["input", "constant", "computed", "parameter"]


@dataclass(frozen=True)
class Operand:
    """One factor of a product.

    Attributes
    ----------
    tensor : Tensor
        As it is multiplied.
    source : str
        ``input``: depends on the images; ``parameter``: values of one or several parameters, each at a known place;
        ``computed`` from parameters; ``constant``: anything else, as buffers.
    parameters : frozenset of str
        Parameters that it comes from.
    moved : Tensor or None
        For a moved copy of parameters, where each value comes from (`Products.places`).
    """

    tensor: Tensor
    source: Source
    parameters: frozenset[str] = frozenset()
    moved: Tensor | None = None

    def transposed(self) -> Operand:
        """Return the operand with its last two axes exchanged."""
        return replace(self, tensor=self.tensor.mT, moved=None if self.moved is None else self.moved.mT)


@dataclass(frozen=True)
class Product:
    """One convolution or matrix product of a forward pass.

    Attributes
    ----------
    kind : {"convolution", "transposed convolution", "matrix product", "attention"}
        ``attention`` stands for the fused kernels, which multiply activations alone.
    macs : int
        Multiply-accumulate operations; padding counts, as is usual.
    output : Tensor
        Convolutions: ``(n, channels, ...)``. Matrix products: ``(..., rows, channels)``.
    data, weight : Operand
        Convolutions: the input ``(n, channels, ...)`` and the filters. Matrix products: oriented so that
        ``output = data @ weight``, shapes ``(..., rows, k)`` and ``(..., k, channels)``; the weight is the second where
        both are alike.
    bias : Tensor or None
        What the operation itself adds to every channel.
    groups, stride, padding, dilation, output_padding
        Of a convolution.
    """

    kind: str
    macs: int
    output: Tensor
    data: Operand
    weight: Operand
    bias: Tensor | None = None
    groups: int = 1
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    output_padding: tuple[int, ...] = ()

    @property
    def is_convolution(self) -> bool:
        """Whether it is a convolution, transposed or not."""
        return "convolution" in self.kind

    @property
    def is_fixed(self) -> bool:
        """Whether it does not depend on the images."""
        return "input" not in (self.data.source, self.weight.source)

    @property
    def is_attention(self) -> bool:
        """Whether it multiplies activations with activations."""
        return not self.is_convolution and self.data.source == self.weight.source == "input"

    def weights_per_input(self, nonzero: Tensor) -> Tensor:
        """Count the non-zero weights that each input channel is multiplied with.

        A matrix that is multiplied with every matrix of a batch counts once for each of them.

        Parameters
        ----------
        nonzero : Tensor
            Boolean, in the shape of the weight operand.

        Returns
        -------
        Tensor
            int64, of the shape of `dead_inputs`.
        """
        if not self.is_convolution:
            return nonzero.sum(dim=(0, -1) if self.is_expanded else -1)
        if self.kind == "transposed convolution":  # (in, out / groups, ...)
            return nonzero.flatten(1).sum(dim=1)
        return nonzero.reshape(self.groups, -1, *nonzero.shape[1:]).flatten(3).sum(dim=(1, 3)).flatten()

    def dead_inputs(self) -> Tensor:
        """Return which input channels are exactly zero, for all images and positions.

        Returns
        -------
        Tensor
            Boolean, shape ``(channels,)`` for a convolution, ``(k,)`` for a matrix product with one weight matrix,
            ``(n, k)`` where each matrix of a batch has its own.
        """
        x = self.data.tensor
        if self.is_convolution:
            return ~(x.transpose(0, 1).flatten(1) != 0).any(dim=1)
        return ~(x != 0).any(dim=(0, -2) if self.is_expanded else -2)

    def rows(self, operand: Tensor) -> Tensor:
        """Lay out a tensor of the weight operand's shape with one row per output channel.

        Returns
        -------
        Tensor
            Shape ``(channels, weights of one output)``; a matrix that is multiplied with every image is taken once.
        """
        if self.kind == "transposed convolution":
            operand = operand.reshape(self.groups, -1, *operand.shape[1:]).transpose(1, 2).flatten(0, 1)
        elif not self.is_convolution:
            operand = (operand[0] if self.is_expanded else operand).mT.flatten(0, -2)
        return operand.flatten(1)

    @property
    def channels(self) -> int:
        """Number of output channels."""
        if self.is_convolution:
            return int(self.output.shape[1])
        weight = self.weight.tensor
        return int(weight.shape[-1]) * (weight.shape[0] if weight.dim() == 3 and not self.is_expanded else 1)

    @property
    def inputs(self) -> int:
        """Input channels of a group."""
        if not self.is_convolution:
            return int(self.weight.tensor.shape[-2])
        return int(self.data.tensor.shape[1]) // self.groups

    @property
    def row_groups(self) -> int:
        """Groups of output channels that read different input channels."""
        if self.is_convolution:
            return self.groups
        return self.weight.tensor.shape[0] if self.weight.tensor.dim() == 3 and not self.is_expanded else 1

    @property
    def is_expanded(self) -> bool:
        """Whether one matrix is multiplied with every matrix of a batch."""
        return self.weight.tensor.dim() == 3 and self.weight.tensor.stride(0) == 0

    @property
    def positions(self) -> int:
        """How often each weight of the operand is multiplied."""
        return self.macs // max(1, self.weight.tensor.numel())
