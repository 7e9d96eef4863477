"""What a network computes with which parameter, found by one traced forward pass (METHODS section 1)."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from torch import Tensor, nn

from bench.core.errors import UserError
from bench.models.forward_pass import ADDITIONS, ForwardPass, Use
from bench.models.neighbours import Neighbours
from bench.models.product import Product
from bench.models.products import MOVES, aten, once_for_all
from bench.models.weights import Inventory, Weight, layer_name

SOFTMAX = frozenset({aten._softmax, aten._safe_softmax})
#: What stands between the products of attention and its softmax.
SCORE_OPERATIONS = MOVES | ADDITIONS | {
    aten.mul, aten.mul_, aten.div, aten.div_, aten.masked_fill, aten.masked_fill_, aten.where,
}  # fmt: skip
#: Operations that also read the weight of a product, without an effect on what the product computes.
HARMLESS = frozenset({"bias", "detach", "alias"})
COMPLEX = "complex weight: no criterion orders complex numbers"
COMPUTED = "computed weight: a product uses what is computed from it"
MIXED = "mixed filters: a convolution uses mixtures of it, another one for each image"
LOOKED_UP = "embedding: its rows are looked up, not multiplied"
NEVER = "unused: the forward pass never reads it"


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
    >>> import torch
    >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 10))
    >>> for weight in take_inventory(net, torch.zeros(1, 1, 3, 3)).weights:
    ...     print(weight.name, weight.kind, weight.macs, weight.batchnorm)
    0 convolution 18 1
    3 matrix product 20 None
    """
    refuse_shared_memory(model)
    return _Attribution(model, example).inventory(example)


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


class _Attribution:
    """Attributes the operations of a forward pass to the parameters of the network."""

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        self._pass = ForwardPass(model, example)
        self._neighbours = Neighbours(self._pass)
        self._computed: dict[str, str] = {}
        self._kinds: dict[str, str] = {}
        self._macs: dict[str, float] = defaultdict(float)
        for (number, product), images in zip(self._pass.products.items(), self._images_of(example), strict=True):
            self._attribute(number, product, product.macs / images)
            if product.is_convolution and product.weight.source == "input":
                self._note_mixed_filters(number, product.macs / images)

    def inventory(self, example: Tensor) -> Inventory:
        """Put together what the pass showed of these images."""
        parameters = self._pass.tracer.parameters
        first = {name: number for number, name in enumerate(self._pass.uses)}
        listed = [
            name for name, p in parameters.items()
            if name in first or self._macs[f"of {name}"] or max(p.shape, default=1) < p.numel()
        ]  # fmt: skip
        listed.sort(key=lambda name: first.get(name, len(first)))
        return Inventory(
            weights=tuple(self._weight(name) for name in listed),
            parameters=sum(p.numel() for p in parameters.values()),
            macs=round(self._macs["all"]), without_weight=round(self._macs["without weight"]),
            unregistered=round(self._macs["unregistered"]), example=example,
        )  # fmt: skip

    def _attribute(self, number: int, product: Product, macs: float) -> None:
        """Attribute the MACs of a product to the parameters that are its weight, or that it is computed from."""
        weight, data = product.weight, product.data
        self._macs["all"] += macs
        if product.bias is not None:
            self._pass.note_operand(self._pass.tracer.operand(product.bias), "add")
        if product.kind == "attention" or (weight.source == "computed" and self._is_attention(number)):
            self._macs["without weight"] += macs
        elif parts := self._pass.weights_of(product):
            rest = macs
            for part in parts:
                self._macs[f"of {part.parameter}"] += macs * part.share
                rest -= macs * part.share
            self._macs["without weight"] += rest  # of constants that are joined with parameters
            self._macs["unregistered"] += rest
            self._pass.note_operand(data, product.kind)
        elif weight.source == "computed" and data.source != "constant":
            sizes = {name: self._pass.tracer.parameters[name].numel() for name in sorted(weight.parameters)}
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
        product, graph = self._pass.products[number], self._pass.graph
        made = graph.sources(graph.operand(number, product.weight))
        if product.is_convolution or not any(source in self._pass.products for source in made):
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
        products = self._pass.products.values()
        fixed = once_for_all(self._pass.model, example) if any(product.is_fixed for product in products) else []
        once = [product.is_fixed and fixed[place] for place, product in enumerate(products)]
        return [1 if one else len(example) for one in once]

    def _note_mixed_filters(self, number: int, macs: float) -> None:
        """Note the parameters that filters are mixed from which depend on the image (CondConv)."""
        source = self._pass.source(self._pass.graph.operations[number][1][1])
        mixed = [name for name, uses in self._pass.uses.items() if any(use.number == source for use in uses)]
        for name in mixed:
            self._computed[name] = MIXED
            self._macs[f"of {name}"] += macs / len(mixed)
            self._macs["without weight"] -= macs / len(mixed)

    def _weight(self, name: str) -> Weight:
        parameter, uses = self._pass.tracer.parameters[name], self._pass.uses.get(name, [])
        everywhere = self._pass.model.named_parameters(remove_duplicate=False)
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
        bias, apart = self._neighbours.bias(uses) if layout is not None else (None, False)
        return replace(
            known, evenly=all(use.is_whole(parameter) for use in uses), layout=layout, bias=bias, bias_apart=apart,
            batchnorm=self._neighbours.batchnorm(uses),
            on_attention_stream=self._neighbours.is_on_attention_stream(uses),
            pointwise_reader=self._neighbours.pointwise_reader(uses),
        )  # fmt: skip

    def _kind(self, name: str) -> str:
        if name in self._pass.uses:
            return self._pass.uses[name][0].product.kind
        others = self._pass.operands.get(name)
        return self._kinds.get(name) or (_readable(others[0]) if others else "unused")

    def _reason(self, name: str) -> str | None:
        others = self._pass.operands.get(name, [])
        if self._pass.tracer.parameters[name].is_complex():
            return COMPLEX
        if name in self._computed:
            by = f" ({_readable(others[0])})" if others else ""
            return self._computed[name] + by
        if "embedding" in others:
            return LOOKED_UP
        if name not in self._pass.uses:
            return f"not multiplied as a weight: it is an operand of {_readable(others[0])}" if others else NEVER
        if self._pass.tracer.parameters[name].dim() < 2:
            return "vector: it has a single dimension"
        others = [what for what in others if what not in HARMLESS]
        return f"second use: it is an operand of {_readable(others[0])}, too" if others else None


def _size(use: Use) -> tuple[int, ...]:
    shape = use.product.data.tensor.shape
    return tuple(shape[1:] if use.product.is_convolution else shape[-1:])


def _readable(operation: str) -> str:
    """Name an operation as a user of torch knows it: ``native_layer_norm`` -> ``layer_norm``."""
    return operation.removeprefix("native_").strip("_")
