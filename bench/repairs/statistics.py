"""Mean and variance of every channel that a layer puts out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn

from bench.models.observe import Call, observe
from bench.models.unit_space import PrunableLayer
from bench.models.view import Calibration

#: Values of one part on a CPU: 2 MiB in float64, which stay in the cache.
PART = 2**18
#: The same on a GPU: 16 MiB in float64, of which three copies are held.
GPU_PART = 2**21


@dataclass(frozen=True)
class Moments:
    """Mean and population variance of a layer's output channels.

    Attributes
    ----------
    mean, variance : Tensor
        Over images and space, or images and tokens; float64, shape ``(channels,)``.
    count : int
        Values per channel.

    Examples
    --------
    >>> Moments.of(torch.tensor([[1.0], [3.0]])).pool(Moments.of(torch.tensor([[5.0]])))
    Moments(mean=tensor([3.], dtype=torch.float64), variance=tensor([2.6667], dtype=torch.float64), count=3)
    """

    mean: Tensor
    variance: Tensor
    count: int

    @classmethod
    def of(cls, values: Tensor) -> Moments:
        """Moments of values of shape ``(n, channels, ...)``, all axes but the second pooled."""
        axes = (0, *range(2, values.dim()))
        values = values.double()
        # torch.var_mean gives the same, several times slower on the CPU over more than one axis
        mean = values.mean(axes, keepdim=True)
        variance = (values - mean).square().mean(axes)
        return cls(mean.flatten(), variance, values.numel() // values.shape[1])

    @classmethod
    def in_parts(cls, values: Tensor) -> Moments:
        """Moments of the same values, taken part by part where that is faster."""
        return reduce(cls.pool, map(cls.of, torch.split(values, _images_per_part(values))))

    def pool(self, other: Moments) -> Moments:
        """Moments of both samples together, without sums of squares (Chan, Golub and LeVeque 1983)."""
        count = self.count + other.count
        share = other.count / count
        shift = other.mean - self.mean
        variance = (1 - share) * self.variance + share * other.variance + share * (1 - share) * shift.square()
        return Moments(self.mean + share * shift, variance, count)


def channel_moments(model: nn.Module, layers: Iterable[PrunableLayer], calibration: Calibration) -> dict[str, Moments]:
    """Measure the output channels of some layers on a calibration draw, in one pass.

    Parameters
    ----------
    model : nn.Module
        In eval mode; left as it is.
    layers : iterable of PrunableLayer
        Which layers; one that is called several times has the moments over all its calls.
    calibration : Calibration
        The draw.

    Returns
    -------
    dict of str to Moments
        Layer name -> moments, exact over the whole draw, whatever its batches.
    """
    return pooled(batch_moments(model, layers, calibration))


def pooled(batches: Mapping[str, list[Moments]]) -> dict[str, Moments]:
    """Pool the moments that `batch_moments` returned: for each layer those of the whole draw."""
    return {name: reduce(Moments.pool, moments) for name, moments in batches.items()}


def batch_moments(
    model: nn.Module, layers: Iterable[PrunableLayer], calibration: Calibration
) -> dict[str, list[Moments]]:
    """Measure the same batch by batch: for each layer the moments of every batch, in order.

    Raises
    ------
    NotApplicable
        If a layer's uses do not agree on its output channels.

    Examples
    --------
    >>> draw = Calibration(torch.tensor([[1.0], [3.0], [5.0]]), torch.zeros(3), batch=2)
    >>> layer = PrunableLayer("0", (1, 1), (1, 1))
    >>> first, second = batch_moments(nn.Sequential(nn.Linear(1, 1)), [layer], draw)["0"]
    >>> first.count, second.count
    (2, 1)
    """
    layers = list(layers)
    found: dict[str, list[Moments]] = {layer.name: [] for layer in layers}
    batch: dict[tuple[str, int], Moments] = {}

    def measure(call: Call) -> None:
        moments, key = Moments.in_parts(call.outputs(model)), (call.layer.name, call.start)
        batch[key] = batch[key].pool(moments) if key in batch else moments

    def parts() -> Iterator[Tensor]:
        for images in calibration.each_batch():
            yield from (x for x, _ in images.parts())
            for layer in layers:
                found[layer.name].append(_side_by_side([batch[key] for key in sorted(batch) if key[0] == layer.name]))
            batch.clear()

    observe(model, layers, parts(), measure)
    return found


def _side_by_side(parts: list[Moments]) -> Moments:
    """Join the moments of a layer's channels, which different products compute."""
    if len(parts) == 1:
        return parts[0]
    return Moments(torch.cat([p.mean for p in parts]), torch.cat([p.variance for p in parts]), parts[0].count)


def _images_per_part(values: Tensor) -> int:
    """Return the number of images whose moments are computed at once."""
    return max(1, (GPU_PART if values.is_cuda else PART) // values[0].numel())
