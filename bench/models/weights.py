"""The weights of a network and what is known of each: the result of `bench.models.inventory`."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from bench.models.unit_space import BiasPart, Layout, PrunableLayer


@dataclass(frozen=True)
class Weight:
    """A parameter that is more than a vector, or that a product multiplies.

    Attributes
    ----------
    name : str
        Of the layer: the module's path where the parameter is its ``weight``, else the parameter's own path.
    parameter : str
        Path of the parameter; of tied ones the first.
    aliases : tuple of str
        Paths of the same parameter elsewhere.
    kind : str
        ``convolution``, ``transposed convolution``, ``matrix product``, or what it is used for.
    shape : tuple of int
        Of the parameter.
    calls : int
        Products of one forward pass that it is the weight of.
    sizes : tuple of tuple of int
        Shapes of the data that it multiplies, without the images.
    macs : int
        Multiply-accumulate operations of these products for one image, or of those with a weight computed from it.
    reason : str or None
        Why it is not prunable; None if it is.
    evenly : bool
        Whether every product multiplies all of its values equally often.
    layout : Layout or None
        Where output and input channels stand in it; None if the uses do not agree or it is not prunable.
    bias : tuple of BiasPart or None
        What is added to the outputs; None if it is not a parameter whose places are known.
    bias_apart : bool
        Whether the bias is added by an operation of its own.
    batchnorm : str or None
        The directly following BatchNorm.
    on_attention_stream : bool
        Whether its output is part of a residual stream to which attention is added.
    pointwise_reader : str or None
        Of a layer whose outputs reach one other layer alone, channel by channel: that layer.
    """

    name: str
    parameter: str
    aliases: tuple[str, ...]
    kind: str
    shape: tuple[int, ...]
    calls: int = 0
    sizes: tuple[tuple[int, ...], ...] = ()
    macs: int = 0
    reason: str | None = None
    evenly: bool = True
    layout: Layout | None = None
    bias: tuple[BiasPart, ...] | None = ()
    bias_apart: bool = False
    batchnorm: str | None = None
    on_attention_stream: bool = False
    pointwise_reader: str | None = None

    @property
    def is_convolution(self) -> bool:
        """Whether it holds filters."""
        return "convolution" in self.kind

    def by_weights(self) -> PrunableLayer:
        """Return the layer with its weights as units."""
        return self._layer(self.shape, exact_removal=True)

    def by_channels(
        self, reader: PrunableLayer | None = None, read: tuple[int, ...] | None = None, *, exact_removal: bool = False
    ) -> PrunableLayer:
        """Return the layer, whose `layout` is known, with its output channels as units.

        Parameters
        ----------
        reader : PrunableLayer, optional
            The one layer that reads its channels, whose weights are removed with them.
        read : tuple of int, optional
            The channels that `reader` reads; all by default.
        exact_removal : bool
            Whether nothing remains of a removed channel even without a BatchNorm that directly follows or a `reader`.
        """
        assert self.layout is not None
        # with neither, a later layer may still add a constant to the channel's zeroed output
        exact = exact_removal or self.batchnorm is not None or reader is not None
        return self._layer((self.layout.channels,), reader, read, exact_removal=exact)

    def _layer(
        self, units: tuple[int, ...], reader: PrunableLayer | None = None, read: tuple[int, ...] | None = None, *,
        exact_removal: bool,
    ) -> PrunableLayer:  # fmt: skip
        return PrunableLayer(
            self.name, self.shape, units, self.batchnorm, reader, exact_removal, self.parameter, self.layout, self.bias,
            self.bias_apart, self.layout is not None, read,
        )  # fmt: skip


@dataclass(frozen=True)
class Inventory:
    """The parameters of a network and the products of its forward pass.

    Attributes
    ----------
    weights : tuple of Weight
        In the order of their first product, then those that no product uses.
    parameters : int
        Size of the network; tied parameters count once.
    macs : int
        Multiply-accumulate operations of all products for one image.
    without_weight : int
        Those of products whose weight is neither a parameter nor computed from some: of activations alone, as attention
        scores, or with filters that depend on the image.
    unregistered : int
        Of these, products of what depends on the image with a fixed tensor that is no parameter, as a blur filter.
    example : Tensor or None
        The images of the pass that was traced.
    """

    weights: tuple[Weight, ...]
    parameters: int
    macs: int
    without_weight: int
    unregistered: int = 0
    example: Tensor | None = field(default=None, compare=False, repr=False)

    @property
    def prunable(self) -> tuple[Weight, ...]:
        """The prunable weights in forward order."""
        return tuple(weight for weight in self.weights if weight.reason is None)


def layer_name(parameter: str) -> str:
    """Return the name of the layer that a parameter is the weight of.

    Examples
    --------
    >>> layer_name("blocks.0.attn.qkv.weight"), layer_name("blocks.0.attn.in_proj_weight"), layer_name("weight")
    ('blocks.0.attn.qkv', 'blocks.0.attn.in_proj_weight', 'weight')
    """
    return parameter.removesuffix(".weight")
