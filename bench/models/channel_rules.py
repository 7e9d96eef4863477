"""How the operations of an exported graph connect the channels of tensors and parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from bench.models.channel_labels import STAYS, Flow, Labels, along, compressed, spread

#: Operations on single values.
ELEMENTWISE = (
    "abs", "add", "alias", "clamp", "clamp_max", "clamp_min", "clone", "detach", "div", "elu", "erf", "exp", "gelu",
    "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "mish", "mul", "neg", "pow", "relu", "rsqrt", "sigmoid",
    "silu", "softplus", "sqrt", "sub", "tanh",
)  # fmt: skip
#: Operations that only move the values of one tensor.
MOVES = (
    "_unsafe_view", "chunk", "expand", "flatten", "permute", "reshape", "select", "slice", "split", "split_with_sizes",
    "squeeze", "t", "transpose", "unbind", "unsqueeze", "view",
)  # fmt: skip
#: Operations on the positions of each channel.
POOLS = (
    "adaptive_avg_pool2d", "avg_pool2d", "max_pool2d", "upsample_bilinear2d", "upsample_nearest2d",
)  # fmt: skip
#: Default arguments of a convolution: input, weight, bias, stride, padding, dilation, groups.
CONVOLUTION: tuple[Any, ...] = (None, None, None, [1], [0], [1], 1)


@dataclass(frozen=True)
class Parameter:
    """A parameter or buffer as an operand."""

    name: str
    value: Tensor


def tensor_shape(tensor: Tensor) -> tuple[int, ...]:
    """Return the shape of a traced tensor for the batch size of the example."""
    return tuple(size if isinstance(size, int) else size.node.hint for size in tensor.shape)


@dataclass(frozen=True)
class Operation:
    """An operation of the graph with the operands that are known so far.

    Attributes
    ----------
    node : fx.Node
        Where the graph calls it.
    args, kwargs
        Its arguments: flows, parameters, and plain values.
    """

    node: fx.Node
    args: Sequence[Any]
    kwargs: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name without the overload, as ``conv2d``."""
        return str(self.node.target).split(".")[1]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of its tensor for the batch size of the example."""
        return tensor_shape(self.node.meta["val"])

    def on(self, *operands: Any) -> Any:
        """Compute it on other operands, in place of the first ones."""
        return self.node.target(*operands, *self.args[len(operands) :], **self.kwargs)  # type: ignore[operator]


@dataclass(frozen=True)
class Read:
    """A convolution or linear layer, which mixes the channels that it reads.

    Attributes
    ----------
    node : fx.Node
        The operation.
    inputs, outputs : Tensor
        Labels of its input and output channels.
    weight : Tensor
        Its weights, shape ``(outputs, inputs, positions of the kernel)``.
    known : Tensor
        Known values of the inputs, NaN elsewhere.
    folds : bool
        Whether a constant input is a constant in the output, at every position: not where zeros are padded.
    """

    node: fx.Node
    inputs: Tensor
    outputs: Tensor
    weight: Tensor
    known: Tensor
    folds: bool


@dataclass
class Context:
    """What the rules collect.

    Attributes
    ----------
    labels : Labels
        Of all channels.
    cuts : dict
        Parameter -> axis -> labels along it.
    reads : list of Read
        In forward order.
    layers : dict
        Weight of a convolution or linear layer -> labels of its output channels.
    """

    labels: Labels = field(default_factory=Labels)
    cuts: dict[str, dict[int, Tensor]] = field(default_factory=dict)
    reads: list[Read] = field(default_factory=list)
    layers: dict[str, Tensor] = field(default_factory=dict)

    def cut(self, parameter: Parameter, axis: int, labels: Tensor) -> None:
        """Connect the labels of channels with an axis of a parameter."""
        known = self.cuts.setdefault(parameter.name, {}).setdefault(axis, labels)
        self.labels.join(known, labels)

    def whole(self, operand: Flow | Parameter) -> Flow:
        """Return an operand, none of whose channels can be removed."""
        if isinstance(operand, Flow):
            self.labels.keep(operand.labels)
            return operand
        for axis, size in enumerate(operand.value.shape):
            self.cut(operand, axis, torch.full((size,), STAYS))
        return Flow(torch.full(operand.value.shape, STAYS), operand.value)

    def channels(self, flow: Flow, axis: int) -> Tensor:
        """Return the labels along the channel axis; labels that change along other axes must stay."""
        labels = along(flow.labels, axis)
        if labels is None:
            self.labels.keep(flow.labels)
        return torch.full((flow.shape[axis],), STAYS) if labels is None else labels


Result = Flow | tuple[Flow | None, ...] | None
Rule = Callable[[Context, Operation], Result]


def constant_along(flow: Flow, axis: int) -> Tensor:
    """Return the known values along an axis, NaN where they are not known or not the same everywhere."""
    known = along(flow.known, axis)
    if known is None:
        rows = flow.known.movedim(axis, 0).flatten(1)
        known = torch.where((rows == rows[:, :1]).all(dim=1), rows[:, 0], torch.nan)
    return known


def elementwise(context: Context, operation: Operation) -> Result:
    """Connect the channels of operands that are combined value by value."""
    shape, args = operation.shape, operation.args
    flows = [operand for operand in args if isinstance(operand, Flow)]
    if not flows:
        return None
    values = [
        compressed(a.known) if isinstance(a, Flow) else a.value if isinstance(a, Parameter) else a for a in args
    ]  # fmt: skip
    tensors = [value for value in values if isinstance(value, Tensor)]
    known = operation.on(*values)
    unknown = torch.zeros((), dtype=torch.bool)
    for value in tensors:
        unknown = unknown | value.isnan()
    known = known.masked_fill(unknown, torch.nan)
    if operation.name == "mul":
        for value in tensors:
            known = torch.where(value == 0, 0.0, known)
    labels = _joined(context, flows, shape)
    for operand in args:
        if isinstance(operand, Parameter):
            _cut_vector(context, operand, labels, shape)
    return Flow(labels.expand(shape), known.expand(shape))


def _joined(context: Context, flows: Sequence[Flow], shape: tuple[int, ...]) -> Tensor:
    """Join the labels of operands; one that is broadcast along channels of another must stay whole."""
    padded = [
        (flow, compressed(flow.labels.reshape((1,) * (len(shape) - len(flow.shape)) + flow.shape))) for flow in flows
    ]  # fmt: skip
    varying = {axis for _, labels in padded for axis, size in enumerate(labels.shape) if size > 1}
    result = None
    for flow, labels in padded:
        own = (1,) * (len(shape) - len(flow.shape)) + flow.shape
        if any(own[axis] == 1 < shape[axis] for axis in varying):
            context.labels.keep(labels)
        elif result is None:
            result = labels
        else:
            context.labels.join(result, labels)
            result = result.expand(np.broadcast_shapes(result.shape, labels.shape))
    assert result is not None
    return result


def _cut_vector(context: Context, parameter: Parameter, labels: Tensor, shape: tuple[int, ...]) -> None:
    """Connect a parameter that is added to or multiplied with channels."""
    sizes = (1,) * (len(shape) - parameter.value.dim()) + tuple(parameter.value.shape)
    axes = [axis for axis in range(len(shape)) if sizes[axis] > 1 and labels.shape[axis] > 1]
    vector = along(labels.expand(shape), axes[0]) if len(axes) == 1 else None
    if vector is not None:
        context.cut(parameter, axes[0] - (len(shape) - parameter.value.dim()), vector)
    elif parameter.value.numel() > 1:
        context.whole(parameter)
        if axes:
            context.labels.keep(labels)


def move(context: Context, operation: Operation) -> Result:
    """Follow channels through an operation that moves values."""
    args = operation.args
    flow = context.whole(args[0]) if isinstance(args[0], Parameter) else args[0]
    if operation.name == "slice":
        axis, step = (*args[1:2], 0)[0], (*args[4:5], 1)[0]
        if step != 1 and compressed(flow.labels).shape[axis] > 1:
            return None
    contiguous = "view" in operation.name
    labels, known = (operation.on(t.contiguous() if contiguous else t) for t in (flow.labels, flow.known))
    if isinstance(labels, Tensor):
        return _flow(labels, known)
    return tuple(_flow(*pair) for pair in zip(labels, known, strict=True))


def _flow(labels: Tensor, known: Tensor) -> Flow:
    return Flow(compressed(labels).expand(labels.shape), compressed(known).expand(known.shape))


def cat(context: Context, operation: Operation) -> Result:
    """Follow channels through a concatenation along their axis."""
    flows = [context.whole(part) if isinstance(part, Parameter) else part for part in operation.args[0]]
    axis = (*operation.args[1:2], 0)[0] % len(flows[0].shape)
    if any(along(flow.labels, axis) is None for flow in flows):
        return None
    return _flow(torch.cat([flow.labels for flow in flows], axis), torch.cat([flow.known for flow in flows], axis))


def pad(context: Context, operation: Operation) -> Result:
    """Give new channels that a padding adds labels of their own."""
    flow, widths = operation.args[:2]
    is_constant = operation.name == "constant_pad_nd" or (*operation.args[2:3], "constant")[0] == "constant"
    if not isinstance(flow, Flow) or not is_constant or min(widths) < 0:
        return None
    shape, labels = operation.shape, compressed(flow.labels)
    for number in range(len(widths) // 2):
        axis = len(shape) - 1 - number
        if labels.shape[axis] > 1:
            sizes = [*labels.shape]
            parts = []
            for width in widths[2 * number : 2 * number + 2]:
                sizes[axis] = width
                parts.append(spread(context.labels.fresh(width), axis, tuple(sizes)))
            labels = torch.cat([parts[0], labels, parts[1]], axis)
    return Flow(labels.expand(shape), operation.on(flow.known))


def pool(context: Context, operation: Operation) -> Result:
    """Follow channels through a pooling of positions, which leaves a constant channel as it is."""
    flow, shape = operation.args[0], operation.shape
    labels, known = context.channels(flow, 1), constant_along(flow, 1)
    if operation.name == "avg_pool2d":  # it may count padded zeros
        known = torch.where(known == 0, known, torch.nan)
    return Flow(spread(labels, 1, shape), spread(known, 1, shape))


def mean(context: Context, operation: Operation) -> Result:
    """Follow channels through a mean over other axes."""
    flow, axes, keepdim = (*operation.args, False)[:3]
    labels = compressed(flow.labels)
    if any(labels.shape[axis] > 1 for axis in axes):
        context.labels.keep(labels)
        labels = labels.narrow(0, 0, 1).new_full((1,) * labels.dim(), STAYS)
    labels = labels if keepdim else labels.squeeze(axes)
    return Flow(labels.expand(operation.shape), flow.known.mean(axes, keepdim=keepdim))


def batch_norm(context: Context, operation: Operation) -> Result:
    """Connect the parameters of a BatchNorm in eval mode with its channels."""
    flow, weight, bias, running_mean, running_var, _, eps = operation.args
    if not all(isinstance(p, Parameter) for p in (running_mean, running_var)):
        return None
    labels = context.channels(flow, 1)
    for parameter in (weight, bias, running_mean, running_var):
        if isinstance(parameter, Parameter):
            context.cut(parameter, 0, labels)
    scale = (running_var.value + eps).rsqrt() * (1.0 if weight is None else weight.value)
    shift = torch.zeros_like(scale) if bias is None else bias.value
    known = constant_along(flow, 1)
    known = torch.where(scale == 0, shift, (known - running_mean.value) * scale + shift)
    return Flow(spread(labels, 1, flow.shape), spread(known, 1, flow.shape)), None, None


def linear(context: Context, operation: Operation) -> Result:
    """Record that a linear layer reads its input channels."""
    flow, weight, bias = (*operation.args, None)[:3]
    if not isinstance(flow, Flow) or not isinstance(weight, Parameter):
        return None
    return _product(context, operation, (flow, weight, bias), len(flow.shape) - 1, groups=1, folds=True)


def convolution(context: Context, operation: Operation) -> Result:
    """Record that a convolution reads its input channels; the channels of a group stay together."""
    args = operation.args
    flow, weight, bias, _, padding, _, groups = (*args, *CONVOLUTION[len(args) :])
    if not isinstance(flow, Flow) or not isinstance(weight, Parameter):
        return None
    folds = not isinstance(padding, str) and not any([padding] if isinstance(padding, int) else padding)
    return _product(context, operation, (flow, weight, bias), 1, groups, folds=folds)


def _product(
    context: Context, operation: Operation, operands: tuple[Flow, Parameter, Parameter | None], axis: int,
    groups: int, *, folds: bool,
) -> Result:  # fmt: skip
    flow, weight, bias = operands
    inputs, known = context.channels(flow, axis), constant_along(flow, axis)
    count = weight.value.shape[0]
    outputs = context.labels.fresh(count)
    context.cut(weight, 0, outputs)
    context.layers[weight.name] = outputs
    if isinstance(bias, Parameter):
        context.cut(bias, 0, outputs)
    rows = weight.value.flatten(2) if weight.value.dim() > 2 else weight.value.unsqueeze(2)
    if groups == 1:
        context.cut(weight, 1, inputs)
        context.reads.append(Read(operation.node, inputs, outputs, rows, known, folds))
    else:
        by_group = inputs.view(groups, -1)
        context.labels.join(by_group, by_group[:, :1])
        context.labels.join(by_group[:, :1], outputs.view(groups, -1))
    read = known.view(groups, -1).repeat_interleave(count // groups, dim=0)
    is_constant = ((rows == 0).all(dim=2) | (read == 0)).all(dim=1)
    shift = bias.value if isinstance(bias, Parameter) else torch.zeros(count)
    shape = operation.shape
    return Flow(spread(outputs, axis, shape), spread(torch.where(is_constant, shift, torch.nan), axis, shape))


def attention(context: Context, operation: Operation) -> Result:
    """Connect queries, keys, values and outputs of each head of attention: a head is removed as a whole."""
    args = operation.args
    if len(args) > 3 or set(operation.kwargs) - {"scale", "is_causal"} or not all(isinstance(a, Flow) for a in args):
        return None
    value, shape = args[2], operation.shape
    if any(operand.shape[:-2] != shape[:-2] for operand in args):
        return None
    heads = [operand.labels.flatten(-2) for operand in args]
    first = heads[0][..., :1]
    for labels in heads:
        context.labels.join(labels, first)
    known = value.known.narrow(-2, 0, 1)
    is_zero = (value.known == 0).all(dim=-2, keepdim=True)
    return Flow(first.unsqueeze(-1).expand(shape), torch.where(is_zero, known, torch.nan).expand(shape))


#: The rule of every operation that has one, by its name without the overload.
RULES: Mapping[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, elementwise),
    **dict.fromkeys(MOVES, move),
    **dict.fromkeys(POOLS, pool),
    "_native_batch_norm_legit_no_training": batch_norm,
    "cat": cat,
    "constant_pad_nd": pad,
    "conv1d": convolution,
    "conv2d": convolution,
    "linear": linear,
    "mean": mean,
    "pad": pad,
    "scaled_dot_product_attention": attention,
}
