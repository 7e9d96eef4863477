"""What a network computes with which parameter, found by one traced forward pass (METHODS section 1)."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.errors import UserError
from bench.models.graph import VIEWS, Graph
from bench.models.products import MOVES, Operand, Product, Products, aten, once_for_all, product_kind, traceable
from bench.models.tensors import BiasPart, Layout
from bench.models.weight_parts import WeightPart, weight_parts

BATCHNORM_OPERATIONS = frozenset({aten.native_batch_norm, aten.cudnn_batch_norm, aten.miopen_batch_norm})
ADDITIONS = frozenset({aten.add, aten.add_})
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
SOFTMAX = frozenset({aten._softmax, aten._safe_softmax})
#: What stands between the products of attention and its softmax.
SCORE_OPERATIONS = MOVES | ADDITIONS | {
    aten.mul, aten.mul_, aten.div, aten.div_, aten.masked_fill, aten.masked_fill_, aten.where,
}  # fmt: skip
LOOKUPS = frozenset({aten.embedding, aten._embedding_bag, aten.embedding_bag})
#: Operations that also read the weight of a product, without an effect on what the product computes.
HARMLESS = frozenset({"bias", "detach", "alias"})
COMPLEX = "complex weight: no criterion orders complex numbers"
COMPUTED = "computed weight: a product uses what is computed from it"
MIXED = "mixed filters: a convolution uses mixtures of it, another one for each image"
LOOKED_UP = "embedding: its rows are looked up, not multiplied"
NEVER = "unused: the forward pass never reads it"


@dataclass(frozen=True)
class Weight:
    """A parameter that is more than a vector, or that a product multiplies.

    Attributes
    ----------
    name : str
        Of the layer: the module's path where the parameter is its ``weight``, else the parameter's own path.
    parameter : str
        Path of the parameter; of tied ones the first.
    aliases : tuple of str
        Paths of the same parameter elsewhere.
    kind : str
        ``convolution``, ``transposed convolution``, ``matrix product``, or what it is used for.
    shape : tuple of int
        Of the parameter.
    calls : int
        Products of one forward pass that it is the weight of.
    sizes : tuple of tuple of int
        Shapes of the data that it multiplies, without the images.
    macs : int
        Multiply-accumulate operations of these products for one image, or of those with a weight computed from it.
    reason : str or None
        Why it is not prunable; None if it is.
    evenly : bool
        Whether every product multiplies all of its values equally often.
    layout : Layout or None
        Where output and input channels stand in it; None if the uses do not agree or it is not prunable.
    bias : tuple of BiasPart or None
        What is added to the outputs; None if it is not a parameter whose places are known.
    bias_apart : bool
        Whether the bias is added by an operation of its own.
    batchnorm : str or None
        The directly following BatchNorm.
    on_attention_stream : bool
        Whether its output is part of a residual stream to which attention is added.
    pointwise_reader : str or None
        Of a layer whose outputs reach one other layer alone, channel by channel: that layer.
    """

    name: str
    parameter: str
    aliases: tuple[str, ...]
    kind: str
    shape: tuple[int, ...]
    calls: int = 0
    sizes: tuple[tuple[int, ...], ...] = ()
    macs: int = 0
    reason: str | None = None
    evenly: bool = True
    layout: Layout | None = None
    bias: tuple[BiasPart, ...] | None = ()
    bias_apart: bool = False
    batchnorm: str | None = None
    on_attention_stream: bool = False
    pointwise_reader: str | None = None

    @property
    def is_convolution(self) -> bool:
        """Whether it holds filters."""
        return "convolution" in self.kind


@dataclass(frozen=True)
class Inventory:
    """The parameters of a network and the products of its forward pass.

    Attributes
    ----------
    weights : tuple of Weight
        In the order of their first product, then those that no product uses.
    parameters : int
        Size of the network; tied parameters count once.
    macs : int
        Multiply-accumulate operations of all products for one image.
    without_weight : int
        Those of products whose weight is neither a parameter nor computed from some: of activations alone, as attention
        scores, or with filters that depend on the image.
    unregistered : int
        Of these, products of what depends on the image with a fixed tensor that is no parameter, as a blur filter.
    """

    weights: tuple[Weight, ...]
    parameters: int
    macs: int
    without_weight: int
    unregistered: int = 0

    @property
    def prunable(self) -> tuple[Weight, ...]:
        """The prunable weights in forward order."""
        return tuple(weight for weight in self.weights if weight.reason is None)


@dataclass(frozen=True)
class _Use:
    """A parameter as the weight of one product, the operation of that number."""

    number: int
    product: Product
    part: WeightPart

    @property
    def is_all(self) -> bool:
        """Whether the parameter makes all output channels of the product."""
        return bool(self.product.channels == self.part.columns.stop - self.part.columns.start)

    def is_whole(self, parameter: Tensor) -> bool:
        """Whether the product multiplies every value of the parameter equally often."""
        weight = self.product.weight.tensor
        size = weight[0].numel() if weight.dim() == 3 and self.product.is_expanded else weight.numel()
        return self.part.share == 1 and size == parameter.numel()


def layer_name(parameter: str) -> str:
    """Return the name of the layer that a parameter is the weight of.

    Examples
    --------
    >>> layer_name("blocks.0.attn.qkv.weight"), layer_name("blocks.0.attn.in_proj_weight"), layer_name("weight")
    ('blocks.0.attn.qkv', 'blocks.0.attn.in_proj_weight', 'weight')
    """
    return parameter.removesuffix(".weight")


def take_inventory(model: nn.Module, example: Tensor) -> Inventory:
    """Trace one forward pass.

    Parameters
    ----------
    model : nn.Module
        Run in eval mode without gradients; left as it is.
    example : Tensor
        One or a few images, shape ``(n, channels, height, width)``, on the model's device.

    Raises
    ------
    UserError
        If two parameters share memory without being one parameter.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 10))
    >>> for weight in take_inventory(net, torch.zeros(1, 1, 3, 3)).weights:
    ...     print(weight.name, weight.kind, weight.macs, weight.batchnorm)
    0 convolution 18 1
    3 matrix product 20 None
    """
    refuse_shared_memory(model)
    return _Trace(model, example).inventory()


def refuse_shared_memory(model: nn.Module) -> None:
    """Refuse parameters that share memory without being one: a copy of the model would not share it.

    Raises
    ------
    UserError
        Naming two of them.
    """
    seen: dict[int, str] = {}
    for name, parameter in model.named_parameters():
        other = seen.setdefault(parameter.untyped_storage()._cdata, name)
        if other != name and parameter.numel():
            raise UserError(
                f"{type(model).__name__}: the parameters {other} and {name} share memory but are two parameters, so a "
                f"copy of the model would not share it; tie them by assigning the same nn.Parameter to both"
            )


class _Trace:
    """One traced forward pass, and what follows from it."""

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        self._model = model
        self._graph = Graph()
        self._products: dict[int, Product] = {}
        self._uses: dict[str, list[_Use]] = {}
        self._computed: dict[str, str] = {}
        self._kinds: dict[str, str] = {}
        self._other: dict[str, list[str]] = {}
        self._macs: dict[str, float] = defaultdict(float)
        with traceable(model), Products(model, self._see, self._follow) as self._tracer:
            model(example)
        self._batchnorms = self._find_batchnorms()
        for (number, product), images in zip(self._products.items(), self._images_of(example), strict=True):
            self._attribute(number, product, product.macs / images)
            if product.is_convolution and product.weight.source == "input":
                self._note_mixed_filters(number, product.macs / images)

    # ---------------------------------------------------------------- during the pass

    def _follow(self, operation: Any, arguments: list[Tensor], results: list[Tensor]) -> None:
        self._graph.add(operation, arguments, results)
        kind = product_kind(operation)
        if operation in MOVES or kind in ("convolution", "matrix product"):
            return
        what = kind or ("embedding" if operation in LOOKUPS else operation.__name__)
        for operand in map(self._tracer.operand, arguments):
            self._note_operand(operand, what)

    def _see(self, product: Product) -> None:
        self._products[len(self._graph.operations) - 1] = product

    def _note_operand(self, operand: Operand, what: str) -> None:
        if operand.source == "parameter":
            for name in operand.parameters:
                self._other.setdefault(name, []).append(what)

    # ---------------------------------------------------------------- after it

    def inventory(self) -> Inventory:
        """Put together what the pass showed."""
        parameters = self._tracer.parameters
        first = {name: number for number, name in enumerate(self._uses)}
        listed = [
            name for name, p in parameters.items()
            if name in first or self._macs[f"of {name}"] or max(p.shape, default=1) < p.numel()
        ]  # fmt: skip
        listed.sort(key=lambda name: first.get(name, len(first)))
        return Inventory(
            weights=tuple(self._weight(name) for name in listed),
            parameters=sum(p.numel() for p in parameters.values()),
            macs=round(self._macs["all"]), without_weight=round(self._macs["without weight"]),
            unregistered=round(self._macs["unregistered"]),
        )  # fmt: skip

    def _attribute(self, number: int, product: Product, macs: float) -> None:
        """Attribute the MACs of a product to the parameters that are its weight, or that it is computed from."""
        weight, data = product.weight, product.data
        self._macs["all"] += macs
        if product.bias is not None:
            self._note_operand(self._tracer.operand(product.bias), "add")
        if product.kind == "attention" or (weight.source == "computed" and self._is_attention(number)):
            self._macs["without weight"] += macs
        elif weight.source == "parameter" and weight.tensor.dim() > 1 and min(weight.tensor.shape[-2:]) > 0:
            rest = macs
            for part in weight_parts(self._tracer, product):
                self._uses.setdefault(part.parameter, []).append(_Use(number, product, part))
                self._macs[f"of {part.parameter}"] += macs * part.share
                rest -= macs * part.share
            self._macs["without weight"] += rest  # of constants that are joined with parameters
            self._macs["unregistered"] += rest
            self._note_operand(data, product.kind)
        elif weight.source == "computed" and data.source != "constant":
            sizes = {name: self._tracer.parameters[name].numel() for name in sorted(weight.parameters)}
            largest = max(sizes, key=lambda name: sizes[name])
            self._computed.update(dict.fromkeys(sizes, COMPUTED))
            self._kinds[largest] = product.kind
            self._macs[f"of {largest}"] += macs
        else:
            self._macs["without weight"] += macs
            if weight.source == "constant" and data.source == "input":
                self._macs["unregistered"] += macs

    def _is_attention(self, number: int) -> bool:
        """Whether a product with what another product made of parameters is attention, as of learned queries."""
        product, graph = self._products[number], self._graph
        made = graph.sources(graph.operand(number, product.weight))
        if product.is_convolution or not any(source in self._products for source in made):
            return False
        if graph.reaches(graph.operations[number][2][0], SCORE_OPERATIONS, SOFTMAX):
            return True
        for source in graph.sources(graph.operand(number, product.data)):
            operation = graph.operations[source][0]
            if operation not in SCORE_OPERATIONS:
                return operation in SOFTMAX
        return False

    def _images_of(self, example: Tensor) -> list[int]:
        """Return for how many images each product is computed."""
        products = self._products.values()
        fixed = once_for_all(self._model, example) if any(product.is_fixed for product in products) else []
        once = [product.is_fixed and fixed[place] for place, product in enumerate(products)]
        return [1 if one else len(example) for one in once]

    def _note_mixed_filters(self, number: int, macs: float) -> None:
        """Note the parameters that filters are mixed from which depend on the image (CondConv)."""
        source = self._source(self._graph.operations[number][1][1])
        mixed = [name for name, uses in self._uses.items() if any(use.number == source for use in uses)]
        for name in mixed:
            self._computed[name] = MIXED
            self._macs[f"of {name}"] += macs / len(mixed)
            self._macs["without weight"] -= macs / len(mixed)

    def _weight(self, name: str) -> Weight:
        parameter, uses = self._tracer.parameters[name], self._uses.get(name, [])
        everywhere = self._model.named_parameters(remove_duplicate=False)
        reason = self._reason(name)
        known = Weight(
            layer_name(name), name, tuple(other for other, p in everywhere if p is parameter and other != name),
            self._kind(name),
            tuple(parameter.shape), len(uses), tuple(dict.fromkeys(_size(use) for use in uses)),
            round(self._macs[f"of {name}"]), reason,
        )  # fmt: skip
        if reason is not None:
            return known
        layouts = {use.part.layout for use in uses}
        layout = layouts.pop() if len(layouts) == 1 else None
        bias, apart = self._bias(uses) if layout is not None else (None, False)
        return replace(
            known, evenly=all(use.is_whole(parameter) for use in uses), layout=layout, bias=bias, bias_apart=apart,
            batchnorm=self._batchnorm(uses),
            on_attention_stream=self._is_on_attention_stream(uses), pointwise_reader=self._pointwise_reader(uses),
        )  # fmt: skip

    def _kind(self, name: str) -> str:
        if name in self._uses:
            return self._uses[name][0].product.kind
        others = self._other.get(name)
        return self._kinds.get(name) or (_readable(others[0]) if others else "unused")

    def _reason(self, name: str) -> str | None:
        others = self._other.get(name, [])
        if self._tracer.parameters[name].is_complex():
            return COMPLEX
        if name in self._computed:
            by = f" ({_readable(others[0])})" if others else ""
            return self._computed[name] + by
        if "embedding" in others:
            return LOOKED_UP
        if name not in self._uses:
            return f"not multiplied as a weight: it is an operand of {_readable(others[0])}" if others else NEVER
        if self._tracer.parameters[name].dim() < 2:
            return "vector: it has a single dimension"
        others = [what for what in others if what not in HARMLESS]
        return f"second use: it is an operand of {_readable(others[0])}, too" if others else None

    def _bias(self, uses: list[_Use]) -> tuple[tuple[BiasPart, ...] | None, bool]:
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

    def _added(self, use: _Use) -> Tensor | None:
        """Return the vector that alone is added to a product's outputs, if it does not depend on the images."""
        readers = self._graph.readers.get(self._output(use), [])
        if len(readers) != 1 or self._graph.operations[readers[0]][0] not in ADDITIONS:
            return None
        for tensor in self._graph.arguments(readers[0]):
            axis = 1 if use.product.is_convolution else -1
            is_vector = tensor.dim() < 2 or tensor.shape[axis] == tensor.numel()
            if is_vector and tensor.numel() == use.product.channels and not self._tracer.depends_on_images(tensor):
                return tensor
        return None

    def _bias_parts(self, bias: Tensor, weight: WeightPart) -> tuple[BiasPart, ...] | None:
        """Cut a bias into runs of parameters; None where it is something else."""
        operand = self._tracer.operand(bias)
        rest = bias.reshape(-1)[weight.columns].clone()
        parts = []
        for name, places in self._tracer.places(operand).items() if operand.source == "parameter" else ():
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

    def _output(self, use: _Use) -> int:
        """Id of a product's output, in the shape in which the network goes on with it."""
        return self._graph.whole(self._graph.operations[use.number][2][0])

    def _find_batchnorms(self) -> dict[int, str]:
        """Name the module of every normalising operation whose module is called once."""
        modules = {}
        for name, module in self._model.named_modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                for tensor in (module.weight, module.bias, module.running_mean):
                    if tensor is not None:
                        modules[id(tensor)] = name
        found = {}
        for number, (operation, arguments, _) in enumerate(self._graph.operations):
            if operation in BATCHNORM_OPERATIONS:
                names = {modules[one] for one in arguments if one in modules}
                if len(names) == 1:
                    found[number] = names.pop()
        calls = Counter(found.values())
        return {number: name for number, name in found.items() if calls[name] == 1}

    def _batchnorm(self, uses: list[_Use]) -> str | None:
        """Name the BatchNorm that reads the output of the layer's only call, and nothing else reads."""
        if len(uses) != 1 or not uses[0].is_all:
            return None
        output = self._output(uses[0])
        readers = self._graph.readers.get(output, [])
        if len(readers) != 1 or self._graph.operations[readers[0]][1][0] != output:
            return None
        return self._batchnorms.get(readers[0])

    def _source(self, tensor: int) -> int | None:
        """Return the number of the one product that a tensor comes from, None if several tensors were combined."""
        while tensor in self._graph.made_by:
            number = self._graph.made_by[tensor]
            if number in self._products:
                return number
            dynamic = [id(t) for t in self._graph.arguments(number) if self._tracer.depends_on_images(t)]
            if len(set(dynamic)) != 1 or dynamic[0] == tensor:
                return None
            tensor = dynamic[0]
        return None

    @cached_property
    def _attention_additions(self) -> frozenset[int]:
        """Residual additions one of whose terms is a projection of attention."""
        found = set()
        for number, (operation, arguments, _) in enumerate(self._graph.operations):
            if operation in ADDITIONS and all(map(self._tracer.depends_on_images, self._graph.arguments(number))):
                for source in filter(None, map(self._source, arguments)):
                    data = self._graph.operand(source, self._products[source].data)
                    attended = self._source(data) if self._products[source].weight.source == "parameter" else None
                    if attended is not None and self._products[attended].is_attention:
                        found.add(number)
        return frozenset(found)

    def _is_on_attention_stream(self, uses: list[_Use]) -> bool:
        """Whether the outputs reach an addition of attention by operations that keep channels apart."""
        ahead, met = [self._graph.operations[use.number][2][0] for use in uses], set()
        while ahead:
            for number in self._graph.readers.get(ahead.pop(), []):
                if number in self._attention_additions:
                    return True
                if number not in met and self._graph.operations[number][0] in KEEPS_CHANNELS:
                    met.add(number)
                    ahead.extend(self._graph.operations[number][2])
        return False

    def _pointwise_reader(self, uses: list[_Use]) -> str | None:
        """Parameter of the one layer that reads the outputs of a layer, each through functions of that value alone."""
        if len(uses) != 1 or uses[0].product.is_convolution or not uses[0].is_all:
            return None
        tensor = self._graph.operations[uses[0].number][2][0]
        while True:
            readers = self._graph.readers.get(tensor, [])
            if len(readers) != 1:
                return None
            operation, _, results = self._graph.operations[readers[0]]
            if readers[0] in self._products:
                reader = self._products[readers[0]]
                readable = not reader.is_convolution and reader.data.source == "input"
                names = [
                    name for name, at in self._uses.items()
                    if [use.number for use in at] == [readers[0]] and at[0].is_all
                ]  # fmt: skip
                fits = reader.weight.tensor.shape[-2] == uses[0].product.channels
                return names[0] if readable and fits and len(names) == 1 else None
            dynamic = [id(t) for t in self._graph.arguments(readers[0]) if self._tracer.depends_on_images(t)]
            if operation not in ELEMENTWISE or dynamic != [tensor] or len(results) != 1:
                return None
            (tensor,) = results


def _size(use: _Use) -> tuple[int, ...]:
    shape = use.product.data.tensor.shape
    return tuple(shape[1:] if use.product.is_convolution else shape[-1:])


def _readable(operation: str) -> str:
    """Name an operation as a user of torch knows it: ``native_layer_norm`` -> ``layer_norm``."""
    return operation.removeprefix("native_").strip("_")
