"""Multiply-accumulate operations (MACs) of a network, and those that remain of a pruned one."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from bench.models.product import Product
from bench.models.products import Products, aten, once_for_all, traceable

#: Activations that are exactly zero for some negative numbers.
SILENT = frozenset({
    aten.relu, aten.relu_, aten.hardtanh, aten.hardtanh_, aten.hardswish, aten.hardswish_, aten.hardsigmoid,
    aten.hardsigmoid_, aten.threshold, aten.threshold_, aten.clamp, aten.clamp_, aten.clamp_min, aten.clamp_min_,
})  # fmt: skip


@dataclass(frozen=True)
class Macs:
    """MACs of one forward pass, per image.

    Attributes
    ----------
    total : float
        Of all products, those of activations alone (attention scores) too.
    remaining : float
        Without products with a weight that is zero, and without products with an input channel that is zero whatever
        the image.
    """

    total: float
    remaining: float

    @property
    def speedup(self) -> float | None:
        """The theoretical speed-up, total / remaining; None where nothing remains."""
        return self.total / self.remaining if self.remaining else None


@dataclass(frozen=True)
class ProductCount:
    """Counts of one product.

    Attributes
    ----------
    macs, positions : float
        MACs per image, and how often each of its weights is multiplied.
    per_input : Tensor or None
        Number of non-zero weights that each input is multiplied with; None for a product without a weight.
    dead : Tensor or None
        Whether each input is zero, boolean, for all images and positions; None where it does not depend on images.
    """

    macs: float
    positions: float
    per_input: Tensor | None
    dead: Tensor | None


@dataclass(frozen=True)
class Traced:
    """A product of a pass over two images.

    Attributes
    ----------
    product : Product
        Its operands and output.
    operation : object
        The operation that computes it.
    plain : bool
        Whether the operation returns `product.output` as it is, data and weight in this order.
    watched : bool
        Whether it is relevant which of its inputs are zero.
    """

    product: Product
    operation: Any
    plain: bool
    watched: bool


@torch.no_grad()
def count_macs(model: nn.Module, example: Tensor) -> Macs:
    """Count the MACs of a network, dense or pruned.

    A convolution applies a weight once per output position (padding counts, as is usual), a linear layer once per
    token. Of products with a weight (a parameter, or computed from parameters) those with a zero are left out, in the
    operand as it is multiplied: weight standardisation gives pruned zeros another value. An input channel counts as
    removed if it is exactly zero in two passes: over the example, and over positive noise in a copy of the network
    whose non-zero parameters are all replaced by positive numbers, so that nothing cancels and no ReLU
    is silent by chance. So a removed channel saves the weights that read it too, and a channel coupled to one that
    stays saves nothing.

    Parameters
    ----------
    model : nn.Module
        Run in eval mode; left as it is.
    example : Tensor
        One or a few images, shape ``(n, channels, height, width)``, on the model's device.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 10))
    >>> count_macs(net, torch.ones(1, 3, 4, 4)).total
    4736.0
    >>> _ = net[0].weight.data[:4].fill_(0)
    >>> count_macs(net, torch.ones(1, 3, 4, 4)).speedup
    2.0
    """
    counts = count_products(model, example, model)
    remaining = 0.0
    for count, gone in zip(counts, _removed(model, example, counts), strict=True):
        if count.per_input is None:
            remaining += count.macs
        else:
            left = count.per_input if gone is None else count.per_input.masked_fill(gone, 0)
            remaining += count.positions * int(left.sum())
    return Macs(math.fsum(count.macs for count in counts), remaining)


@torch.no_grad()
def removed_inputs(model: nn.Module, example: Tensor) -> list[Tensor | None]:
    """Return which input channels of each product of a forward pass are removed, as `count_macs` defines it.

    Parameters
    ----------
    model : nn.Module
        Run in eval mode; left as it is.
    example : Tensor
        One or a few images, shape ``(n, channels, height, width)``, on the model's device.

    Returns
    -------
    list of Tensor or None
        One for each product, in forward order: boolean, of the shape of `Product.dead_inputs`; None where no input is
        removed.

    Examples
    --------
    >>> net, x = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(2, 1, 1)), torch.ones(1, 1, 4, 4)
    >>> _ = net[0].weight.data[0].fill_(0)
    >>> removed_inputs(net, x)
    [tensor([False]), tensor([ True, False])]
    """
    return _removed(model, example, count_products(model, example, model))


def _removed(model: nn.Module, example: Tensor, counts: list[ProductCount]) -> list[Tensor | None]:
    """Return the inputs that are zero in `counts`, those of the example, and in a pass over positive noise."""
    if not any(count.dead is not None and bool(count.dead.any()) for count in counts):
        return [None] * len(counts)
    again = count_positive(model, example, model)
    same = len(again) == len(counts)  # a forward pass that depends on values is not judged by another one
    return [
        count.dead & other.dead if same and count.dead is not None and other.dead is not None
        and count.dead.shape == other.dead.shape else None
        for count, other in zip(counts, again if same else counts, strict=True)
    ]  # fmt: skip


@torch.no_grad()
def keeps_inputs(model: nn.Module, zeroed: Collection[str], example: Tensor) -> bool:
    """Whether no input channel of a product is zero even if some parameters are, because of biases and BatchNorm.

    Parameters
    ----------
    model : nn.Module
        Run in eval mode; left as it is.
    zeroed : collection of str
        The parameters.
    example : Tensor
        One or a few images, shape ``(n, channels, height, width)``, on the model's device.

    Examples
    --------
    >>> net, x = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 1, 1)), torch.ones(1, 1, 4, 4)
    >>> keeps_inputs(net, {"0.weight"}, x), keeps_inputs(net, {"0.weight", "0.bias"}, x)
    (True, False)
    """
    counts = count_positive(model, example, model, zeroed)
    return not any(count.dead is not None and bool(count.dead.any()) for count in counts)


class _Positive(nn.Module):
    """A network with positive numbers in place of all parameters and BatchNorm means that are not zero.

    Parameters
    ----------
    model : nn.Module
        Left as it is.
    zeroed : collection of str
        Parameters that are zeros instead.
    """

    def __init__(self, model: nn.Module, zeroed: Collection[str] = ()) -> None:
        super().__init__()
        self._zeroed = zeroed
        self._model = [model]  # not a child: its parameters stay where they are

    def forward(self, x: Tensor) -> Tensor:
        (model,) = self._model
        state = positive_state(model, self._zeroed)
        with Awake():  # type: ignore[no-untyped-call]
            result: Tensor = functional_call(model, state, (x,), tie_weights=False)
        return result


class Awake(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Gives activations that are zero for negative numbers the absolute values, which normalisation centres."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func._overloadpacket in SILENT:
            args = (args[0].abs_() if func._schema.is_mutable else args[0].abs(), *args[1:])
        return func(*args, **(kwargs or {}))


def positive_state(model: nn.Module, zeroed: Collection[str] = ()) -> dict[str, Tensor]:
    """Return positive numbers for all parameters and BatchNorm means that are not zero.

    Parameters
    ----------
    model : nn.Module
        Left as it is.
    zeroed : collection of str
        Parameters that are zeros instead.

    Returns
    -------
    dict of str to Tensor
        For `functional_call` with ``tie_weights=False``, which leaves a module that is used under two names as it is.
        Computed from the parameters, so that `Products` recognises their products.
    """
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(0)
    positive = {
        parameter: _positive(parameter, generator) * (name not in zeroed)
        for name, parameter in model.named_parameters()
    }
    state: dict[str, Tensor] = {}
    for prefix, module in model.named_modules():
        dot = "." if prefix else ""
        state |= {f"{prefix}{dot}{name}": positive[p] for name, p in module.named_parameters(recurse=False)}
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            state[f"{prefix}{dot}running_mean"] = -_positive(module.running_mean, generator)  # it is subtracted
            state[f"{prefix}{dot}running_var"] = torch.ones_like(module.get_buffer("running_var"))
    return state


def _positive(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Replace what is not zero by positive numbers, no two alike: normalisation makes zeros of equal channels."""
    noise = torch.rand(tensor.shape, generator=generator, device=tensor.device, dtype=tensor.dtype)
    nonzero = (tensor != 0) * (0.5 + noise)
    # as many as an output reads on the average: the flow neither grows nor fades from layer to layer
    return nonzero * len(tensor) / (tensor != 0).sum().clamp_min(1) if tensor.dim() > 1 else nonzero


def _noise(example: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return (0.5 + torch.rand(example.shape, generator=generator)).to(example.device, example.dtype)


def count_positive(
    network: nn.Module, example: Tensor, model: nn.Module, zeroed: Collection[str] = ()
) -> list[ProductCount]:
    """Count every product of a pass over positive noise, with positive numbers in place of parameters.

    Nothing cancels there: an input is zero only if all that it is computed from is.

    Parameters
    ----------
    network, model : nn.Module
        As for `count_products`.
    example : Tensor
        Gives the shape of the images.
    zeroed : collection of str
        Parameters that are zeros instead.
    """
    return count_products(_Positive(network, zeroed), _noise(example), model)


def count_products(
    network: nn.Module, x: Tensor, model: nn.Module, traced: list[Traced] | None = None
) -> list[ProductCount]:
    """Count every product of a forward pass.

    Parameters
    ----------
    network : nn.Module
        Computes with the parameters of `model`.
    x : Tensor
        Images, shape ``(n, channels, height, width)``.
    model : nn.Module
        Set to eval mode meanwhile.
    traced : list of Traced, optional
        The products are appended to it.
    """
    counts: list[ProductCount] = []
    fixed: list[bool] = []
    latest: list[Any] = [None, []]

    def follow(operation: Any, _: list[Tensor], results: list[Tensor]) -> None:
        latest[:] = operation, results

    def see(product: Product) -> None:
        weighted = product.weight.source in ("parameter", "computed") and product.kind != "attention"
        fixed.append(product.is_fixed)
        counts.append(
            ProductCount(
                product.macs, product.positions,
                product.weights_per_input(product.weight.tensor != 0) if weighted else None,
                product.dead_inputs() if weighted and product.data.source == "input" else None,
            )
        )  # fmt: skip
        if traced is not None:
            operation, results = latest
            is_plain = any(result is product.output for result in results)
            traced.append(Traced(product, operation, is_plain, counts[-1].dead is not None))

    with traceable(model), Products(model, see, None if traced is None else follow):
        network(x)
    once = once_for_all(model, x) if any(fixed) else fixed
    return [
        count if is_fixed and is_once else replace(count, macs=count.macs / len(x), positions=count.positions / len(x))
        for count, is_fixed, is_once in zip(counts, fixed, once, strict=True)
    ]
