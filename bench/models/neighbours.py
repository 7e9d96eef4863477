"""What stands next to a weight in the forward pass: its bias, its BatchNorm, and the layer that reads its outputs."""

from __future__ import annotations

from collections import Counter
from functools import cached_property

import torch
from torch import Tensor, nn

from bench.models.forward_pass import ADDITIONS, BATCHNORM_OPERATIONS, ForwardPass, Use
from bench.models.graph import VIEWS
from bench.models.products import MOVES, aten
from bench.models.unit_space import BiasPart
from bench.models.weight_parts import WeightPart

#: Operations whose result has the channels of their argument, none mixed with another.
KEEPS_CHANNELS = MOVES | ADDITIONS | BATCHNORM_OPERATIONS | {
    aten.mul, aten.mul_, aten.native_layer_norm, aten.native_group_norm,
}  # fmt: skip
#: Operations that compute every value from the one at its place.
ELEMENTWISE = VIEWS | ADDITIONS | {
    aten.clone,
    aten.relu, aten.relu_, aten.gelu, aten.silu, aten.silu_, aten.hardswish, aten.hardswish_, aten.hardsigmoid,
    aten.hardsigmoid_, aten.sigmoid, aten.sigmoid_, aten.tanh, aten.tanh_, aten.elu, aten.elu_, aten.leaky_relu,
    aten.leaky_relu_, aten.hardtanh, aten.hardtanh_, aten.mish, aten.mish_, aten.softplus, aten.mul, aten.mul_,
    *BATCHNORM_OPERATIONS,
}  # fmt: skip


class Neighbours:
    """Finds what stands next to a weight.

    Parameters
    ----------
    forward_pass : ForwardPass
        The traced pass.
    """

    def __init__(self, forward_pass: ForwardPass) -> None:
        self._pass = forward_pass
        self._batchnorms = self._find_batchnorms()

    def bias(self, uses: list[Use]) -> tuple[tuple[BiasPart, ...] | None, bool]:
        """Find what is added to the outputs: by the product itself, or by the one operation that reads them.

        Tied weights may have a bias at each place.
        """
        found: dict[tuple[BiasPart, ...], None] = {}
        apart = set()
        for use in uses:
            own = use.product.bias
            bias = own if own is not None else self._added(use)
            parts: tuple[BiasPart, ...] | None = () if bias is None else self._bias_parts(bias, use.part)
            if parts is None:
                return None, False
            found[parts] = None
            apart.add(bias is not None and own is None)
        blocks = {use.part.channels.start for use in uses}
        if len(apart) > 1 or (True in apart and len(found) > len(blocks)):
            return None, False
        return tuple(sorted((part for parts in found for part in parts), key=lambda part: part.start)), apart.pop()

    def _added(self, use: Use) -> Tensor | None:
        """Return the vector that alone is added to a product's outputs, if it does not depend on the images."""
        readers = self._pass.graph.readers.get(self._pass.output(use), [])
        if len(readers) != 1 or self._pass.graph.operations[readers[0]][0] not in ADDITIONS:
            return None
        for tensor in self._pass.graph.arguments(readers[0]):
            axis = 1 if use.product.is_convolution else -1
            is_vector = tensor.dim() < 2 or tensor.shape[axis] == tensor.numel()
            if is_vector and tensor.numel() == use.product.channels and not self._pass.tracer.depends_on_images(tensor):
                return tensor
        return None

    def _bias_parts(self, bias: Tensor, weight: WeightPart) -> tuple[BiasPart, ...] | None:
        """Cut a bias into runs of parameters; None where it is something else."""
        operand = self._pass.tracer.operand(bias)
        rest = bias.reshape(-1)[weight.columns].clone()
        parts = []
        for name, places in self._pass.tracer.places(operand).items() if operand.source == "parameter" else ():
            places = places.reshape(-1)[weight.columns]
            at = (places >= 0).nonzero().flatten()
            if not len(at):
                continue
            steps = torch.arange(len(at), device=at.device)
            if not (torch.equal(at, steps + at[0]) and torch.equal(places[at], steps + places[at[0]])):
                return None
            start = weight.channels.start + int(at[0])
            parts.append(BiasPart(name, start, start + len(at), int(places[at[0]])))
            rest[at] = 0
        return None if bool(rest.any()) else tuple(sorted(parts, key=lambda part: part.start))

    def _find_batchnorms(self) -> dict[int, str]:
        """Name the module of every normalising operation whose module is called once."""
        modules = {}
        for name, module in self._pass.model.named_modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                for tensor in (module.weight, module.bias, module.running_mean):
                    if tensor is not None:
                        modules[id(tensor)] = name
        found = {}
        for number, (operation, arguments, _) in enumerate(self._pass.graph.operations):
            if operation in BATCHNORM_OPERATIONS:
                names = {modules[one] for one in arguments if one in modules}
                if len(names) == 1:
                    found[number] = names.pop()
        calls = Counter(found.values())
        return {number: name for number, name in found.items() if calls[name] == 1}

    def batchnorm(self, uses: list[Use]) -> str | None:
        """Name the BatchNorm that reads the output of the layer's only call, and nothing else reads."""
        if len(uses) != 1 or not uses[0].is_all:
            return None
        output = self._pass.output(uses[0])
        readers = self._pass.graph.readers.get(output, [])
        if len(readers) != 1 or self._pass.graph.operations[readers[0]][1][0] != output:
            return None
        return self._batchnorms.get(readers[0])

    @cached_property
    def _attention_additions(self) -> frozenset[int]:
        """Residual additions one of whose terms is a projection of attention."""
        found = set()
        for number, (operation, arguments, _) in enumerate(self._pass.graph.operations):
            if operation in ADDITIONS and all(
                map(self._pass.tracer.depends_on_images, self._pass.graph.arguments(number))
            ):
                for source in filter(None, map(self._pass.source, arguments)):
                    data = self._pass.graph.operand(source, self._pass.products[source].data)
                    attended = (
                        self._pass.source(data) if self._pass.products[source].weight.source == "parameter" else None
                    )
                    if attended is not None and self._pass.products[attended].is_attention:
                        found.add(number)
        return frozenset(found)

    def is_on_attention_stream(self, uses: list[Use]) -> bool:
        """Whether the outputs reach an addition of attention by operations that keep channels apart."""
        ahead, met = [self._pass.graph.operations[use.number][2][0] for use in uses], set()
        while ahead:
            for number in self._pass.graph.readers.get(ahead.pop(), []):
                if number in self._attention_additions:
                    return True
                if number not in met and self._pass.graph.operations[number][0] in KEEPS_CHANNELS:
                    met.add(number)
                    ahead.extend(self._pass.graph.operations[number][2])
        return False

    def pointwise_reader(self, uses: list[Use]) -> str | None:
        """Parameter of the one layer that reads the outputs of a layer, each through functions of that value alone."""
        if len(uses) != 1 or uses[0].product.is_convolution or not uses[0].is_all:
            return None
        tensor = self._pass.graph.operations[uses[0].number][2][0]
        while True:
            readers = self._pass.graph.readers.get(tensor, [])
            if len(readers) != 1:
                return None
            operation, _, results = self._pass.graph.operations[readers[0]]
            if readers[0] in self._pass.products:
                reader = self._pass.products[readers[0]]
                readable = not reader.is_convolution and reader.data.source == "input"
                names = [
                    name for name, at in self._pass.uses.items()
                    if [use.number for use in at] == [readers[0]] and at[0].is_all
                ]  # fmt: skip
                fits = reader.weight.tensor.shape[-2] == uses[0].product.channels
                return names[0] if readable and fits and len(names) == 1 else None
            dynamic = [id(t) for t in self._pass.graph.arguments(readers[0]) if self._pass.tracer.depends_on_images(t)]
            if operation not in ELEMENTWISE or dynamic != [tensor] or len(results) != 1:
                return None
            (tensor,) = results
