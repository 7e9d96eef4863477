"""Which inputs the channels of a network reach, found by passes in which some channels are marked by NaN.

The output of every product is replaced by numbers, and by NaN in the marked channels. NaN passes through whatever
stands between two products, so that no rule for single operations is needed: an addition joins the channels of a
residual stage, zero-padded shortcuts move them, concatenation keeps them apart.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.models.forward_pass import BATCHNORM_OPERATIONS
from bench.models.macs import SILENT, Traced
from bench.models.products import product_kind, traceable
from bench.models.reach import LARGEST_OUTPUT, unit_codes
from bench.models.unit_space import UnitSpace

#: Why the channels of a layer belong to no group.
UNTRACED = "not followed: its outputs cannot be followed to the layers that read them"
MIXED = "mixed channels: what reads them combines several channels before the next layer, as LayerNorm does"
READ_WHOLE = "read as a whole: its channels are read by a product of activations, or are outputs of the network"


@dataclass
class Marked:
    """What marked channels reach.

    Attributes
    ----------
    edges : list of (int, int)
        A channel (its place among all) and an input that it reaches: of a product, or of a BatchNorm. The inputs of all
        products are numbered in order, then those of every call of a BatchNorm.
    inputs : list of slice
        For each watched product in order, the numbers of its inputs.
    normalised : list of (tuple of str, slice)
        For each call of a BatchNorm the paths of its parameters, and the numbers of its inputs.
    fixed : dict of int to str
        Layer number -> why its channels belong to no group.
    stays : Tensor
        Boolean: inputs that depend on what has no units.
    """

    edges: list[tuple[int, int]] = field(default_factory=list)
    inputs: list[slice] = field(default_factory=list)
    normalised: list[tuple[tuple[str, ...], slice]] = field(default_factory=list)
    fixed: dict[int, str] = field(default_factory=dict)
    stays: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))


def mark_channels(model: nn.Module, channels: UnitSpace, traced: Sequence[Traced], image: Tensor) -> Marked | None:
    """Run copies of an image with marked channels, and find what they reach.

    Parameters
    ----------
    model : nn.Module
        In eval mode; left as it is.
    channels : UnitSpace
        Units of granularity ``channel``.
    traced : sequence of Traced
        Every product of a pass over two images, in order.
    image : Tensor
        Shape ``(1, channels, height, width)``, on the model's device.

    Returns
    -------
    Marked or None
        None where the products cannot be followed.
    """
    dynamic = [one for one in traced if is_dynamic(one)]
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
    vectors = _batchnorm_parameters(model)
    step = max(1, 2 * LARGEST_OUTPUT // max(one.product.output.numel() for one in traced))
    parts = []
    for at in torch.split(torch.arange(copies), step):
        own = [mark[at].to(image.device) for mark in marks]
        mode = _Marking(traced, layers, own, rest[at].to(image.device), vectors)
        with traceable(model), mode:
            output = model(image.expand(len(at), *image.shape[1:]))
        if not mode.as_traced or not isinstance(output, Tensor):
            return None
        mode.wholes |= output.isnan().reshape(len(at), -1).any(dim=1)
        inputs = [*mode.reached, *(marked for _, marked in mode.normalised)]
        parts.append((torch.cat(inputs, dim=1).cpu(), mode.wholes.cpu()))
    reached, wholes = (torch.cat([part[which] for part in parts]) for which in (0, 1))
    if bool(reached[0].any()) or bool(wholes[0]):
        return None
    found = _decode(channels, codes, reached, wholes, irregular)
    start = 0
    for size in (one.shape[1] for one in mode.reached):
        found.inputs.append(slice(start, start + size))
        start += size
    for names, marked in mode.normalised:
        found.normalised.append((names, slice(start, start + marked.shape[1])))
        start += marked.shape[1]
    return found


def is_dynamic(one: Traced) -> bool:
    """Whether a product depends on the images."""
    return not one.product.is_fixed


def _batchnorm_parameters(model: nn.Module) -> dict[int, tuple[str, ...]]:
    """Return the paths of the parameters of every BatchNorm, by the id of its weight."""
    return {
        id(module.weight): tuple(f"{name}.{own}".lstrip(".") for own, _ in module.named_parameters(recurse=False))
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.weight is not None
    }


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


class _Marking(TorchDispatchMode):
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
    vectors : mapping of int to tuple of str
        Id of the weight of a BatchNorm -> paths of its parameters.

    Attributes
    ----------
    reached : list of Tensor
        For each watched product the inputs that are marked, boolean, shape ``(copies, inputs)``.
    normalised : list of (tuple of str, Tensor)
        Likewise for each call of a BatchNorm, after the paths of its parameters.
    wholes : Tensor
        Whether a product of activations reads what is marked in a copy, boolean, shape ``(copies,)``.
    as_traced : bool
        Whether the products were those of the traced pass.
    """

    def __init__(
        self, traced: Sequence[Traced], layers: Mapping[str, int], marks: Sequence[Tensor], rest: Tensor,
        vectors: Mapping[int, tuple[str, ...]],
    ) -> None:  # fmt: skip
        super().__init__()  # type: ignore[no-untyped-call]
        self._traced, self._layers, self._marks, self._rest = list(traced), layers, marks, rest
        self._vectors = vectors
        self._next, self._fits = 0, True
        self.normalised: list[tuple[tuple[str, ...], Tensor]] = []
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
            if operation in BATCHNORM_OPERATIONS and id(args[1]) in self._vectors:
                self._note_normalised(args[0], self._vectors[id(args[1])])
            marked = args[0].isnan() if operation in SILENT else None
            result = func(*args, **(kwargs or {}))
            return result if marked is None else result.masked_fill_(marked, torch.nan)
        expected = self._traced[self._next] if self._next < len(self._traced) else None
        self._next += 1
        if expected is None or expected.operation is not operation:
            self._fits = False
            return func(*args, **(kwargs or {}))
        if not is_dynamic(expected):
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

    def _note_normalised(self, x: Tensor, names: tuple[str, ...]) -> None:
        """Note the marked channels that a BatchNorm normalises."""
        copies = len(self._rest)
        if len(x) % copies:
            self._fits = False
            return
        marked = x.isnan().reshape(copies, -1, *x.shape[1:]).any(dim=1)
        self.normalised.append((names, marked.flatten(2).any(dim=2) if marked.dim() > 2 else marked))

    def _output(self, expected: Traced) -> Tensor:
        product, copies = expected.product, len(self._rest)
        one = product.output[: len(product.output) // 2]
        noise = 0.5 + torch.rand(one.shape, generator=torch.Generator().manual_seed(0)).to(one)
        numbers = [self._layers[name] for name in product.weight.parameters if name in self._layers]
        if expected.watched and numbers:
            axis = 1 if product.is_convolution else one.dim() - 1
            marked = self._marks[numbers[0]].view(copies, *[-1 if place == axis else 1 for place in range(one.dim())])
        else:
            marked = self._rest.view(copies, *[1] * one.dim())
        return noise.expand(copies, *one.shape).masked_fill(marked, torch.nan).flatten(0, 1)


def _decode(
    channels: UnitSpace, codes: Sequence[Tensor], reached: Tensor, wholes: Tensor, irregular: set[int]
) -> Marked:
    """Recognise the channels by the copies in which an input is marked, boolean, shape ``(copies, inputs)``."""
    found = Marked(stays=reached[1], fixed=dict.fromkeys(sorted(irregular), UNTRACED))
    first, offset = 2, 0
    for number, (code, layer) in enumerate(zip(codes, channels.layers, strict=True)):
        own = slice(first, first + len(code))
        powers = 2 ** torch.arange(len(code)).unsqueeze(1)
        by_code = torch.full((2 ** len(code),), -1)
        by_code[(code.long() * powers).sum(dim=0)] = torch.arange(layer.size)
        patterns = (reached[own] * powers).sum(dim=0)
        at = patterns.nonzero().flatten()
        units = by_code[patterns[at]]
        if bool(wholes[own].any()) or not len(at):
            found.fixed.setdefault(number, READ_WHOLE)
        elif bool((units < 0).any()):
            found.fixed.setdefault(number, MIXED)
        # which of its channels reach the other inputs is not known, but none is removed
        found.edges += [(offset + max(u, 0), j) for u, j in zip(units.tolist(), at.tolist(), strict=True)]
        first, offset = first + len(code), offset + layer.size
    return found
