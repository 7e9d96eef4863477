"""What is added to the output channels of a layer, wherever the network holds it."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from bench.models.unit_space import PrunableLayer


def bias_parts(model: nn.Module, layer: PrunableLayer) -> Iterator[tuple[Tensor, slice]]:
    """Iterate over the parameters that make up a layer's bias: a flat view of the part, and its output channels.

    Examples
    --------
    >>> from bench.models.unit_space import BiasPart
    >>> layer = PrunableLayer("0", (2, 1), (2, 1), bias=(BiasPart("0.bias", 0, 2),))
    >>> for part, channels in bias_parts(nn.Sequential(nn.Linear(1, 2)), layer):
    ...     print(tuple(part.shape), channels)
    (2,) slice(0, 2, None)
    """
    for part in layer.bias or ():
        own = model.get_parameter(part.parameter).view(-1)
        yield own[part.first : part.first + part.stop - part.start], slice(part.start, part.stop)


def bias_values(model: nn.Module, layer: PrunableLayer) -> Tensor:
    """Return what is added to each output channel of a layer, zero where nothing is: shape ``(channels,)``."""
    values = model.get_parameter(layer.parameter).detach().new_zeros(layer.channels.channels)
    for part, channels in bias_parts(model, layer):
        values[channels] = part.detach()
    return values
