"""What masks leave of a network: units, non-zero parameters and multiply-accumulate operations (MACs)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bench.models.bias import bias_parts
from bench.models.macs import Macs, count_macs, count_products, keeps_inputs
from bench.models.masking import apply_masks
from bench.models.product import Product
from bench.models.reach import Reach, Traced, find_reach
from bench.models.tensors import MaskSet
from bench.models.unit_space import PrunableLayer, UnitSpace
from bench.models.weights import Inventory


@dataclass(frozen=True)
class MaskCount:
    """What one mask set leaves.

    Attributes
    ----------
    kept : tuple of int
        Units kept in each layer.
    nonzero : int
        Parameters of the network that are not zero.
    macs : Macs
        Of the masked network.
    """

    kept: tuple[int, ...]
    nonzero: int
    macs: Macs


class MaskCounts:
    """Counts what is left of one network under many mask sets.

    Where the network allows it, the counts are sums over the masks, read from the device at once. Elsewhere the masked
    network is counted.

    Parameters
    ----------
    model : nn.Module
        The dense network, in eval mode; left as it is.
    inventory : Inventory
        What it computes with which parameter.
    units : UnitSpace
        Its units, of one granularity.
    example : Tensor
        One or a few images, shape ``(n, channels, height, width)``, on the model's device.
    dense : Macs
        The count of `count_macs` for the dense network.
    """

    def __init__(
        self, model: nn.Module, inventory: Inventory, units: UnitSpace, example: Tensor, dense: Macs
    ) -> None:
        self._example, self._dense, self._units = example, dense, units
        find = _WeightSums.find if units.granularity == "weight" else _ChannelSums.find
        self._sums: _Sums | None = find(model, inventory, units, example, dense)

    @property
    def by_sums(self) -> bool:
        """Whether the counts are sums over the masks."""
        return self._sums is not None

    @torch.no_grad()
    def of(self, masks: MaskSet, masked: Callable[[], nn.Module]) -> MaskCount:
        """Count what a mask set leaves.

        Parameters
        ----------
        masks : MaskSet
            True means kept.
        masked : callable
            Returns the network with the masks applied; called only where the masks alone are not enough.
        """
        per_layer = [masks[name].count_nonzero() for name in self._units.names]
        if self._sums is None:
            model = masked()
            kept = torch.stack(per_layer).tolist()
            return MaskCount(tuple(kept), count_nonzero(model), count_macs(model, self._example))
        numbers = torch.cat([torch.stack(per_layer), self._sums.numbers(masks, per_layer)]).tolist()
        kept, rest = numbers[: len(per_layer)], numbers[len(per_layer) :]
        return MaskCount(tuple(kept), *self._sums.count(rest))


def count_nonzero(model: nn.Module) -> int:
    """Count the parameters of a model that are not zero; tied parameters count once.

    Examples
    --------
    >>> layer = nn.Linear(2, 1)
    >>> _ = layer.weight.data.copy_(torch.tensor([[0.0, 1.0]])), layer.bias.data.fill_(0)
    >>> count_nonzero(layer)
    1
    """
    return int(torch.stack([parameter.count_nonzero() for parameter in model.parameters()]).sum())


class _Sums(Protocol):
    def numbers(self, masks: MaskSet, kept: list[Tensor]) -> Tensor:
        """Return, on the device, the numbers of which `count` makes the result, int64, one axis."""

    def count(self, numbers: list[int]) -> tuple[int, Macs]:
        """Return the number of non-zero parameters and the MACs."""


class _WeightSums:
    """Sums over masks of weights, which leave no input of a product zero: biases and BatchNorm prevent it."""

    def __init__(self, model: nn.Module, inventory: Inventory, units: UnitSpace, dense: Macs) -> None:
        self._dense = dense
        self._nonzero = count_nonzero(model)
        pattern = {layer.name: model.get_parameter(layer.parameter) != 0 for layer in units.layers}
        self._before = [int(found.count_nonzero()) for found in pattern.values()]
        #: None where no weight is zero: what is left are the units kept
        self._pattern = {name: None if bool(found.all()) else found for name, found in pattern.items()}
        by_parameter = {weight.parameter: weight for weight in inventory.prunable}
        weights = [by_parameter[layer.parameter] for layer in units.layers]
        self._applied = [(weight.macs, math.prod(weight.shape)) for weight in weights]

    @classmethod
    def find(
        cls, model: nn.Module, inventory: Inventory, units: UnitSpace, example: Tensor, dense: Macs
    ) -> _WeightSums | None:
        """Return the sums, None where a mask can make an input zero or a weight is not used evenly."""
        evenly = all(weight.evenly for weight in inventory.prunable)
        weights = {weight.parameter for weight in inventory.prunable}
        return cls(model, inventory, units, dense) if evenly and keeps_inputs(model, weights, example) else None

    def numbers(self, masks: MaskSet, kept: list[Tensor]) -> Tensor:
        left = [
            found if pattern is None else (masks[name] & pattern).count_nonzero()
            for (name, pattern), found in zip(self._pattern.items(), kept, strict=True)
        ]
        return torch.stack(left)

    def count(self, numbers: list[int]) -> tuple[int, Macs]:
        lost, fewer = 0.0, 0
        for before, left, (macs, size) in zip(self._before, numbers, self._applied, strict=True):
            fewer += before - left
            lost += (before - left) * macs / size
        return self._nonzero - fewer, Macs(self._dense.total, self._dense.remaining - lost)


@dataclass(frozen=True)
class _Term:
    """The MACs of one product: positions x the number of non-zero weights of kept outputs and inputs.

    Attributes
    ----------
    counts : Tensor
        Non-zero weights, float64, shape ``(groups, outputs of a group, inputs of a group)``; one output where all
        outputs are kept.
    outputs : slice or None
        Its outputs among the units.
    inputs : slice or None
        Its inputs among those of all products; None where none can be zero.
    """

    counts: Tensor
    outputs: slice | None
    inputs: slice | None

    def of(self, kept: Tensor, alive: Tensor) -> Tensor:
        by_input = self.counts.flatten()
        if self.outputs is not None:
            by_input = (kept[self.outputs].view(len(self.counts), 1, -1) @ self.counts).flatten()
        return by_input.sum() if self.inputs is None else by_input @ alive[self.inputs]
