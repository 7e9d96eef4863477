"""What masks leave of a network: units, non-zero parameters and multiply-accumulate operations (MACs)."""

from __future__ import annotations

import copy
import itertools
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from bench.models.bias import bias_parts
from bench.models.macs import Macs, Traced, count_macs, count_products, keeps_inputs
from bench.models.masking import apply_masks
from bench.models.product import Product
from bench.models.reach import Reach, find_reach
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

    Attributes
    ----------
    parameters : int
        Size of the network; tied parameters count once.
    """

    def __init__(self, model: nn.Module, inventory: Inventory, units: UnitSpace, example: Tensor, dense: Macs) -> None:
        self.parameters = inventory.parameters
        self._example, self._units = example, units
        if units.granularity == "weight":
            self._sums: _Sums | None = _WeightSums.find(model, inventory, units, example, dense)
        else:
            sums = _ChannelSums.find(model, units, example, dense)
            self._sums = sums if sums is not None and self._agrees(sums, model) else None

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
        if self._sums is not None:
            return self._by_sums(self._sums, masks)
        model = masked()
        kept = torch.stack([masks[name].count_nonzero() for name in self._units.names]).tolist()
        return MaskCount(tuple(kept), count_nonzero(model), count_macs(model, self._example))

    def _by_sums(self, sums: _Sums, masks: MaskSet) -> MaskCount:
        on_device = [masks[name].to(self._example.device) for name in self._units.names]
        kept = [mask.count_nonzero() for mask in on_device]
        numbers = torch.cat([torch.stack(kept), sums.numbers(on_device, kept)]).tolist()
        return MaskCount(tuple(numbers[: len(kept)]), *sums.count(numbers[len(kept) :]))

    @torch.no_grad()
    def _agrees(self, sums: _Sums, model: nn.Module) -> bool:
        """Whether the sums are what is counted on the network, for two random mask sets."""
        generator = torch.Generator().manual_seed(0)
        for sparsity in (0.3, 0.7):
            kept = {layer.name: torch.rand(layer.size, generator=generator) >= sparsity for layer in self._units.layers}
            masks = MaskSet(self._units, {name: mask.to(self._example.device) for name, mask in kept.items()})
            pruned = copy.deepcopy(model)
            apply_masks(pruned, self._units, masks)
            found, expected = self._by_sums(sums, masks), count_macs(pruned, self._example)
            if (found.nonzero, found.macs.remaining) != (count_nonzero(pruned), expected.remaining):
                return False
        return True


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
    """Counts parameters and MACs in two steps, between which the numbers are read from the device."""

    def numbers(self, masks: list[Tensor], kept: list[Tensor]) -> Tensor:
        """Return int64 numbers on the device, one axis, for the masks of all layers and the units kept in each."""

    def count(self, numbers: list[int]) -> tuple[int, Macs]:
        """Return the number of non-zero parameters and the MACs, given these numbers."""


class _WeightSums:
    """Sums over masks of weights, which leave no input of a product zero: biases and BatchNorm prevent it."""

    def __init__(self, model: nn.Module, inventory: Inventory, units: UnitSpace, dense: Macs) -> None:
        self._dense = dense
        self._nonzero = count_nonzero(model)
        patterns = [model.get_parameter(layer.parameter) != 0 for layer in units.layers]
        self._before = [int(pattern.count_nonzero()) for pattern in patterns]
        # None where no weight is zero: the weights left are then the units kept
        self._patterns = [None if bool(pattern.all()) else pattern for pattern in patterns]
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

    def numbers(self, masks: list[Tensor], kept: list[Tensor]) -> Tensor:
        return torch.stack([
            units if pattern is None else (mask & pattern).count_nonzero()
            for mask, pattern, units in zip(masks, self._patterns, kept, strict=True)
        ])  # fmt: skip

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


class _ChannelSums:
    """Sums over masks of channels: a product costs what its kept outputs read of inputs that are not zero."""

    def __init__(
        self, nonzero: int, per_unit: Tensor, terms: list[_Term], positions: list[float], fixed: float, total: float,
        reach: Reach, columns: Tensor,
    ) -> None:  # fmt: skip
        self._apart = nonzero - int(per_unit.sum())
        self._per_unit, self._terms, self._positions = per_unit, terms, positions
        self._fixed, self._total, self._reach, self._columns = fixed, total, reach, columns

    @classmethod
    def find(cls, model: nn.Module, units: UnitSpace, example: Tensor, dense: Macs) -> _ChannelSums | None:
        """Return the sums, None where the network does not allow them."""
        slices = _slices(units)
        outputs = {layer.parameter: (layer, at) for layer, at in zip(units.layers, slices, strict=True)}
        columns_of = {
            layer.reader.parameter: (layer.reader, at)
            for layer, at in zip(units.layers, slices, strict=True) if layer.reader is not None
        }  # fmt: skip
        traced: list[Traced] = []
        counts = count_products(model, torch.cat([example[:1], example[:1]]), model, traced)
        terms, positions, columns, fixed, start = [], [], [], 0.0, 0
        for one, count in zip(traced, counts, strict=True):
            if count.per_input is None:
                fixed += count.macs
                continue
            names = one.product.weight.parameters & (outputs.keys() | columns_of.keys())
            layers = [at[name][0] for at in (outputs, columns_of) for name in names if name in at]
            if not all(_is_whole(model, one.product, layer) for layer in layers):
                return None
            size = 0 if count.dead is None else count.dead.numel()
            rows = next((outputs[name][1] for name in names if name in outputs), None)
            terms.append(_term(one.product, rows, slice(start, start + size) if size else None))
            positions.append(count.positions)
            read = next((columns_of[name][1] for name in names if name in columns_of), None)
            if read is not None and size != read.stop - read.start:
                return None
            columns.append(torch.full((size,), units.total) if read is None else torch.arange(read.start, read.stop))
            start += size
        reach = find_reach(model, units, traced, example[:1])
        if reach is None:
            return None
        per_unit = torch.cat([_nonzero_of_units(model, layer) for layer in units.layers])
        return cls(
            count_nonzero(model), per_unit, terms, positions, fixed, dense.total, reach,
            torch.cat(columns).to(example.device),
        )  # fmt: skip

    def numbers(self, masks: list[Tensor], kept: list[Tensor]) -> Tensor:  # noqa: ARG002
        flat = torch.cat(masks).to(self._per_unit.dtype)
        alive = self._reach.alive(flat) * torch.cat([flat, flat.new_ones(1)])[self._columns]
        sums = [flat @ self._per_unit, *(term.of(flat, alive) for term in self._terms)]
        return torch.stack(sums).long()

    def count(self, numbers: list[int]) -> tuple[int, Macs]:
        nonzero, *weights = numbers
        remaining = self._fixed + sum(map(operator.mul, self._positions, weights))
        return self._apart + nonzero, Macs(self._total, remaining)


def _slices(units: UnitSpace) -> list[slice]:
    """Return where the units of each layer stand among all units."""
    stops = itertools.accumulate(layer.size for layer in units.layers)
    return [slice(stop - layer.size, stop) for layer, stop in zip(units.layers, stops, strict=True)]


def _is_whole(model: nn.Module, product: Product, layer: PrunableLayer) -> bool:
    """Whether the weight of a product is a layer's, with its channels in order."""
    if product.weight.source != "parameter":
        return False
    return torch.equal(product.rows(product.weight.tensor), layer.rows(model.get_parameter(layer.parameter)))


def _term(product: Product, outputs: slice | None, inputs: slice | None) -> _Term:
    nonzero = product.rows(product.weight.tensor != 0)
    copies = product.weight.tensor.numel() // nonzero.numel()  # of one matrix for a whole batch
    groups = product.row_groups
    counts = copies * nonzero.reshape(groups, product.channels // groups, product.inputs, -1).sum(dim=3).double()
    return _Term(counts if outputs is not None else counts.sum(dim=1, keepdim=True), outputs, inputs)


def _nonzero_of_units(model: nn.Module, layer: PrunableLayer) -> Tensor:
    """Count the non-zero parameters that are zeroed with each channel, float64."""
    counts = layer.rows(model.get_parameter(layer.parameter)).count_nonzero(dim=1)
    for part, channels in bias_parts(model, layer):
        counts[channels] += part != 0
    if layer.batchnorm is not None:
        for parameter in model.get_submodule(layer.batchnorm).parameters(recurse=False):
            counts += parameter != 0
    if layer.reader is not None:
        columns = layer.reader.rows(model.get_parameter(layer.reader.parameter) != 0)
        counts += columns.reshape(len(columns), layer.size, -1).sum(dim=(0, 2))
    return counts.double()
