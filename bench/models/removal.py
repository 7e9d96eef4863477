"""Removal of channels that contribute nothing: the masked network as a smaller dense one.

The network is exported with `torch.export`, so that every operation is visible. `channel_rules` connects the channels
of the tensors. A set of connected channels is removed if no convolution or linear layer that stays reads anything but
zeros from it: the channels are zero, or a constant that the bias can hold, or the weights that read them are zero.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram, export

from bench.models.channel_labels import STAYS, Flow
from bench.models.channel_rules import RULES, Context, Operation, Parameter, Read, tensor_shape

#: Operations whose second argument is the shape of the result.
SIZED = ("_unsafe_view", "expand", "reshape", "view")


@dataclass(frozen=True)
class LayerChannels:
    """Output channels of a convolution or linear layer.

    Attributes
    ----------
    layer : str
        Its name.
    before, after : int
        Number of channels before and after the removal.
    zero : int
        Channels that stay although their weights are zero, because they are connected to channels that stay.
    """

    layer: str
    before: int
    after: int
    zero: int


@dataclass(frozen=True)
class Removal:
    """A network without the channels that contribute nothing.

    Attributes
    ----------
    masked, compact : ExportedProgram
        The network before and after the removal; the first axis of the input is dynamic.
    layers : tuple of LayerChannels
        In forward order.
    """

    masked: ExportedProgram
    compact: ExportedProgram
    layers: tuple[LayerChannels, ...]

    @property
    def removed(self) -> int:
        """Number of output channels removed."""
        return sum(layer.before - layer.after for layer in self.layers)


@torch.no_grad()
def remove_channels(model: nn.Module, example: Tensor) -> Removal:
    """Export a network, and remove its channels that contribute nothing.

    Parameters
    ----------
    model : nn.Module
        In eval mode, on the CPU; left as it is.
    example : Tensor
        Two images, shape ``(2, channels, height, width)``, float32.

    Raises
    ------
    Exception
        Whatever `torch.export` raises for a network that it cannot export.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)).eval()
    >>> for parameter in (net[0].weight, net[0].bias):
    ...     _ = parameter.data[1:3].fill_(0)
    >>> removal = remove_channels(net, torch.rand(2, 1, 4, 4))
    >>> [(layer.layer, layer.before, layer.after) for layer in removal.layers]
    [('0', 4, 2), ('3', 2, 2)]
    """
    masked = _export(model, example).run_decompositions({})  # without in-place operations; all others stay
    graph: Any = masked.module()
    context, flows = follow_channels(graph)
    cuts = _Cuts(context, flows)
    layers = tuple(_layer(graph, cuts, name, labels) for name, labels in context.layers.items())
    _rewrite(graph, cuts)
    return Removal(masked, _export(graph, example), layers)


def _export(model: nn.Module, example: Tensor) -> ExportedProgram:
    return export(model, (example,), dynamic_shapes=({0: Dim("batch")},))


def follow_channels(graph: fx.GraphModule) -> tuple[Context, dict[fx.Node, Any]]:
    """Connect the channels of all tensors of an exported network.

    Parameters
    ----------
    graph : GraphModule
        Of an exported program, with one input.

    Returns
    -------
    context : Context
        Labels, cuts of parameters, and the layers that read channels.
    flows : dict
        Node -> the `Flow` of its tensor or a tuple of these, a `Parameter`, or a number.
    """
    context = Context()
    values: dict[fx.Node, Any] = {}
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            values[node] = _whole(tensor_shape(node.meta["val"]))
        elif node.op == "get_attr":
            values[node] = Parameter(node.target, operator.attrgetter(node.target)(graph).detach())
        elif node.op == "call_function":
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
            values[node] = _result(context, node, args, kwargs)
        elif node.op == "output":
            _keep(context, fx.node.map_arg(node.args, values.__getitem__))
    return context, values


def _result(context: Context, node: fx.Node, args: Sequence[Any], kwargs: Any) -> Any:
    if node.target is operator.getitem:
        return args[0][args[1]]
    meta = node.meta["val"]
    operation = Operation(node, args, kwargs)
    if isinstance(meta, torch.SymInt):
        return meta.node.hint
    rule = RULES.get(operation.name)
    found = rule(context, operation) if rule is not None else None
    if found is not None:
        return found
    _keep(context, (args, kwargs.values()))
    if isinstance(meta, Tensor):
        return _whole(tensor_shape(meta))
    return tuple(_whole(tensor_shape(one)) if isinstance(one, Tensor) else None for one in meta)


def _keep(context: Context, operands: Any) -> None:
    if isinstance(operands, Flow | Parameter):
        context.whole(operands)
    elif isinstance(operands, Iterable) and not isinstance(operands, str | Tensor):
        for operand in operands:
            _keep(context, operand)


def _whole(shape: tuple[int, ...]) -> Flow:
    return Flow(torch.tensor(STAYS).expand(shape), torch.tensor(torch.nan).expand(shape))


class _Cuts:
    """Decides which channels are removed.

    Attributes
    ----------
    context : Context
        The connections.
    flows : dict
        Node -> flow.
    """

    def __init__(self, context: Context, flows: Mapping[fx.Node, Any]) -> None:
        self.context, self.flows = context, flows
        self._roots = context.labels.roots()
        self._stays = {STAYS}
        while True:
            self._removed = self._unread()
            obstacles = {label for node in flows for label in self._obstacles(node)}
            if not obstacles:
                break
            self._stays |= obstacles

    def removed(self, labels: Tensor) -> Tensor:
        """Return which channels are removed, boolean, of the shape of `labels`."""
        return self._removed[self._roots[labels]]

    def kept(self, flow: Flow) -> list[Tensor]:
        """Return which places along each axis of a tensor are kept, boolean."""
        kept = ~self.removed(flow.labels)
        return [kept.movedim(axis, 0).flatten(1).any(dim=1) for axis in range(kept.dim())]

    def shape(self, flow: Flow) -> list[int]:
        """Return the shape of a tensor after the removal."""
        return [int(kept.sum()) for kept in self.kept(flow)]

    def dropped(self, read: Read) -> Tensor:
        """Return the removed inputs of a layer that hold a constant that is not zero, boolean."""
        return self.removed(read.inputs) & ~read.known.isnan() & (read.known != 0)

    def _unread(self) -> Tensor:
        """Return for every label whether its channels are read by no layer that stays."""
        removed = torch.zeros(len(self._roots), dtype=torch.bool)
        while True:
            self._removed = removed
            needed = torch.zeros_like(removed)
            needed[sorted(self._stays)] = True
            for read in self.context.reads:
                by_input = (read.weight != 0).any(dim=2) & ~self.removed(read.outputs).unsqueeze(1)
                nothing = ~read.known.isnan() if read.folds else read.known == 0
                needed[self._roots[read.inputs[by_input.any(dim=0) & ~nothing]]] = True
            if torch.equal(~needed, removed):
                return removed
            removed = ~needed

    def _obstacles(self, node: fx.Node) -> set[int]:
        """Return labels that must stay because the tensors of a node could not be cut along their axes."""
        flows = self.flows[node]
        found: set[int] = set()
        for flow in flows if isinstance(flows, tuple) else (flows,):
            if not isinstance(flow, Flow):
                continue
            removed = self.removed(flow.labels)
            if not bool(removed.any()):
                continue
            roots = self._roots[flow.labels]
            if bool(removed.all()):
                found.add(int(roots.min()))
                continue
            box = ~removed
            for axis, kept in enumerate(self.kept(flow)):
                box = box | ~kept.view([-1 if place == axis else 1 for place in range(removed.dim())])
            if not bool(box.all()) or not self._fits(node):
                found |= set(roots[removed].tolist())
        return found

    def _fits(self, node: fx.Node) -> bool:
        """Whether an operation that cuts an axis in parts of one size still can."""
        name = str(node.target).split(".")[1] if node.op == "call_function" and "." in str(node.target) else ""
        parts = self.flows[node]
        if name not in ("chunk", "split", "unbind") or not isinstance(parts, tuple):
            return True
        return len({tuple(self.shape(part)) for part in parts if isinstance(part, Flow)}) == 1


def _layer(graph: fx.GraphModule, cuts: _Cuts, name: str, labels: Tensor) -> LayerChannels:
    removed = cuts.removed(labels)
    weight = operator.attrgetter(name)(graph)
    zero = (weight == 0).flatten(1).all(dim=1) & ~removed
    return LayerChannels(name.removesuffix(".weight"), len(removed), int((~removed).sum()), int(zero.sum()))


def _rewrite(graph: fx.GraphModule, cuts: _Cuts) -> None:
    """Cut parameters and rewrite sizes in the graph."""
    for read in cuts.context.reads:
        if bool(cuts.dropped(read).any()):
            _fold(graph, cuts, read)
    for name, axes in cuts.context.cuts.items():
        value = operator.attrgetter(name)(graph).detach()
        for axis, labels in axes.items():
            value = value.index_select(axis, (~cuts.removed(labels)).nonzero().flatten())
        _replace(graph, name, value)
    for node in list(graph.graph.nodes):
        if node.op == "call_module":  # checks of the shapes of the inputs
            graph.graph.erase_node(node)
        elif node.op == "call_function" and node.target is not operator.getitem:
            _resize(node, cuts)
    graph.recompile()


def _replace(graph: nn.Module, name: str, value: Tensor) -> None:
    path, _, last = name.rpartition(".")
    owner = graph.get_submodule(path)
    is_parameter = last in dict(owner.named_parameters(recurse=False))
    setattr(owner, last, nn.Parameter(value, requires_grad=False) if is_parameter else value)


def _fold(graph: fx.GraphModule, cuts: _Cuts, read: Read) -> None:
    """Add the contribution of constant inputs that are removed to the bias."""
    dropped = cuts.dropped(read)
    shift = read.weight.sum(dim=2)[:, dropped] @ read.known[dropped]
    x, weight, bias, *others = (*read.node.args, None)[: max(3, len(read.node.args))]
    if isinstance(bias, fx.Node):
        _replace(graph, str(bias.target), operator.attrgetter(str(bias.target))(graph).detach() + shift)
        return
    assert isinstance(weight, fx.Node)
    name = f"{read.node.name}_constant"
    graph.register_parameter(name, nn.Parameter(shift, requires_grad=False))
    cuts.context.cut(Parameter(name, shift), 0, read.outputs)
    with graph.graph.inserting_before(read.node):
        read.node.args = (x, weight, graph.graph.get_attr(name), *others)


def _resize(node: fx.Node, cuts: _Cuts) -> None:
    """Rewrite the sizes and places among the arguments of a node."""
    name = str(node.target).split(".")[1] if isinstance(node.target, torch._ops.OpOverload) else ""
    flow, source = cuts.flows[node], cuts.flows.get(node.args[0]) if isinstance(node.args[0], fx.Node) else None
    args: list[Any] = list(node.args)
    if not isinstance(source, Flow):
        return
    if name in SIZED and isinstance(flow, Flow):
        args[1] = [
            new if isinstance(size, int) and size >= 0 else size
            for size, new in zip(list(args[1]), cuts.shape(flow), strict=True)
        ]
    elif name in ("slice", "select"):
        axis = int(args[1]) if len(args) > 1 else 0
        before = [0, *cuts.kept(source)[axis].cumsum(0).tolist()]
        for number, place in enumerate(args[2:4], start=2):
            if isinstance(place, int) and place < len(before):
                args[number] = before[place if place >= 0 else max(0, place + len(before) - 1)]
    elif name in ("conv1d", "conv2d") and len(args) > 6 and args[6] != 1:
        weight = cuts.flows[args[1]]
        args[6] = cuts.shape(source)[1] // weight.value.shape[1]
    elif name in ("pad", "constant_pad_nd") and isinstance(flow, Flow):
        widths = list(args[1])
        for number in range(len(widths) // 2):
            left, right = widths[2 * number : 2 * number + 2]
            kept = cuts.kept(flow)[-1 - number]
            widths[2 * number : 2 * number + 2] = [int(kept[:left].sum()), int(kept[len(kept) - right :].sum())]
        args[1] = widths
    elif name in ("split", "split_with_sizes") and isinstance(flow, tuple):
        axis = int(args[2]) if len(args) > 2 else 0
        sizes = [cuts.shape(part)[axis] for part in flow if isinstance(part, Flow)]
        args[1] = sizes if name == "split_with_sizes" else sizes[0]
    node.args = tuple(args)
