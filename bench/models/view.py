"""What a scorer sees: the weights in float64, and calibration batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from bench.core.types import Granularity
from bench.models.unit_space import PrunableLayer, UnitSpace
from bench.study.spec import Normalisation

MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@dataclass(frozen=True)
class ModelView:
    """A dense model and its prunable units; a scorer reads it and changes nothing.

    Attributes
    ----------
    model : nn.Module
        Float32, eval mode.
    units : UnitSpace
        Its prunable units.

    Examples
    --------
    >>> from bench.models.units import find_units
    >>> net = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False))
    >>> _ = net[0].weight.data.copy_(torch.tensor([-3.0, 1.0]).reshape(2, 1, 1, 1))
    >>> view = ModelView(net, find_units(net, "channel", (), torch.zeros(1, 1, 1, 1)))
    >>> view.magnitudes()["0"].tolist()
    [3.0, 1.0]
    """

    model: nn.Module
    units: UnitSpace

    @property
    def granularity(self) -> Granularity:
        """Granularity of the units."""
        return self.units.granularity

    def module(self, name: str) -> nn.Module:
        """Return the module of that name; a layer whose name is a parameter's path is none."""
        return self.model.get_submodule(name)

    def layer(self, name: str) -> PrunableLayer:
        """Return the prunable layer of that name."""
        return self._layers[name]

    @cached_property
    def _layers(self) -> Mapping[str, PrunableLayer]:
        return {layer.name: layer for layer in self.units.layers}

    def parameter(self, name: str) -> nn.Parameter:
        """Return the weight of a layer, wherever the network holds it."""
        return self.model.get_parameter(self.layer(name).parameter)

    def weight(self, name: str) -> Tensor:
        """Return a detached float64 copy of a layer's weight, in the weight's shape."""
        return self.parameter(name).detach().to(torch.float64, copy=True)

    def rows(self, name: str) -> Tensor:
        """Return a detached float64 copy of a layer's weight, shape ``(output channels, weights of one output)``."""
        return self.layer(name).rows(self.weight(name))

    def magnitudes(self) -> dict[str, Tensor]:
        """Return the magnitude of every unit, float64, one tensor of `unit_shape` per layer.

        The absolute weight; for a channel its mean over the filter (or the row of ``fc1``).
        """
        return {name: self.reduce(name, self.weight(name).abs()) for name in self.units.names}

    def reduce(self, name: str, weight_scores: Tensor) -> Tensor:
        """Turn scores of a layer's weights into scores of its units.

        Parameters
        ----------
        name : str
            Layer.
        weight_scores : Tensor
            In the shape of the layer's weight.

        Returns
        -------
        Tensor
            `weight_scores` itself for granularity ``weight``; its mean over each filter, shape
            ``(out,)``, for ``channel``.
        """
        if weight_scores.shape != self.parameter(name).shape:
            raise ValueError(f"{name}: {tuple(weight_scores.shape)} is not the shape of the weight")
        return weight_scores if self.granularity == "weight" else self.layer(name).rows(weight_scores).mean(dim=1)


@dataclass(frozen=True)
class Calibration:
    """A calibration draw on the device, read in batches of a fixed order.

    Attributes
    ----------
    images : Tensor
        Normalised, float32, shape ``(n, channels, height, width)``.
    labels : Tensor
        Classes, int64, shape ``(n,)``.
    batch : int
        Images in a batch; the last one may be smaller.
    part : int or None
        Images of a batch that memory takes at once; all of them where None.

    Examples
    --------
    >>> draw = Calibration(torch.zeros(5, 1, 2, 2), torch.arange(5), batch=2)
    >>> [y.tolist() for x, y in draw.batches()]
    [[0, 1], [2, 3], [4]]
    >>> [y.tolist() for x, y in replace(draw, part=1).parts()]
    [[0], [1], [2], [3], [4]]
    """

    images: Tensor
    labels: Tensor
    batch: int
    part: int | None = None

    def __len__(self) -> int:
        return len(self.images)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over ``(images, labels)``, the last partial batch included."""
        images, labels = torch.split(self.images, self.batch), torch.split(self.labels, self.batch)
        yield from zip(images, labels, strict=True)

    def parts(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over ``(images, labels)`` in batches, smaller ones where memory does not take `batch` images at once.

        For sums over images, which depend on the cut by rounding alone; not for what is defined on a batch.
        """
        return replace(self, batch=min(self.part or self.batch, self.batch)).batches()

    def each_batch(self) -> Iterator[Calibration]:
        """Iterate over the batches as draws of their own, for sums over the parts of each."""
        for x, y in self.batches():
            yield replace(self, images=x, labels=y, batch=len(x))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error reports that the device or this machine ran out of memory.

    Examples
    --------
    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("shapes differ"))
    (True, False)
    """
    # torch's allocator for the CPU raises a plain RuntimeError
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def normalise(images: Tensor, normalisation: Normalisation, device: torch.device) -> Tensor:
    """Move uint8 images to `device` and there map them to ``(x / 255 - mean) / std`` in float32.

    Parameters
    ----------
    images : Tensor
        uint8, shape ``(n, channels, height, width)``.
    normalisation : Normalisation
        Mean and standard deviation per channel.
    device : torch.device
        Where the result lies.

    Examples
    --------
    >>> half = Normalisation(mean=(0.5,), std=(0.5,))
    >>> normalise(torch.tensor([[[[0, 255]]]], dtype=torch.uint8), half, torch.device("cpu"))
    tensor([[[[-1.,  1.]]]])
    """
    return standardise(images.to(device), *channel_moments(normalisation, device))


def channel_moments(normalisation: Normalisation, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation as float32 tensors of shape ``(1, channels, 1, 1)`` on `device`."""
    mean = torch.tensor(normalisation.mean, device=device).view(1, -1, 1, 1)
    std = torch.tensor(normalisation.std, device=device).view(1, -1, 1, 1)
    return mean, std


def standardise(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return ``(pixels / 255 - mean) / std`` in float32, with the moments of `channel_moments`."""
    return (pixels.float() / 255 - mean) / std


def set_memory_format(model: nn.Module, name: str) -> None:
    """Store the four-dimensional parameters and buffers of a model in a memory format; no value changes.

    ``nn.Module.to(memory_format=...)`` refuses the five-dimensional weights of 3-D convolutions.

    Parameters
    ----------
    model : nn.Module
        Changed in place.
    name : str
        ``contiguous`` or ``channels_last``.

    Examples
    --------
    >>> net = nn.Conv2d(3, 4, 2)
    >>> set_memory_format(net, "channels_last")
    >>> net.weight.stride()
    (12, 1, 6, 3)
    """
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.contiguous(memory_format=MEMORY_FORMATS[name])
