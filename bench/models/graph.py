"""The operations of one traced forward pass, as a graph between its tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from bench.models.product import Operand
from bench.models.products import aten

#: Operations whose result is their argument in another shape.
VIEWS = frozenset({aten.view, aten._unsafe_view, aten.alias, aten.detach})


@dataclass
class Graph:
    """The operations of one forward pass; its tensors are kept alive, so that their ids stay unique.

    Attributes
    ----------
    tensors : dict of int to Tensor
        By id.
    operations : list of (operation, arguments, results)
        In order, with the ids of the tensors that each reads and returns.
    readers : dict of int to list of int
        Id of a tensor -> numbers of the operations that read it.
    made_by : dict of int to int
        Id of a tensor -> number of the operation that returned it first.
    """

    tensors: dict[int, Tensor] = field(default_factory=dict)
    operations: list[tuple[Any, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    readers: dict[int, list[int]] = field(default_factory=dict)
    made_by: dict[int, int] = field(default_factory=dict)

    def add(self, operation: Any, arguments: Sequence[Tensor], results: Sequence[Tensor]) -> None:
        """Add the next operation, with the tensors that it reads and returns."""
        number = len(self.operations)
        inputs, outputs = (tuple(id(tensor) for tensor in tensors) for tensors in (arguments, results))
        self.operations.append((operation, inputs, outputs))
        self.tensors.update((id(tensor), tensor) for tensor in (*arguments, *results))
        for one in dict.fromkeys(inputs):
            self.readers.setdefault(one, []).append(number)
        for one in outputs:
            self.made_by.setdefault(one, number)  # an operation in place returns its argument

    def whole(self, tensor: int) -> int:
        """Follow a tensor through reshapes that alone read it."""
        while True:
            readers = self.readers.get(tensor, [])
            if len(readers) != 1 or self.operations[readers[0]][0] not in VIEWS:
                return tensor
            (tensor,) = self.operations[readers[0]][2]

    def arguments(self, number: int) -> list[Tensor]:
        """Return the tensors that an operation reads."""
        return [self.tensors[one] for one in self.operations[number][1]]

    def operand(self, number: int, operand: Operand) -> int:
        """Return the id of a factor of a product, as the network made it."""
        storage = operand.tensor.untyped_storage()._cdata
        return next(id(t) for t in self.arguments(number) if t.untyped_storage()._cdata == storage)

    def reaches(self, tensor: int, through: frozenset[Any], targets: frozenset[Any]) -> bool:
        """Whether a tensor is read by one of some operations, after operations of another kind."""
        ahead, met = [tensor], {tensor}
        while ahead:
            for number in self.readers.get(ahead.pop(), []):
                operation, _, results = self.operations[number]
                if operation in targets:
                    return True
                if operation in through:
                    ahead += [one for one in results if one not in met]
                    met.update(results)
        return False

    def sources(self, tensor: int) -> Iterator[int]:
        """Iterate over the operations that a tensor comes from, the nearest first."""
        behind, met = [tensor], {tensor}
        while behind:
            number = self.made_by.get(behind.pop(0))
            if number is not None:
                yield number
                new = [one for one in dict.fromkeys(self.operations[number][1]) if one not in met]
                behind += new
                met.update(new)
