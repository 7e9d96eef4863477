"""Every product of a forward pass, and which parameter it multiplies with what.

A network is run under a `TorchDispatchMode`, so a weight is found wherever it is held and however it is used:
``nn.Conv2d``, ``F.linear(x, self.qkv.weight)``, ``nn.MultiheadAttention``, ``x @ self.w``, ``torch.einsum``. An operand
*is* a parameter if it shares its storage (a view) or was copied from it by operations that only move values
(``torch.cat``, ``clone``); it is *computed* from a parameter if any other operation came between, as weight
standardisation does.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

from bench.models.modes import evaluating
from bench.models.product import Operand, Product

aten = torch.ops.aten
CONVOLUTIONS = frozenset({aten.convolution, aten._convolution, aten.convolution_overrideable})
#: Matrix products -> the places of their two operands among the arguments.
MATRIX_PRODUCTS = {aten.mm: (0, 1), aten.bmm: (0, 1), aten.addmm: (1, 2), aten.baddbmm: (1, 2), aten.mv: (0, 1),
                   aten.addmv: (1, 2)}  # fmt: skip
#: Operations whose result holds values of their arguments and nothing else.
MOVES = frozenset({
    aten.cat, aten.clone, aten._to_copy, aten.view, aten._unsafe_view, aten.reshape, aten.t, aten.transpose,
    aten.permute, aten.expand, aten.slice, aten.select, aten.unsqueeze, aten.squeeze, aten.split,
    aten.split_with_sizes, aten.unbind, aten.alias, aten.detach, aten.flip, aten.roll, aten.repeat, aten.stack,
    aten.index_select, aten.rot90, aten.unfold, aten.lift_fresh,
})  # fmt: skip
#: Operations of which only shape, type and device of the argument matter, and those that make a constant.
FACTORIES = frozenset({
    aten.new_zeros, aten.new_ones, aten.new_full, aten.new_empty, aten.zeros_like, aten.ones_like, aten.full_like,
    aten.empty_like, aten.lift_fresh,
})  # fmt: skip
#: The axes that ``nn.Bilinear`` has ``aten._trilinear`` expand and sum over.
BILINEAR = ([1, 3], [0], [1, 2], [2, 3])


@dataclass(frozen=True)
class _Kind:
    """What there is to know of an operation, looked up once."""

    operation: Any
    product: str | None
    moves: bool
    is_factory: bool
    is_mutable: bool
    is_composite: bool

    @classmethod
    def of(cls, func: Any) -> _Kind:
        operation = func._overloadpacket
        return cls(
            operation, product_kind(operation), operation in MOVES, operation in FACTORIES,
            bool(func._schema.is_mutable), _is_composite(func),
        )  # fmt: skip


def _is_composite(func: Any) -> bool:
    """Whether an operation is defined by others; it reaches a dispatch mode whole under ``torch.inference_mode``."""
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"))


def product_kind(operation: Any) -> str | None:
    """Return the kind of product that an operation is, None if it is none."""
    if operation in CONVOLUTIONS:
        return "convolution"
    if operation in MATRIX_PRODUCTS:
        return "matrix product"
    return "attention" if operation in flop_registry else None


class Products(TorchDispatchMode):
    """Calls a function with every product of the forward passes inside a ``with`` block.

    Parameters
    ----------
    model : nn.Module
        Whose parameters are recognised.
    see : callable
        Called with each `Product`.
    follow : callable, optional
        Called with every operation, products too, before `see`: ``(operation, arguments, results)``, the latter two
        lists of tensors.

    Examples
    --------
    >>> net = nn.Linear(3, 2)
    >>> with torch.no_grad(), Products(net, lambda p: print(p.kind, p.macs, p.weight.source, set(p.weight.parameters))):
    ...     _ = net(torch.ones(4, 3))
    matrix product 24 parameter {'weight'}
    """

    def __init__(
        self, model: nn.Module, see: Callable[[Product], None],
        follow: Callable[[Any, list[Tensor], list[Tensor]], None] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()  # type: ignore[no-untyped-call]
        self._see, self._follow = see, follow
        self._kinds: dict[Any, _Kind] = {}
        self.parameters = dict(model.named_parameters())
        self._names = {_storage(p): name for name, p in self.parameters.items()}
        #: storage -> itself, and the parameters that its values come from; what is not here depends on the images
        self._independent: dict[int, tuple[Any, frozenset[str]]] = {
            **{
                _storage(t): (t.untyped_storage(), frozenset())
                for t in (*model.buffers(), *plain_tensors(model).values())
            },
            **{_storage(p): (p.untyped_storage(), frozenset({name})) for name, p in self.parameters.items()},
        }
        #: id of a moved copy of parameters -> itself, and the place of each value
        self._moved: dict[int, tuple[Tensor, Tensor]] = {}
        #: what `bench.models.weight_parts` has found out already
        self.found: dict[Any, list[Any]] = {}
        sizes = [p.numel() for p in self.parameters.values()]
        self._starts = dict(zip(self.parameters, itertools.accumulate(sizes, initial=0), strict=False))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        kind = self._kinds.get(func) or self._kinds.setdefault(func, _Kind.of(func))
        if kind.is_composite:
            with self:
                return func.decompose(*args, **kwargs)
        if kind.operation is aten._trilinear and args[3:] == BILINEAR:
            with self:  # as the products of all pairs of inputs with the weight
                pairs = args[0].unsqueeze(-1) * args[2].unsqueeze(-2)
                return pairs.flatten(1) @ args[1].flatten(1).mT
        result = func(*args, **kwargs)
        arguments, results = _tensors(args, kwargs.values()), _tensors((result,))
        self._trace_sources(kind, arguments, results)
        if kind.moves:
            self._move(func, args, kwargs, arguments, results)
        if self._follow is not None:
            self._follow(kind.operation, arguments, results)
        if kind.product == "convolution":
            self._see(self._convolution(args, result))
        elif kind.product == "matrix product":
            self._see(self._matrix_product(kind.operation, args, result))
        elif kind.product == "attention":
            macs = int(flop_registry[kind.operation](*args, **kwargs, out_val=result)) // 2
            self._see(Product("attention", macs, results[0], self.operand(args[0]), self.operand(args[1])))
        return result

    def operand(self, tensor: Tensor) -> Operand:
        """Tell where a tensor comes from."""
        if _storage(tensor) in self._names:
            return Operand(tensor, "parameter", frozenset({self._names[_storage(tensor)]}))
        if _storage(tensor) not in self._independent:
            return Operand(tensor, "input")
        names = self._independent[_storage(tensor)][1]
        if id(tensor) in self._moved:
            return Operand(tensor, "parameter", names, self._moved[id(tensor)][1])
        return Operand(tensor, "computed" if names else "constant", names)

    def depends_on_images(self, tensor: Tensor) -> bool:
        """Whether a tensor's values come from the images."""
        return _storage(tensor) not in self._independent

    def places(self, operand: Operand) -> dict[str, Tensor]:
        """Locate the values of a `parameter` operand.

        Returns
        -------
        dict of str to Tensor
            Parameter -> int64 of the operand's shape: the flat index in the parameter, -1 where the value is not its.
        """
        places = operand.moved if operand.moved is not None else self._places(operand.tensor)
        found = {}
        for name in sorted(operand.parameters):
            parameter, start = self.parameters[name], self._starts[name]
            here = (places >= start) & (places < start + parameter.numel())
            if bool(here.any()):
                found[name] = torch.where(here, places - start, -1)
        return found

    def _places(self, tensor: Tensor) -> Tensor:
        """Return the number of each value of a view or moved copy, parameters one after the other in flat order."""
        if id(tensor) in self._moved:
            return self._moved[id(tensor)][1]
        name = self._names[_storage(tensor)]
        parameter, start = self.parameters[name], self._starts[name]
        flat = torch.arange(start, start + parameter.numel(), device=parameter.device).view(parameter.shape)
        numbered = torch.empty_strided(parameter.shape, parameter.stride(), dtype=torch.int64, device=parameter.device)
        numbered.copy_(flat)
        return numbered.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset() - parameter.storage_offset())

    def _trace_sources(self, kind: _Kind, arguments: list[Tensor], results: list[Tensor]) -> None:
        """Note which storages hold values that do not depend on the images, and from which parameters they come."""
        names: frozenset[str] = frozenset()
        for tensor in () if kind.is_factory else arguments:
            known = self._independent.get(_storage(tensor))
            if known is None:
                if kind.is_mutable:  # what is written returns as the result
                    for written in map(_storage, results):
                        if written not in self._names:
                            self._independent.pop(written, None)
                return
            names |= known[1]
        for tensor in results:
            storage = _storage(tensor)
            if storage not in self._names:
                _, own = self._independent.get(storage, (None, frozenset[str]()))
                self._independent[storage] = tensor.untyped_storage(), names | own

    def _move(
        self, func: Any, args: Any, kwargs: Mapping[str, Any], arguments: list[Tensor], results: list[Tensor]
    ) -> None:
        """Follow the places of parameters' values through an operation that only moves them."""
        if all(_storage(tensor) in self._names for tensor in results):
            return  # a view: its strides say it all
        sources = [self.operand(tensor).source for tensor in arguments]
        if "parameter" not in sources or not {"parameter", "constant"}.issuperset(sources):
            return

        def numbered(value: Any) -> Any:
            if not isinstance(value, Tensor) or not (value.is_floating_point() or value.is_complex()):
                return value  # an index, not a value that is moved
            if self.operand(value).source == "parameter":
                return self._places(value)
            return torch.full(value.shape, -1, dtype=torch.int64, device=value.device)

        options = {key: value for key, value in kwargs.items() if key != "dtype"}
        moved = _tensors((func(*tree_map(numbered, args), **options),))
        for tensor, places in zip(results, moved, strict=True):
            self._moved[id(tensor)] = tensor, _with_strides_of(tensor, places)

    def _convolution(self, args: tuple[Any, ...], output: Tensor) -> Product:
        x, weight, bias, stride, padding, dilation, transposed, output_padding, groups = args[:9]
        positions = prod((x if transposed else output).shape[2:]) * output.shape[0]
        dims = weight.dim() - 2
        return Product(
            "transposed convolution" if transposed else "convolution", positions * weight.numel(), output,
            self.operand(x), self.operand(weight), bias, groups, *(
                _each(value, dims) for value in (stride, padding, dilation, output_padding)
            ),
        )  # fmt: skip

    def _matrix_product(self, operation: Any, args: tuple[Any, ...], output: Tensor) -> Product:
        first, second = (self.operand(args[place]) for place in MATRIX_PRODUCTS[operation])
        bias = args[0] if operation in (aten.addmm, aten.baddbmm, aten.addmv) else None
        if operation in (aten.mv, aten.addmv):
            second, output = replace(second, tensor=second.tensor.unsqueeze(1), moved=None), output.unsqueeze(1)
        macs = output.numel() * first.tensor.shape[-1]
        if _RANK[first.source] > _RANK[second.source]:  # weight @ data
            first, second, output = second.transposed(), first.transposed(), output.mT
            bias = None  # along the rows: no bias of the output channels
        return Product("matrix product", macs, output, first, second, bias)


#: Of two factors the one that is more of a weight.
_RANK: Mapping[str, int] = {"input": 0, "constant": 1, "computed": 2, "parameter": 3}


def _each(value: Any, dims: int) -> tuple[int, ...]:
    values = tuple(int(one) for one in value)
    return values * dims if len(values) == 1 else values


def _tensors(*values: Any) -> list[Tensor]:
    """Flatten arguments or results of an operation, whose lists are not nested in one another."""
    found = []
    for value in itertools.chain.from_iterable(values):
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += [one for one in value if isinstance(one, Tensor)]
    return found


def _with_strides_of(tensor: Tensor, places: Tensor) -> Tensor:
    """Lay out places as the values are: a later view of these must be one of the places too."""
    if places.stride() == tensor.stride() or 0 in tensor.stride():
        return places
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=places.dtype, device=places.device).copy_(places)


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def once_for_all(model: nn.Module, x: Tensor) -> list[bool]:
    """Find the products of a forward pass that are computed once for all images, by a pass over twice as many.

    Of products that do not depend on the images, as of relative positions or learned queries, some are computed once
    for each image all the same.
    """

    def macs(images: Tensor) -> list[int]:
        found: list[int] = []
        with traceable(model), Products(model, lambda product: found.append(product.macs)):
            model(images)
        return found

    return [one == two for one, two in zip(macs(x), macs(torch.cat([x, x])), strict=True)]


def plain_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors that modules hold in addition to parameters, buffers and children, by place."""
    own = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    return {
        f"{name}.{attribute}".lstrip("."): leaf
        for name, module in model.named_modules()
        for attribute, value in vars(module).items()
        if attribute not in ("_parameters", "_buffers", "_modules")
        for leaf in tree_leaves(value)
        if isinstance(leaf, Tensor) and id(leaf) not in own
    }


@contextlib.contextmanager
def traceable(model: nn.Module) -> Iterator[None]:
    """Run `model` in eval mode without gradients inside a ``with`` block, fused kernels that hide weights left out."""
    fused, onednn = torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    if any(isinstance(module, nn.RNNBase) for module in model.modules()):
        torch._C._set_mkldnn_enabled(False)
    try:
        with evaluating(model), torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        torch._C._set_mkldnn_enabled(onednn)
