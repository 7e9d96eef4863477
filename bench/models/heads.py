"""Attention heads: which channels of the query, key and value weights belong to each, and that nothing else does."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.models.masking import apply_masks
from bench.models.observe import Call, observe
from bench.models.reach import unit_codes
from bench.models.tensors import MaskSet
from bench.models.unit_space import Coupling, PrunableLayer, UnitSpace
from bench.models.weights import Inventory, Weight

#: Attributes in which modules keep their number of heads.
HEAD_COUNTS = ("num_heads", "n_heads", "n_head", "num_attention_heads", "nhead", "heads")
#: Why the weights of an attention layer have no heads.
OTHER_FORM = (
    "attention of another form: its weights are not those of queries, keys and values of equal size, and then that of "
    "an output projection that reads the values, each used once"
)
MIXED_HEADS = (
    "heads not separable: without the queries, keys and values of a head, its inputs of the output projection are not "
    "zero, or those of other heads change"
)


@dataclass(frozen=True)
class Projections:
    """One attention layer, and a way in which its heads may stand in its weights.

    Attributes
    ----------
    name : str
        Of the module.
    heads : int
        Number of heads.
    weights : tuple of Weight
        Of queries, keys and values, in forward order; one or several weights.
    output : Weight
        Of the output projection.
    by_head : bool
        Whether a weight that holds several of queries, keys and values holds them head by head.
    values : int
        Which of the three the values are.
    """

    name: str
    heads: int
    weights: tuple[Weight, ...]
    output: Weight
    by_head: bool = False
    values: int = 2

    def rows(self) -> list[Tensor]:
        """Return the channels of each head in each weight, int64, shape ``(heads, channels of a head)``."""
        return [torch.cat(parts, dim=1) for parts in self._parts()]

    def read(self) -> tuple[int, tuple[int, ...]]:
        """Return which weight holds the values, and the channels that the output projection reads."""
        parts = [(number, part) for number, of in enumerate(self._parts()) for part in of]
        number, values = parts[self.values]
        return number, tuple(values.flatten().tolist())

    def _parts(self) -> list[list[Tensor]]:
        """Return, for each weight, the channels of each head in each of queries, keys and values that it holds."""
        width = _inputs(self.output) // self.heads
        found = []
        for weight in self.weights:
            parts = _channels(weight) // (self.heads * width)
            shape = (self.heads, parts, width) if self.by_head else (parts, self.heads, width)
            places = torch.arange(_channels(weight)).view(shape)
            found.append([places.select(1 if self.by_head else 0, part) for part in range(parts)])
        return found

    def ways(self) -> Iterator[Projections]:
        """Iterate over the ways in which the heads may stand in the weights, the usual one first."""
        fused = any(_channels(weight) > _inputs(self.output) for weight in self.weights)
        for values, by_head in itertools.product((2, 1, 0), (False, True) if fused else (False,)):
            yield Projections(self.name, self.heads, self.weights, self.output, by_head, values)

    def layers(self) -> list[PrunableLayer]:
        """Return the weights of queries, keys and values, with their channels as units."""
        holder, read = self.read()
        reader = self.output.by_weights()
        return [
            weight.by_channels(reader, read, exact_removal=True)
            if number == holder
            else weight.by_channels(exact_removal=True)
            for number, weight in enumerate(self.weights)
        ]


def find_heads(model: nn.Module, inventory: Inventory) -> tuple[list[Projections], dict[str, str]]:
    """Find the attention layers whose heads can be removed.

    A module that has a number of heads is an attention layer if its matrix products are those of queries, keys and
    values of equal size, held by one to three weights, and then one of an output projection. How heads stand in the
    weights is verified by forward passes in which some heads are removed: exactly their inputs of the output projection
    must be zero without their values, and no other input may change without their queries and keys.

    Parameters
    ----------
    model : nn.Module
        In eval mode; left as it is.
    inventory : Inventory
        What it computes with which parameter, with its `example`.

    Returns
    -------
    found : list of Projections
        In forward order.
    reasons : dict of str to str
        Name of a weight of another attention layer -> why it has no heads.
    """
    candidates, reasons = _candidates(model, inventory)
    tried = {candidate.name: list(candidate.ways()) for candidate in candidates}
    found: dict[str, Projections] = {}
    trial = _Trial(model, inventory, candidates) if candidates else None
    for turn in range(max(map(len, tried.values()), default=0)):
        open_ways = [ways[turn] for name, ways in tried.items() if name not in found and turn < len(ways)]
        if trial is not None and open_ways:
            found |= {way.name: way for way in trial.separable(open_ways)}
    for candidate in candidates:
        if candidate.name not in found:
            reasons |= {weight.name: MIXED_HEADS for weight in (*candidate.weights, candidate.output)}
    return [found[candidate.name] for candidate in candidates if candidate.name in found], reasons


def head_space(found: Sequence[Projections], stem: str) -> UnitSpace:
    """Return the member channels of some attention layers, coupled to heads.

    Parameters
    ----------
    found : sequence of Projections
        In forward order.
    stem : str
        Name of the first layer of the network.
    """
    layers: list[PrunableLayer] = []
    units, members, start = [], {}, 0
    for one in found:
        name = one.name or "attention"
        places = []
        for layer, rows in zip(one.layers(), one.rows(), strict=True):
            places.append(rows + start)
            layers.append(layer)
            start += layer.size
        first = one.weights[0]
        units.append(PrunableLayer(name, first.shape, (one.heads,), parameter=first.parameter, layout=first.layout))
        members[name] = torch.cat(places, dim=1)
    coupling = Coupling(UnitSpace("head", tuple(units), stem), members)
    return UnitSpace("head", tuple(layers), stem, coupling=coupling)


def _candidates(model: nn.Module, inventory: Inventory) -> tuple[list[Projections], dict[str, str]]:
    """Find modules with a number of heads and fitting weights; those of others with the reason."""
    found: list[Projections] = []
    reasons: dict[str, str] = {}
    within: dict[str, list[Weight]] = {}
    counts = {name: _head_count(module) for name, module in model.named_modules()}
    for weight in inventory.weights:
        owners = [
            name for name, heads in counts.items() if heads and (not name or weight.parameter.startswith(f"{name}."))
        ]
        if owners and weight.calls and not weight.is_convolution:
            within.setdefault(max(owners, key=len), []).append(weight)
    for name, weights in within.items():
        if len(weights) < 2:
            continue
        one = Projections(name, counts[name], tuple(weights[:-1]), weights[-1])
        if _fits(one):
            found.append(one)
        else:
            reasons |= {weight.name: OTHER_FORM for weight in weights}
    return found, reasons


def _head_count(module: nn.Module) -> int:
    """Return the number of heads that a module names, 0 if none."""
    values = (getattr(module, name, None) for name in HEAD_COUNTS)
    return next((value for value in values if isinstance(value, int) and value > 0), 0)


def _fits(one: Projections) -> bool:
    """Whether the weights can be those of queries, keys, values and an output projection."""
    weights = (*one.weights, one.output)
    if not all(weight.reason is None and weight.layout is not None and weight.calls == 1 for weight in weights):
        return False
    width = _inputs(one.output)
    if width % one.heads or any(weight.bias is None for weight in one.weights):
        return False
    sizes = [_channels(weight) for weight in one.weights]
    return sum(sizes) == 3 * width and not any(size % width for size in sizes)


def _channels(weight: Weight) -> int:
    assert weight.layout is not None
    return weight.layout.channels


def _inputs(weight: Weight) -> int:
    assert weight.layout is not None
    return weight.layout.inputs


class _Trial:
    """A copy of the network, on which heads are removed."""

    def __init__(self, model: nn.Module, inventory: Inventory, candidates: Sequence[Projections]) -> None:
        assert inventory.example is not None
        self._model, self._copy = model, copy.deepcopy(model)
        self._image = inventory.example[:1]
        self._outputs = [candidate.output.by_weights() for candidate in candidates]
        self._dense = self._inputs({}, ())

    def separable(self, ways: Sequence[Projections]) -> list[Projections]:
        """Return those of some attention layers whose heads stand in the weights as they are supposed to."""
        passed = [way for way, inputs in self._passes(ways, values_alone=True) if self._vanish(way, inputs)]
        without_values = list(self._passes(passed, values_alone=True))
        without_all = list(self._passes(passed, values_alone=False))
        return [
            way
            for (way, first), (_, second) in zip(without_values, without_all, strict=True)
            if all(torch.allclose(x, y, rtol=1e-4, atol=1e-6) for (_, x), (_, y) in zip(first, second, strict=True))
        ]

    def _passes(
        self, ways: Sequence[Projections], *, values_alone: bool
    ) -> Iterator[tuple[Projections, list[tuple[Tensor, Tensor]]]]:
        """Yield every attention layer with the heads that are kept and the projection's inputs, pass by pass."""
        codes = {way.name: ~unit_codes(way.heads).bool() for way in ways}
        found: dict[str, list[tuple[Tensor, Tensor]]] = {way.name: [] for way in ways}
        for turn in range(max(map(len, codes.values()), default=0)):
            kept = {name: code[turn % len(code)] for name, code in codes.items()}
            inputs = self._inputs(kept, ways, values_alone=values_alone)
            for way in ways:
                found[way.name].append((kept[way.name], inputs[way.output.name]))
        yield from ((way, found[way.name]) for way in ways)

    def _inputs(
        self, kept: Mapping[str, Tensor], ways: Sequence[Projections], *, values_alone: bool = True
    ) -> dict[str, Tensor]:
        """Return the inputs of every output projection without some heads, shape ``(rows, inputs)``."""
        self._copy.load_state_dict(self._model.state_dict())
        for way in ways:
            holder, read = way.read()
            for number, (layer, rows) in enumerate(zip(way.layers(), way.rows(), strict=True)):
                left = torch.ones(layer.size, dtype=torch.bool)
                left[rows[~kept[way.name]].flatten()] = False
                if values_alone:
                    others = torch.ones_like(left)
                    if number == holder:
                        others[torch.tensor(read)] = False
                    left |= others
                space = UnitSpace("channel", (layer,))
                apply_masks(self._copy, space, MaskSet(space, {layer.name: left.to(self._image.device)}))
        found: dict[str, Tensor] = {}

        def see(call: Call) -> None:
            found[call.layer.name] = call.inputs().clone()

        observe(self._copy, self._outputs, [self._image], see)
        return found

    def _vanish(self, way: Projections, passes: Sequence[tuple[Tensor, Tensor]]) -> bool:
        """Whether exactly the inputs of the removed heads are zero in every pass."""
        dead = ~(self._dense[way.output.name] != 0).any(dim=0)
        for kept, inputs in passes:
            removed = (~kept).repeat_interleave(inputs.shape[1] // way.heads).to(inputs.device)
            if not torch.equal(~(inputs != 0).any(dim=0), removed | dead):
                return False
        return True
