"""What can be pruned: the units of a network, in forward order (METHODS section 1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bench.errors import UserError, suggest
from bench.tensors import PrunableLayer, UnitSpace
from bench.types import Granularity

BATCHNORM = (nn.BatchNorm1d, nn.BatchNorm2d)


class _Consumers(TorchFunctionMode):
    """Counts, for every tensor, the operations that read its values.

    Operations that return no tensor (``x.shape``, ``x.dim()``) do not read values.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[int] = Counter()
        self._alive: list[Tensor] = []  # an id stays unique only while its tensor lives

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if any(True for _ in _tensors(result)):
            inputs = {id(tensor): tensor for tensor in _tensors((args, kwargs or {}))}
            self.count.update(inputs.keys())
            self._alive.extend(inputs.values())
        return result


def _tensors(value: Any) -> Iterator[Tensor]:
    """Iterate over the tensors in nested tuples, lists and mappings."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, Mapping):
        yield from _tensors(tuple(value.values()))


@dataclass
class ForwardTrace:
    """What one forward pass shows of a network.

    Attributes
    ----------
    order : list of str
        Convolutions and linear layers in the order of their first call.
    batchnorm : dict of str to str
        Layer -> its directly following BatchNorm.
    """

    order: list[str] = field(default_factory=list)
    batchnorm: dict[str, str] = field(default_factory=dict)


def trace_forward(model: nn.Module, example: Tensor) -> ForwardTrace:
    """Run `model` once and note the order of its layers and which BatchNorm directly follows which.

    A BatchNorm directly follows a layer if its input tensor *is* the layer's output, nothing else
    reads that tensor, and both modules are called once.

    Parameters
    ----------
    model : nn.Module
        Run in eval mode without gradients; its training flags are restored.
    example : Tensor
        Input of shape ``(n, channels, height, width)``, on the model's device.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1), nn.ReLU())
    >>> trace_forward(net, torch.zeros(1, 1, 2, 2))
    ForwardTrace(order=['0', '2'], batchnorm={'0': '1'})
    """
    outputs: dict[str, Tensor] = {}
    bn_inputs: dict[str, Tensor] = {}
    calls: Counter[str] = Counter()
    trace = ForwardTrace()

    def note_layer(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: tuple[Any, ...], output: Tensor) -> None:
            calls[name] += 1
            outputs[name] = output
            if name not in trace.order:
                trace.order.append(name)

        return hook

    def note_batchnorm(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, args: tuple[Any, ...]) -> None:
            calls[name] += 1
            bn_inputs[name] = args[0]

        return hook

    handles = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            handles.append(module.register_forward_hook(note_layer(name)))
        elif isinstance(module, BATCHNORM):
            handles.append(module.register_forward_pre_hook(note_batchnorm(name)))
    try:
        with evaluating(model), torch.no_grad(), _Consumers() as consumers:
            model(example)
    finally:
        for handle in handles:
            handle.remove()
    producer = {id(output): name for name, output in outputs.items() if calls[name] == 1}
    for name, tensor in bn_inputs.items():
        layer = producer.get(id(tensor))
        if layer is not None and calls[name] == 1 and consumers.count[id(tensor)] == 1:
            trace.batchnorm[layer] = name
    return trace


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put `model` in eval mode inside a ``with`` block and restore every module's flag after it."""
    flags = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, flag in flags.items():
            module.training = flag


def find_units(model: nn.Module, granularity: Granularity, exclude: tuple[str, ...], example: Tensor) -> UnitSpace:
    """Return the prunable units of a network, layers in forward order.

    Parameters
    ----------
    model : nn.Module
        Left as it is. Layers that its forward pass never calls are no part of the function that it
        computes, and so have no units.
    granularity : {"weight", "channel"}
        ``weight``: each weight of a `Conv2d` or `Linear`. ``channel``: output channels of convolutions
        and hidden channels of MLPs (modules with layers ``fc1`` and ``fc2``, as in timm).
    exclude : tuple of str
        ``head`` (the classifier), ``stem`` (the first layer) or `fnmatch` patterns of layer names.
    example : Tensor
        One or two images, shape ``(n, channels, height, width)``, on the model's device.

    Raises
    ------
    UserError
        If a pattern matches no layer, or nothing prunable is left.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 10))
    >>> units = find_units(net, "weight", ("head",), torch.zeros(1, 1, 3, 3))
    >>> units.names, units.total, units.layers[0].batchnorm
    (('0',), 18, '1')
    """
    trace = trace_forward(model, example)
    left_out = _excluded(model, trace.order, exclude)
    kept = [name for name in trace.order if name not in left_out]
    partners = _mlp_partners(model)
    layers = []
    for name in kept:
        module = model.get_submodule(name)
        shape = tuple(module.get_parameter("weight").shape)
        follower = trace.batchnorm.get(name)
        if granularity == "weight":
            layers.append(PrunableLayer(name, shape, shape, follower))
            continue
        partner = partners.get(name) if partners.get(name) in kept else None
        if isinstance(module, nn.Conv2d) or partner is not None:
            # with neither, a later layer may still add a constant to the channel's zeroed output
            exact = follower is not None or partner is not None
            layers.append(PrunableLayer(name, shape, shape[:1], follower, partner, exact))
    if not layers:
        raise UserError(
            f"{type(model).__name__} has nothing to prune at granularity {granularity!r} with exclude = {list(exclude)}"
        )
    return UnitSpace(granularity, tuple(layers))


def _excluded(model: nn.Module, order: list[str], exclude: tuple[str, ...]) -> set[str]:
    left_out: set[str] = set()
    for entry in exclude:
        if entry == "head":
            left_out |= _head(model, order)
        elif entry == "stem":
            left_out |= set(order[:1])
        else:
            matching = {name for name in order if fnmatchcase(name, entry)}
            if not matching:
                raise UserError(
                    f"exclude: the pattern {entry!r} matches no layer of {type(model).__name__}: "
                    f"{suggest(entry, ['head', 'stem', *order])}"
                )
            left_out |= matching
    return left_out


def _head(model: nn.Module, order: list[str]) -> set[str]:
    """Names of the classifier's layers: timm's ``get_classifier()``, or else the last linear layer."""
    get_classifier = getattr(model, "get_classifier", None)
    if callable(get_classifier):
        found = get_classifier()
        roots = found if isinstance(found, tuple | list) else (found,)  # distilled nets have two heads
        members = {part for root in roots if isinstance(root, nn.Module) for part in root.modules()}
        names = {name for name in order if model.get_submodule(name) in members}
        if names:
            return names
    linear = [name for name in order if isinstance(model.get_submodule(name), nn.Linear)]
    return set(linear[-1:])


def _mlp_partners(model: nn.Module) -> dict[str, str]:
    """For each MLP the name of ``fc1`` -> the name of ``fc2``, which reads its hidden channels.

    Linear layers, or the ungrouped convolutions that ConvNeXt and squeeze-excite blocks use instead.
    """
    partners = {}
    for name, module in model.named_modules():
        fc1, fc2 = getattr(module, "fc1", None), getattr(module, "fc2", None)
        if isinstance(fc1, nn.Linear) and isinstance(fc2, nn.Linear):
            paired = fc1.out_features == fc2.in_features
        elif isinstance(fc1, nn.Conv2d) and isinstance(fc2, nn.Conv2d):
            paired = fc1.out_channels == fc2.in_channels and fc1.groups == fc2.groups == 1
        else:
            continue
        if paired:
            prefix = f"{name}." if name else ""
            partners[f"{prefix}fc1"] = f"{prefix}fc2"
    return partners
