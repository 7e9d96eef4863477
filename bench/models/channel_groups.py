"""Channels that must be removed together, as those of a residual stage, found by passes in which some are marked.

The output of every product is replaced by numbers, and by NaN in the marked channels. NaN passes through whatever
stands between two products, so the inputs that a channel reaches are known without a rule for each operation: an
addition couples the channels of a residual stage, zero-padded shortcuts move them, concatenation keeps them apart.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.models.macs import SILENT, Traced, count_positive, count_products
from bench.models.masking import apply_masks
from bench.models.products import product_kind, traceable
from bench.models.reach import LARGEST_OUTPUT, unit_codes
from bench.models.tensors import MaskSet
from bench.models.unit_space import Coupling, PrunableLayer, UnitSpace
from bench.models.weights import Inventory
from bench.store.network import CUT_ALONG

#: Why channels belong to no group.
UNTRACED = "not followed: its outputs cannot be followed to the layers that read them"
MIXED = "mixed channels: what reads them combines several channels before the next layer, as LayerNorm does"
READ_WHOLE = "read as a whole: its channels are read by a product of activations, or are outputs of the network"
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
        found = _mark(model, channels, traced, image)
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


@dataclass
class _Found:
    """What marked channels reach.

    Attributes
    ----------
    edges : list of (int, int)
        A channel (its place among all) and a product input (its number among those of all products) that it reaches.
    inputs : list of slice
        For each watched product in order, the numbers of its inputs.
    fixed : dict of int to str
        Layer number -> why its channels belong to no group.
    stays : Tensor
        Boolean: inputs that depend on what has no units.
    """

    edges: list[tuple[int, int]] = field(default_factory=list)
    inputs: list[slice] = field(default_factory=list)
    fixed: dict[int, str] = field(default_factory=dict)
    stays: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))


def _mark(model: nn.Module, channels: UnitSpace, traced: Sequence[Traced], image: Tensor) -> _Found | None:
    """Run copies of an image with marked channels; None where the products cannot be followed."""
    dynamic = [one for one in traced if _is_dynamic(one)]
    if not all(one.plain and len(one.product.output) % 2 == 0 for one in dynamic):
        return None
    layers = {layer.parameter: number for number, layer in enumerate(channels.layers)}
    irregular = {number for name, number in layers.items() if not _is_regular(model, channels, traced, name)}
    codes = [unit_codes(layer.size) for layer in channels.layers]
    copies = 2 + sum(len(code) for code in codes)  # nothing is marked in the first, all that has no units in the second
    marks = []
    for code, first in zip(codes, itertools.accumulate(map(len, codes), initial=2), strict=False):
        marks.append(torch.zeros(copies, code.shape[1], dtype=torch.bool))
        marks[-1][first : first + len(code)] = code.bool()
    rest = torch.zeros(copies, dtype=torch.bool)
    rest[1] = True
    step = max(1, 2 * LARGEST_OUTPUT // max(one.product.output.numel() for one in traced))
    parts = []
    for at in torch.arange(copies).split(step):
        mode = _Marked(traced, layers, [mark[at].to(image.device) for mark in marks], rest[at].to(image.device))
        with traceable(model), mode:
            output = model(image.expand(len(at), *image.shape[1:]))
        if not mode.as_traced or not isinstance(output, Tensor):
            return None
        mode.wholes |= output.isnan().reshape(len(at), -1).any(dim=1)
        parts.append((torch.cat(mode.reached, dim=1).cpu(), mode.wholes.cpu()))
    reached, wholes = (torch.cat([part[which] for part in parts]) for which in (0, 1))
    if bool(reached[0].any()) or bool(wholes[0]):
        return None
    return _decode(channels, codes, reached, wholes, irregular, [one for one in dynamic if one.watched])


def _is_dynamic(one: Traced) -> bool:
    """Whether a product depends on the images."""
    return not one.product.is_fixed


def _is_regular(model: nn.Module, channels: UnitSpace, traced: Sequence[Traced], parameter: str) -> bool:
    """Whether every product of a layer has its weight as a whole, with its channels in order."""
    layer = next(layer for layer in channels.layers if layer.parameter == parameter)
    rows = layer.rows(model.get_parameter(parameter))
    return all(
        one.watched
        and one.product.weight.source == "parameter"
        and torch.equal(one.product.rows(one.product.weight.tensor), rows)
        for one in traced
        if parameter in one.product.weight.parameters
    )


class _Marked(TorchDispatchMode):
    """Replaces the outputs of all products by numbers, and by NaN in marked channels.

    Parameters
    ----------
    traced : sequence of Traced
        The products of a pass over two images.
    layers : mapping of str to int
        Parameter of a layer with units -> its number.
    marks : sequence of Tensor
        For each layer the channels that are marked in each copy, boolean, shape ``(copies, channels)``.
    rest : Tensor
        Whether the outputs of all other products are marked in a copy, boolean, shape ``(copies,)``.

    Attributes
    ----------
    reached : list of Tensor
        For each watched product the inputs that are marked, boolean, shape ``(copies, inputs)``.
    wholes : Tensor
        Whether a product of activations reads what is marked in a copy, boolean, shape ``(copies,)``.
    as_traced : bool
        Whether the products were those of the traced pass.
    """

    def __init__(
        self, traced: Sequence[Traced], layers: Mapping[str, int], marks: Sequence[Tensor], rest: Tensor
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._traced, self._layers, self._marks, self._rest = list(traced), layers, marks, rest
        self._next, self._fits = 0, True
        self.reached: list[Tensor] = []
        self.wholes = torch.zeros_like(rest)

    @property
    def as_traced(self) -> bool:
        return self._fits and self._next == len(self._traced)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        operation = func._overloadpacket
        if product_kind(operation) is None:
            marked = args[0].isnan() if operation in SILENT else None
            result = func(*args, **(kwargs or {}))
            return result if marked is None else result.masked_fill_(marked, torch.nan)
        expected = self._traced[self._next] if self._next < len(self._traced) else None
        self._next += 1
        if expected is None or expected.operation is not operation:
            self._fits = False
            return func(*args, **(kwargs or {}))
        if not _is_dynamic(expected):
            return func(*args, **(kwargs or {}))
        operands = [arg for arg in tree_leaves(args) if isinstance(arg, Tensor)]
        if expected.watched:
            self._note(expected, operands)
        else:
            for one in operands:
                if one.dim() > 1 and len(one) % len(self._rest) == 0:
                    self.wholes |= one.isnan().reshape(len(self._rest), -1).any(dim=1)
        return self._output(expected)

    def _note(self, expected: Traced, operands: Sequence[Tensor]) -> None:
        """Note the marked inputs of a product with a weight."""
        product, copies = expected.product, len(self._rest)
        shape = (len(product.data.tensor) // 2 * copies, *product.data.tensor.shape[1:])
        x = next((one for one in operands if tuple(one.shape) == shape), None)
        if x is None:
            self._fits = False
            x = product.data.tensor.new_zeros(shape)
        if product.is_convolution:
            self.reached.append(x.isnan().flatten(2).any(dim=2))
        else:
            self.reached.append(x.isnan().reshape(copies, -1, x.shape[-1]).any(dim=1))

    def _output(self, expected: Traced) -> Tensor:
        product, copies = expected.product, len(self._rest)
        one = product.output[: len(product.output) // 2]
        noise = 0.5 + torch.rand(one.shape, generator=torch.Generator().manual_seed(0)).to(one)
        numbers = [self._layers[name] for name in product.weight.parameters if name in self._layers]
        if expected.watched and numbers:
            axis = 1 if product.is_convolution else one.dim() - 1
            marked = self._marks[numbers[0]].view(
                copies, *[-1 if place == axis else 1 for place in range(one.dim())]
            )
        else:
            marked = self._rest.view(copies, *[1] * one.dim())
        return noise.expand(copies, *one.shape).masked_fill(marked, torch.nan).flatten(0, 1)


def _decode(
    channels: UnitSpace, codes: Sequence[Tensor], reached: Tensor, wholes: Tensor, irregular: set[int],
    watched: Sequence[Traced],
) -> _Found:  # fmt: skip
    """Recognise the channels by the copies in which an input is marked, boolean, shape ``(copies, inputs)``."""
    found = _Found(stays=reached[1], fixed=dict.fromkeys(sorted(irregular), UNTRACED))
    start = 0
    for one in watched:
        size = one.product.dead_inputs().shape[-1]
        found.inputs.append(slice(start, start + size))
        start += size
    first, offset = 2, 0
    for number, (code, layer) in enumerate(zip(codes, channels.layers, strict=True)):
        own = slice(first, first + len(code))
        powers = 2 ** torch.arange(len(code)).unsqueeze(1)
        by_code = torch.full((2 ** len(code),), -1)
        by_code[(code.long() * powers).sum(dim=0)] = torch.arange(layer.size)
        patterns = (reached[own] * powers).sum(dim=0)
        at = patterns.nonzero().flatten()
        units = by_code[patterns[at]]
        if bool(wholes[own].any()):
            found.fixed.setdefault(number, READ_WHOLE)
        elif not len(at):
            found.fixed.setdefault(number, READ_WHOLE)
        elif bool((units < 0).any()):
            found.fixed.setdefault(number, MIXED)
        # which of its channels reach the other inputs is not known, but none is removed
        found.edges += [(offset + max(u, 0), j) for u, j in zip(units.tolist(), at.tolist(), strict=True)]
        first, offset = first + len(code), offset + layer.size
    return found


class _Groups:
    """Channels and product inputs, joined where one depends on the other.

    Parameters
    ----------
    channels : UnitSpace
        Units of granularity ``channel``.
    found : _Found
        What they reach.
    """

    def __init__(self, channels: UnitSpace, found: _Found) -> None:
        self._channels, self._found = channels, found
        self._parent = list(range(channels.total + len(found.stays)))
        self._why: dict[int, str] = {}
        self._members: dict[int, tuple[list[int], list[int]]] = {}
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
        watched = [one.product for one in traced if _is_dynamic(one) and one.watched]
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

    def fix(self, nodes: Any, reason: str) -> None:
        """Leave out some channels or inputs, and so the groups that they belong to."""
        for node in nodes:
            self._why.setdefault(node, reason)

    def inputs(self, channel: int) -> list[int]:
        """Return the numbers of the inputs in the group of a channel, given its place among all."""
        return self._members[self._root(channel)][1]

    def space(self) -> UnitSpace | None:
        """Return the layers that have members of groups, coupled to groups; None if there is no group."""
        total = self._channels.total
        self._members = {}
        for node in range(len(self._parent)):
            of = self._members.setdefault(self._root(node), ([], []))
            of[node >= total].append(node if node < total else node - total)
        self._fixed_roots = {self._root(node): node for node in reversed(self._why)}
        groups = [of[0] for root, of in self._members.items() if of[0] and of[1] and root not in self._fixed_roots]
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
        units, members = [], {}
        self.listed = [group for of in by_layers.values() for group in of]
        for number, (key, of) in enumerate(by_layers.items(), start=1):
            first = self._channels.layers[key[0]]
            name = f"group {number} ({first.name})"
            units.append(
                PrunableLayer(name, first.weight_shape, (len(of),), parameter=first.parameter, layout=first.layout)
            )
            members[name] = torch.tensor([[place + shift[layer_of[place]] for place in group] for group in of])
        stem = self._channels.stem
        return UnitSpace("group", layers, stem, Coupling(UnitSpace("group", tuple(units), stem), members))

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
        apply_masks(pruned, units, MaskSet.from_flat(coupling.units, kept).members(units))
        counts = count_positive(pruned, image, pruned)
        dead = torch.cat([count.dead.flatten() for count in counts if count.dead is not None]).cpu()
        for group, stays in zip(groups.listed, kept.tolist(), strict=True):
            if not stays and not bool(dead[groups.inputs(group[0])].all()):
                found.append(group[0])
    return found
