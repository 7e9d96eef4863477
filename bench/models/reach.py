"""Which channel units keep which inputs of the products of a network different from zero."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bench.models.bias import bias_values
from bench.models.macs import Awake, Traced, positive_state
from bench.models.product import Product
from bench.models.products import aten, product_kind, traceable
from bench.models.unit_space import PrunableLayer, UnitSpace

#: Largest number of values of a layer's output, which limits how many images a pass has.
LARGEST_OUTPUT = 2**24


@dataclass(frozen=True)
class Reach:
    """What keeps the inputs of products different from zero; the inputs of all products are numbered in order.

    Attributes
    ----------
    always : Tensor
        Boolean, shape ``(inputs,)``: not zero even if every unit is pruned.
    inputs, units : Tensor
        int64, shape ``(pairs,)``: an input is not zero, either, if a unit is kept that it is paired with.
    """

    always: Tensor
    inputs: Tensor
    units: Tensor

    def alive(self, kept: Tensor) -> Tensor:
        """Return which inputs are not zero.

        Parameters
        ----------
        kept : Tensor
            1 for every unit that is kept, else 0, float64, shape ``(units,)``.

        Returns
        -------
        Tensor
            Likewise, shape ``(inputs,)``.
        """
        kept_sources = self.always.to(kept.dtype).index_add_(0, self.inputs, kept[self.units])
        return (kept_sources > 0).to(kept.dtype)


def find_reach(model: nn.Module, units: UnitSpace, traced: Sequence[Traced], image: Tensor) -> Reach | None:
    """Find which units keep which inputs different from zero, by passes over copies of an image.

    Every copy has units of its own: the output of a layer is replaced by positive numbers where the unit is kept and by
    zeros where it is pruned. The units of a layer are recognised by the copies in which they are kept.

    Parameters
    ----------
    model : nn.Module
        The dense network, in eval mode; left as it is.
    units : UnitSpace
        Its channel units.
    traced : sequence of Traced
        Every product of a forward pass, in order.
    image : Tensor
        Shape ``(1, channels, height, width)``, on the model's device.

    Returns
    -------
    Reach or None
        None where the rule is another one: a kept unit can be zero, or an input depends on several units of a layer.
    """
    layers = {layer.parameter: number for number, layer in enumerate(units.layers)}
    if not all(_is_revived(model, layer) for layer in units.layers):
        return None
    if not all(_is_usual(one) for one in traced if one.watched or one.product.weight.parameters & layers.keys()):
        return None
    codes = [unit_codes(layer.size) for layer in units.layers]
    copies = 1 + sum(len(code) for code in codes)  # in the first every unit is pruned
    gates = []
    for code, first in zip(codes, itertools.accumulate(map(len, codes), initial=1), strict=False):
        gates.append(torch.zeros(copies, code.shape[1]))
        gates[-1][first : first + len(code)] = code
    step = max(1, 2 * LARGEST_OUTPUT // max(one.product.output.numel() for one in traced))
    found = []
    with traceable(model):
        state = _state(model, units)
        for part in zip(*(torch.split(gate.to(image), step) for gate in gates), strict=True):
            mode = _Gated(traced, layers, part)
            with mode:
                functional_call(model, state, (image.expand(len(part[0]), *image.shape[1:]),), tie_weights=False)
            if not mode.as_traced:
                return None
            found.append(torch.cat(mode.alive, dim=1).cpu())
    return _decode(torch.cat(found), codes, image.device)


def _is_revived(model: nn.Module, layer: PrunableLayer) -> bool:
    """Whether the bias or BatchNorm makes every kept unit different from zero, even if all that it reads is zero."""
    if layer.batchnorm is None:
        return layer.bias is not None and bool((bias_values(model, layer) != 0).all())
    batchnorm = model.get_submodule(layer.batchnorm)
    mean, weight, bias = (getattr(batchnorm, name) for name in ("running_mean", "weight", "bias"))
    return mean is not None and weight is not None and bool(((bias != 0) | ((weight != 0) & (mean != 0))).all())


def _is_usual(one: Traced) -> bool:
    """Whether a product depends on the images, and its operands hold one image after the other."""
    product = one.product
    by_image = product.is_convolution or product.is_expanded or product.data.tensor.dim() == 2
    return one.watched and one.plain and by_image and len(product.output) % 2 == 0


def unit_codes(size: int) -> Tensor:
    """Return the copies in which each unit of a layer is kept, as zeros and ones, shape ``(copies, size)``.

    Every unit is kept in equally many copies, so that two units together look like no single one.

    Examples
    --------
    >>> unit_codes(3)
    tensor([[1., 1., 0.],
            [1., 0., 1.],
            [0., 1., 1.]])
    """
    length = next(n for n in itertools.count(1) if math.comb(n, (n + 1) // 2) >= size)
    ones = torch.tensor([*itertools.islice(itertools.combinations(range(length), (length + 1) // 2), size)])
    return torch.zeros(length, size).scatter_(0, ones.mT, 1)


def _state(model: nn.Module, units: UnitSpace) -> dict[str, Tensor]:
    """Return positive parameters with which biases and BatchNorm leave the zeros of pruned units as they are.

    The weights that read hidden channels are zero, as they are in a network without these.
    """
    state = positive_state(model)
    for layer in units.layers:
        for part in layer.bias or ():
            state[part.parameter].view(-1)[part.first : part.first + part.stop - part.start] = 0
        if layer.batchnorm is not None:
            state[f"{layer.batchnorm}.weight"].fill_(1)
            for name in ("bias", "running_mean"):
                state[f"{layer.batchnorm}.{name}"].zero_()
        if layer.reader is not None:
            state[layer.reader.parameter].zero_()
    return state


class _Gated(Awake):
    """Replaces the outputs of layers and notes which inputs of products are not zero.

    Attributes
    ----------
    alive : list of Tensor
        Boolean, shape ``(copies, inputs)``, for each watched product.
    as_traced : bool
        Whether the products were those of the traced pass.
    """

    def __init__(self, traced: Sequence[Traced], layers: Mapping[str, int], gates: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._traced, self._layers, self._gates = list(traced), layers, gates
        self._next = 0
        self._fits = True
        self.alive: list[Tensor] = []

    @property
    def as_traced(self) -> bool:
        return self._fits and self._next == len(self._traced)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        operation = func._overloadpacket
        if product_kind(operation) is None:
            return super().__torch_dispatch__(func, types, args, kwargs)
        expected = self._traced[self._next] if self._next < len(self._traced) else None
        self._next += 1
        if expected is None or expected.operation is not operation:
            self._fits = False
        elif expected.watched:
            self._note(expected.product, args[1] if operation in (aten.addmm, aten.baddbmm) else args[0])
            for name in expected.product.weight.parameters:
                if name in self._layers:
                    return self._output(expected.product, self._gates[self._layers[name]])
        return func(*args, **(kwargs or {}))

    def _note(self, product: Product, x: Tensor) -> None:
        copies = len(self._gates[0])
        if len(x) * 2 != len(product.data.tensor) * copies:
            self._fits = False
            self.alive.append(x.new_zeros(copies, 1, dtype=torch.bool))
        elif product.is_convolution:
            self.alive.append((x != 0).flatten(2).any(dim=2))
        else:
            self.alive.append((x != 0).reshape(copies, -1, x.shape[-1]).any(dim=1))

    @staticmethod
    def _output(product: Product, gate: Tensor) -> Tensor:
        """Return the output of a layer, of which normalisation over channels or positions makes no new zeros."""
        one = product.output[: len(product.output) // 2]
        noise = 0.5 + torch.rand(one.shape, generator=torch.Generator().manual_seed(0)).to(one)
        axis = 1 if product.is_convolution else one.dim() - 1
        channels = [-1 if place == axis else 1 for place in range(one.dim())]
        return (gate.view(len(gate), *channels) * noise).flatten(0, 1)


def _decode(alive: Tensor, codes: Sequence[Tensor], device: torch.device) -> Reach | None:
    """Recognise the units by the copies in which an input is not zero, boolean, shape ``(copies, inputs)``."""
    always, inputs, units = alive[0], [], []
    first, offset = 1, 0
    for code in codes:
        powers = 2 ** torch.arange(len(code)).unsqueeze(1)
        by_code = torch.full((2 ** len(code),), -1)
        by_code[(code.long() * powers).sum(dim=0)] = torch.arange(code.shape[1])
        patterns = ((alive[first : first + len(code)] & ~always) * powers).sum(dim=0)
        at = patterns.nonzero().flatten()
        inputs.append(at)
        units.append(by_code[patterns[at]])
        if bool((units[-1] < 0).any()):
            return None
        units[-1] += offset
        first, offset = first + len(code), offset + code.shape[1]
    reach = Reach(always.to(device), torch.cat(inputs).to(device), torch.cat(units).to(device))
    everything = torch.ones(offset, dtype=torch.float64, device=device)
    return reach if bool(reach.alive(everything).all()) else None
