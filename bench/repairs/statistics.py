"""Mean and variance of every channel that a layer puts out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from bench.models.view import Calibration

#: Values of one part on a CPU: 2 MiB in float64.
PART = 2**18


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


def channel_moments(model: nn.Module, layers: Iterable[str], calibration: Calibration) -> dict[str, Moments]:
    """Measure the output channels of some layers on a calibration draw, in one pass.

    Parameters
    ----------
    model : nn.Module
        In eval mode; left as it is.
    layers : iterable of str
        Names of `Conv2d` and `Linear` modules.
    calibration : Calibration
        The draw.

    Returns
    -------
    dict of str to Moments
        Exact over the whole draw, whatever its batches.
    """
    return pooled(batch_moments(model, layers, calibration))


def pooled(batches: Mapping[str, list[Moments]]) -> dict[str, Moments]:
    """Pool the moments that `batch_moments` returned: for each layer those of the whole draw."""
    return {name: reduce(Moments.pool, moments) for name, moments in batches.items()}


@torch.no_grad()
def batch_moments(model: nn.Module, layers: Iterable[str], calibration: Calibration) -> dict[str, list[Moments]]:
    """Measure the same batch by batch: for each layer the moments of every batch, in order.

    Examples
    --------
    >>> draw = Calibration(torch.tensor([[1.0], [3.0], [5.0]]), torch.zeros(3), batch=2)
    >>> first, second = batch_moments(nn.Sequential(nn.Linear(1, 1)), ["0"], draw)["0"]
    >>> first.count, second.count
    (2, 1)
    """
    found: dict[str, list[Moments]] = {}
    batch: dict[str, Moments] = {}

    def measure(name: str) -> Callable[[nn.Module, tuple[Any, ...], Tensor], None]:
        def hook(layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            moments = Moments.in_parts(output if isinstance(layer, nn.Conv2d) else output.movedim(-1, 1))
            batch[name] = batch[name].pool(moments) if name in batch else moments

        return hook

    handles = [model.get_submodule(name).register_forward_hook(measure(name)) for name in layers]
    try:
        for images in calibration.each_batch():
            batch.clear()
            for x, _ in images.parts():
                model(x)
            for name, moments in batch.items():
                found.setdefault(name, []).append(moments)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _images_per_part(values: Tensor) -> int:
    """Images whose moments are taken at once: all on a GPU, what stays in the cache on a CPU."""
    return len(values) if values.is_cuda else max(1, PART // values[0].numel())
