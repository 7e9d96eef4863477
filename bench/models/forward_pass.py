"""One traced forward pass: its operations, its products, and which parameter is the weight of which product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from bench.models.graph import Graph
from bench.models.product import Operand, Product
from bench.models.products import MOVES, Products, aten, product_kind, traceable
from bench.models.weight_parts import WeightPart, weight_parts

BATCHNORM_OPERATIONS = frozenset({aten.native_batch_norm, aten.cudnn_batch_norm, aten.miopen_batch_norm})
ADDITIONS = frozenset({aten.add, aten.add_})
LOOKUPS = frozenset({aten.embedding, aten._embedding_bag, aten.embedding_bag})


@dataclass(frozen=True)
class Use:
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


class ForwardPass:
    """Runs a network once and keeps what happened.

    Parameters
    ----------
    model : nn.Module
        Run in eval mode without gradients; left as it is.
    example : Tensor
        One or a few images, shape ``(n, channels, height, width)``, on the model's device.

    Attributes
    ----------
    graph : Graph
        All operations in order.
    products : dict of int to Product
        Number of an operation that is a product -> the product.
    uses : dict of str to list of Use
        Parameter -> the products whose weight it is, or is part of.
    operands : dict of str to list of str
        Parameter -> other operations that read it.
    tracer : Products
        Knows where every tensor of the pass comes from.
    """

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        self.model = model
        self.graph = Graph()
        self.products: dict[int, Product] = {}
        self.operands: dict[str, list[str]] = {}
        with traceable(model), Products(model, self._see, self._follow) as self.tracer:
            model(example)
        self.uses: dict[str, list[Use]] = {}
        for number, product in self.products.items():
            for part in self.weights_of(product):
                self.uses.setdefault(part.parameter, []).append(Use(number, product, part))

    def _follow(self, operation: Any, arguments: list[Tensor], results: list[Tensor]) -> None:
        self.graph.add(operation, arguments, results)
        kind = product_kind(operation)
        if operation in MOVES or kind in ("convolution", "matrix product"):
            return
        what = kind or ("embedding" if operation in LOOKUPS else operation.__name__)
        for operand in map(self.tracer.operand, arguments):
            self.note_operand(operand, what)

    def _see(self, product: Product) -> None:
        self.products[len(self.graph.operations) - 1] = product

    def note_operand(self, operand: Operand, what: str) -> None:
        """Note that an operation reads parameters as something else than its weight."""
        if operand.source == "parameter":
            for name in operand.parameters:
                self.operands.setdefault(name, []).append(what)

    def weights_of(self, product: Product) -> list[WeightPart]:
        """Return the parameters that the weight of a product consists of; empty if it is no parameter."""
        weight = product.weight
        if product.kind == "attention" or weight.source != "parameter":
            return []
        if weight.tensor.dim() < 2 or min(weight.tensor.shape[-2:]) == 0:
            return []
        return weight_parts(self.tracer, product)

    def source(self, tensor: int) -> int | None:
        """Return the number of the one product that a tensor comes from, None if several tensors were combined."""
        while tensor in self.graph.made_by:
            number = self.graph.made_by[tensor]
            if number in self.products:
                return number
            dynamic = [id(t) for t in self.graph.arguments(number) if self.tracer.depends_on_images(t)]
            if len(set(dynamic)) != 1 or dynamic[0] == tensor:
                return None
            tensor = dynamic[0]
        return None

    def output(self, use: Use) -> int:
        """Id of a product's output, in the shape in which the network goes on with it."""
        return self.graph.whole(self.graph.operations[use.number][2][0])
