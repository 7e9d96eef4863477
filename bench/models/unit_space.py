"""The prunable units of a network: layers, where their channels stand in a weight, and the space of all units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from bench.core.errors import NotApplicable
from bench.core.types import Granularity


@dataclass(frozen=True)
class Layout:
    """Where the output and input channels of a weight stand in it.

    Attributes
    ----------
    shape : tuple of int
        Of the weight; the first axis may be cut in two where groups make it necessary.
    order : tuple of int
        The axes of `shape`: those of the output channels first.
    channels : int
        Output channels.
    groups : int
        Groups of output channels, one after the other, that read different input channels.
    inputs : int
        Input channels of a group; the kernel's positions are the rest of `weights_per_channel`.

    Examples
    --------
    The weight of a transposed convolution, ``(in, out, kernel)``:

    >>> layout = Layout((2, 3, 1), (1, 0, 2), channels=3)
    >>> layout.rows(torch.arange(6).view(2, 3, 1))
    tensor([[0, 3],
            [1, 4],
            [2, 5]])
    """

    shape: tuple[int, ...]
    order: tuple[int, ...]
    channels: int
    groups: int = 1
    inputs: int = 1

    @classmethod
    def plain(cls, shape: tuple[int, ...], groups: int = 1) -> Layout:
        """Return the layout of a convolution or linear layer: ``(out, in / groups, ...)``."""
        return cls(shape, tuple(range(len(shape))), shape[0], groups, *shape[1:2])

    @property
    def weights_per_channel(self) -> int:
        """Weights of one output channel."""
        return int(torch.Size(self.shape).numel()) // self.channels

    @property
    def moment_bytes(self) -> int:
        """Bytes of the second moments, float64, of what the weights of an output channel multiply."""
        return 8 * self.groups * self.weights_per_channel**2

    def rows(self, weight: Tensor) -> Tensor:
        """Lay out a tensor of the weight's shape as ``(channels, weights of one output)``, a view where that can be."""
        return weight.reshape(self.shape).permute(self.order).reshape(self.channels, -1)

    def weight(self, rows: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Undo `rows`: from ``(channels, weights of one output)`` to a tensor of the weight's `shape`."""
        back = [self.order.index(axis) for axis in range(len(self.order))]
        return rows.reshape([self.shape[axis] for axis in self.order]).permute(back).reshape(shape)


@dataclass(frozen=True)
class BiasPart:
    """Consecutive elements of a parameter that are added to consecutive output channels.

    Attributes
    ----------
    parameter : str
        Its path.
    start, stop : int
        The output channels ``start`` to ``stop - 1``.
    first : int
        Place in the parameter of what is added to the first of them.
    """

    parameter: str
    start: int
    stop: int
    first: int = 0


@dataclass(frozen=True)
class PrunableLayer:
    """A layer whose units can be pruned: one weight, wherever the network holds it.

    Attributes
    ----------
    name : str
        Path of the module whose ``weight`` it is, or of the parameter itself (``attn.in_proj_weight``).
    weight_shape : tuple of int
        ``(out, in / groups, kh, kw)`` or ``(out, in)`` where `layout` is plain.
    unit_shape : tuple of int
        `weight_shape` for granularity ``weight``, ``(out,)`` for ``channel``.
    batchnorm : str or None
        The directly following BatchNorm (its input is this layer's output, with no other consumer).
    reader : PrunableLayer or None
        For the hidden channels of an MLP, the layer that reads them (``fc2``), with its weights as units; for the
        values of attention, the output projection.
    exact_removal : bool
        Whether zeroing the unit removes everything that it contributes.
    parameter : str
        Path of the weight; default ``NAME.weight``.
    layout : Layout or None
        Where its channels stand; default that of a convolution or linear layer.
    bias : tuple of BiasPart or None
        What is added to its outputs; default none. None if that is no parameter of known place.
    bias_apart : bool
        Whether an operation of its own adds the bias.
    regular : bool
        Whether all its uses agree on `layout`; where they do not, it has none.
    read : tuple of int or None
        The channels that `reader` reads, in the order of its input channels; None for all.
    """

    name: str
    weight_shape: tuple[int, ...]
    unit_shape: tuple[int, ...]
    batchnorm: str | None = None
    reader: PrunableLayer | None = None
    exact_removal: bool = True
    parameter: str = ""
    layout: Layout | None = None
    bias: tuple[BiasPart, ...] | None = ()
    bias_apart: bool = False
    regular: bool = True
    read: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not self.parameter:
            object.__setattr__(self, "parameter", f"{self.name}.weight")
        if self.layout is None and self.regular:
            object.__setattr__(self, "layout", Layout.plain(self.weight_shape))

    @cached_property
    def size(self) -> int:
        """Number of units."""
        return int(torch.Size(self.unit_shape).numel())

    @property
    def partner(self) -> str | None:
        """Name of `reader`."""
        return None if self.reader is None else self.reader.name

    def read_of(self, channels: Tensor) -> Tensor:
        """Return the values of those channels that `reader` reads, given one value per channel."""
        return channels if self.read is None else channels[torch.tensor(self.read, device=channels.device)]

    @property
    def channels(self) -> Layout:
        """Where its channels stand.

        Raises
        ------
        NotApplicable
            If the network uses the weight in ways that do not agree on it.
        """
        if self.layout is None:
            raise NotApplicable(f"{self.name}: its uses do not agree on which of its axes are output channels")
        return self.layout

    def rows(self, weight: Tensor) -> Tensor:
        """Lay out a tensor of the weight's shape as ``(channels, weights of one output)``; see `Layout.rows`."""
        return self.channels.rows(weight)


@dataclass(frozen=True)
class UnitSpace:
    """All prunable units of a model at one granularity, in layer order.

    Attributes
    ----------
    granularity : str
        Of the units.
    layers : tuple of PrunableLayer
        In forward order. At granularity ``head`` or ``group``, the layers whose channels the units consist of, with
        these channels as units.
    stem : str or None
        Name of the first layer of the network, also where it has no units.
    classifier : tuple of str
        Names of the classifier's layers, also where they have no units.
    coupling : Coupling or None
        At granularity ``head`` or ``group``, which channels each unit consists of.
    """

    granularity: Granularity
    layers: tuple[PrunableLayer, ...]
    stem: str | None = None
    classifier: tuple[str, ...] = ()
    coupling: Coupling | None = None

    @property
    def ranked(self) -> UnitSpace:
        """The units that are scored, ranked and counted: those of `coupling`, else these."""
        return self if self.coupling is None else self.coupling.units

    @cached_property
    def total(self) -> int:
        """Number of units in all."""
        return sum(layer.size for layer in self.layers)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Layer names in order."""
        return tuple(layer.name for layer in self.layers)

    def flatten(self, per_layer: Mapping[str, Tensor]) -> Tensor:
        """Concatenate one tensor per layer, in layer order, to shape ``(total,)``."""
        return torch.cat([per_layer[layer.name].reshape(-1) for layer in self.layers])

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """Undo `flatten`: shape ``(total,)`` to one tensor of `unit_shape` per layer."""
        parts = torch.split(flat, [layer.size for layer in self.layers])
        return {layer.name: part.reshape(layer.unit_shape) for layer, part in zip(self.layers, parts, strict=True)}

    def layer_index(self) -> Tensor:
        """For each unit the number of its layer, int64, shape ``(total,)``."""
        sizes = torch.tensor([layer.size for layer in self.layers])
        return torch.repeat_interleave(torch.arange(len(self.layers)), sizes)


@dataclass(frozen=True, eq=False)
class Coupling:
    """Units that consist of several channels of one or several layers.

    Attributes
    ----------
    units : UnitSpace
        The units, in which scores are ranked and budgets are counted.
    members : mapping of str to Tensor
        Layer of `units` -> the places (`UnitSpace.flatten`) of each unit's channels among the channels of all member
        layers: int64, shape ``(units, members)``.
    vectors : mapping of str to Tensor
        Parameter of a BatchNorm that normalises member channels, wherever it stands -> for each of its values the place
        of such a channel, -1 if it normalises others: int64, shape ``(values,)``. They are zeroed with the unit.

    Examples
    --------
    Two heads of two channels each:

    >>> heads = UnitSpace("head", (PrunableLayer("attn", (4, 1), (2,)),))
    >>> coupling = Coupling(heads, {"attn": torch.tensor([[0, 1], [2, 3]])})
    >>> coupling.means(torch.tensor([1.0, 3.0, 5.0, 5.0]))
    {'attn': tensor([2., 5.])}
    >>> coupling.channels(torch.tensor([True, False]), 4)
    tensor([ True,  True, False, False])
    """

    units: UnitSpace
    members: Mapping[str, Tensor]
    vectors: Mapping[str, Tensor] = field(default_factory=dict)

    def means(self, channels: Tensor) -> dict[str, Tensor]:
        """Return the mean over the members of every unit, one tensor per layer of `units`.

        Parameters
        ----------
        channels : Tensor
            A value for each member channel, shape ``(..., channels)``.
        """
        return {name: channels[..., places.to(channels.device)].mean(dim=-1) for name, places in self.members.items()}

    def channels(self, kept: Tensor, total: int) -> Tensor:
        """Return which channels are kept, given which units are: boolean, shape ``(total,)``.

        Channels that belong to no unit are kept.
        """
        found = torch.ones(total, dtype=torch.bool, device=kept.device)
        for layer, own in self.units.split(kept).items():
            found[self.members[layer].to(kept.device)] = own.unsqueeze(1)
        return found

    def named(self, channels: UnitSpace) -> list[tuple[tuple[str, int], ...]]:
        """Return the members of every unit as (name of the layer, channel), the units in flat order."""
        places = [(layer.name, channel) for layer in channels.layers for channel in range(layer.size)]
        return [tuple(places[at] for at in unit) for of in self.members.values() for unit in of.tolist()]
