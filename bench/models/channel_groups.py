"""Channels that must be removed together, as those of a residual stage."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.models.macs import Traced, count_positive, count_products
from bench.models.marks import UNTRACED, Marked, is_dynamic, mark_channels
from bench.models.masking import apply_masks
from bench.models.tensors import MaskSet
from bench.models.unit_space import Coupling, PrunableLayer, UnitSpace
from bench.models.weights import Inventory
from bench.store.network import CUT_ALONG

#: Why channels belong to no group.
GROUPED = "grouped convolution: without single channels its groups would be of unequal size"
COUPLED = "coupled: its channels go with some that stay"
CONSTANT = "not removable: a constant is added to its channels before they are read"


def find_groups(
    model: nn.Module, inventory: Inventory, channels: UnitSpace
) -> tuple[UnitSpace | None, dict[str, str | None]]:
    """Find the channels that must be removed together.

    Two channels are in one group if an input of some layer depends on both, or if a depthwise convolution computes one
    from the other. A group is left out if an input that it reaches also depends on what stays, or is not exactly zero
    without the group.

    Parameters
    ----------
    model : nn.Module
        In eval mode; left as it is.
    inventory : Inventory
        What it computes with which parameter, with its `example`.
    channels : UnitSpace
        Its units at granularity ``channel``.

    Returns
    -------
    units : UnitSpace or None
        Granularity ``group``: the layers that have members, coupled to groups; None if there are none.
    reasons : dict of str to (str or None)
        For every layer of `channels` why it has no units, or None if it has. A group counts at its first layer.

    Examples
    --------
    The two terms of a sum:

    >>> from bench.models.inventory import take_inventory
    >>> from bench.models.units import find_units
    >>> class Sum(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.a, self.b, self.c = (nn.Conv2d(2, 2, 1, bias=False) for _ in range(3))
    ...     def forward(self, x):
    ...         return self.c(self.a(x) + self.b(x)).mean(dim=(2, 3))
    >>> net = Sum().eval()
    >>> inventory = take_inventory(net, torch.rand(1, 2, 3, 3))
    >>> units, reasons = find_groups(net, inventory, find_units(net, "channel", ("head",), inventory))
    >>> units.coupling.named(units)
    [(('a', 0), ('b', 0)), (('a', 1), ('b', 1))]
    """
    assert inventory.example is not None
    image = inventory.example[:1]
    traced: list[Traced] = []
    with sdpa_kernel(SDPBackend.MATH):
        count_products(model, torch.cat([image, image]), model, traced)
        found = mark_channels(model, channels, traced, image)
    if found is None:
        return None, dict.fromkeys(channels.names, UNTRACED)
    groups = _Groups(channels, found)
    groups.join(traced)
    units = groups.space()
    while units is not None:
        constant = _not_zero(model, units, groups, image)
        if not constant:
            break
        groups.fix(constant, CONSTANT)
        units = groups.space()
    return units, groups.reasons(units)


class _Groups:
    """Channels and product inputs, joined where one depends on the other.

    Parameters
    ----------
    channels : UnitSpace
        Units of granularity ``channel``.
    found : Marked
        What they reach.
    """

    def __init__(self, channels: UnitSpace, found: Marked) -> None:
        self._channels, self._found = channels, found
        self._parent = list(range(channels.total + len(found.stays)))
        self._why: dict[int, str] = {}
        self._inputs: dict[int, list[int]] = {}
        self._fixed_roots: dict[int, int] = {}
        #: the channels of each group, in the order of the latest `space`
        self.listed: list[list[int]] = []
        self._starts = list(itertools.accumulate((layer.size for layer in channels.layers), initial=0))
        for unit, reached in found.edges:
            self._unite(unit, channels.total + reached)
        for number, reason in found.fixed.items():
            self.fix(range(self._starts[number], self._starts[number + 1]), reason)
        self.fix((channels.total + found.stays.nonzero().flatten()).tolist(), COUPLED)

    def join(self, traced: Sequence[Traced]) -> None:
        """Join inputs and outputs of depthwise convolutions; leave out those of other grouped ones."""
        layers = {layer.parameter: number for number, layer in enumerate(self._channels.layers)}
        watched = [one.product for one in traced if is_dynamic(one) and one.watched]
        for product, inputs in zip(watched, self._found.inputs, strict=True):
            if not product.is_convolution or product.groups == 1:
                continue
            reached = [self._channels.total + j for j in range(inputs.start, inputs.stop)]
            numbers = [layers[name] for name in product.weight.parameters if name in layers]
            own = list(range(self._starts[numbers[0]], self._starts[numbers[0] + 1])) if numbers else []
            if product.inputs > 1:
                self.fix([*reached, *own], GROUPED)
            elif not own:
                self.fix(reached, COUPLED)
            else:
                for place, unit in enumerate(own):
                    self._unite(unit, reached[place // (len(own) // len(reached))])

    def fix(self, nodes: Iterable[int], reason: str) -> None:
        """Leave out some channels or inputs, and so the groups that they belong to."""
        for node in nodes:
            self._why.setdefault(node, reason)

    def inputs(self, channel: int) -> list[int]:
        """Return the numbers of the product inputs in the group of a channel, given its place among all."""
        return self._inputs.get(self._root(channel), [])

    def space(self) -> UnitSpace | None:
        """Return the layers that have members of groups, coupled to groups; None if there is no group."""
        members: dict[int, list[int]] = {}
        for place in range(self._channels.total):
            members.setdefault(self._root(place), []).append(place)
        self._inputs = {}
        for number in range(self._found.inputs[-1].stop):
            self._inputs.setdefault(self._root(self._channels.total + number), []).append(number)
        self._fixed_roots = {self._root(node): node for node in reversed(self._why)}
        groups = [of for root, of in members.items() if root in self._inputs and root not in self._fixed_roots]
        if not groups:
            return None
        layer_of = self._channels.layer_index().tolist()
        by_layers: dict[tuple[int, ...], list[list[int]]] = {}
        for group in sorted(groups):
            by_layers.setdefault(tuple(layer_of[place] for place in group), []).append(group)
        used = sorted({number for key in by_layers for number in key})
        layers = tuple(replace(self._channels.layers[number], exact_removal=True) for number in used)
        shift, start = {}, 0
        for number, layer in zip(used, layers, strict=True):
            shift[number] = start - self._starts[number]
            start += layer.size
        units = []
        places: dict[str, Tensor] = {}
        self.listed = [group for of in by_layers.values() for group in of]
        for number, (key, of) in enumerate(by_layers.items(), start=1):
            first = self._channels.layers[key[0]]
            name = f"group {number} ({first.name})"
            units.append(
                PrunableLayer(name, first.weight_shape, (len(of),), parameter=first.parameter, layout=first.layout)
            )
            places[name] = torch.tensor([[place + shift[layer_of[place]] for place in group] for group in of])
        stem = self._channels.stem
        coupling = Coupling(UnitSpace("group", tuple(units), stem), places, self._vectors(shift, layer_of))
        return UnitSpace("group", layers, stem, coupling=coupling)

    def _vectors(self, shift: Mapping[int, int], layer_of: Sequence[int]) -> dict[str, Tensor]:
        """Return for every value of a BatchNorm a member channel that it normalises, -1 if none."""
        place_of = {self._root(group[0]): group[0] + shift[layer_of[group[0]]] for group in self.listed}
        found: dict[str, Tensor] = {}
        for names, inputs in self._found.normalised:
            roots = [self._root(self._channels.total + j) for j in range(inputs.start, inputs.stop)]
            places = torch.tensor([place_of.get(root, -1) for root in roots])
            if bool((places >= 0).any()):
                found |= dict.fromkeys(names, places)
        return found

    def reasons(self, units: UnitSpace | None) -> dict[str, str | None]:
        """Return for every layer why it has no units, or None if it has."""
        named = [] if units is None or units.coupling is None else units.coupling.named(units)
        first = {group[0][0] for group in named}
        leader = {layer: group[0][0] for group in reversed(named) for layer, _ in group}
        reasons: dict[str, str | None] = {}
        for number, layer in enumerate(self._channels.layers):
            if layer.name in first:
                reasons[layer.name] = None
            elif layer.name in leader:
                reasons[layer.name] = f"{CUT_ALONG}: its channels go with those of {leader[layer.name]}"
            else:
                reasons[layer.name] = self._reason(number)
        return reasons

    def _reason(self, number: int) -> str:
        """Explain why the first channel of a layer belongs to no group."""
        own = range(self._starts[number], self._starts[number + 1])
        for place in own:
            if place in self._why:
                return self._why[place]
        cause = self._fixed_roots.get(self._root(own[0]))
        return COUPLED if cause is None or cause < self._channels.total else self._why[cause]

    def _root(self, node: int) -> int:
        while self._parent[node] != node:
            self._parent[node] = self._parent[self._parent[node]]
            node = self._parent[node]
        return node

    def _unite(self, first: int, second: int) -> None:
        first, second = self._root(first), self._root(second)
        self._parent[max(first, second)] = min(first, second)


def _not_zero(model: nn.Module, units: UnitSpace, groups: _Groups, image: Tensor) -> list[int]:
    """Return a channel of every group without which some input that the group reaches is not exactly zero."""
    found = []
    coupling = units.coupling
    assert coupling is not None
    half = torch.rand(coupling.units.total, generator=torch.Generator().manual_seed(0)) < 0.5
    for kept in (half, ~half):
        pruned = copy.deepcopy(model)
        _fill(pruned)
        apply_masks(pruned, units, MaskSet.from_flat(coupling.units, kept).members(units))
        counts = count_positive(pruned, image, pruned)
        dead = torch.cat([count.dead.flatten() for count in counts if count.dead is not None]).cpu()
        for group, stays in zip(groups.listed, kept.tolist(), strict=True):
            if not stays and not bool(dead[groups.inputs(group[0])].all()):
                found.append(group[0])
    return found


def _fill(model: nn.Module) -> None:
    """Replace zeros among parameters and BatchNorm means by ones, which training may replace, too."""
    means = [m.running_mean for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for tensor in (*model.parameters(), *(mean for mean in means if mean is not None)):
        tensor.data[tensor == 0] = 1
