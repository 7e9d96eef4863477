"""GRAIL: weights that read removed channels, refitted by a ridge regression on the kept ones (METHODS section 9).

A layer that reads removed channels is a *consumer*. Its weights are refitted by a ridge regression of all its dense
input channels on the kept ones. Nothing else of the network changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from bench.core.errors import CellError, NotApplicable
from bench.models.inputs import runs_of_layers
from bench.models.macs import removed_inputs
from bench.models.observe import Call, observe
from bench.models.product import Product
from bench.models.products import Products, traceable
from bench.models.unit_space import PrunableLayer
from bench.models.units import find_units
from bench.models.weight_parts import weight_parts
from bench.repairs.correction import Order, RepairContext
from bench.repairs.reconstruct import solve

#: Bytes that second moments of all weights of an output may take at once (one layer's may take more). Those of the
#: channels alone are smaller by the squared number of kernel positions.
HELD = 2**30
#: Images of the pass that finds removed channels.
IMAGES = 2


def grail(
    context: RepairContext,
    *,
    damping: Annotated[float, Field(ge=0)] = 1e-3,
    order: Order = "sequential",
) -> dict[str, Tensor]:
    """Refit the weights that read removed channels, by a ridge regression on the kept channels (Tang et al. 2026).

    With k the kept input channels of a consumer, its weights W become W B on them, where
    B = X_d X_p[k]^T (X_p[k] X_p[k]^T + lambda I)^-1 minimises norm(X_d - B X_p[k])^2 + lambda norm(B)^2.
    X_d holds the input channels of the dense model, one column per image and position; a convolution applies the same B
    at every position of its kernel. For ``sequential`` X_p is what the pruned model gives, its layers before this one
    already refitted: the consumers follow each other in forward order, as the blocks of the authors' code for language
    models. For ``parallel`` X_p is X_d, so that B = G[:, k] (G[k, k] + lambda I)^-1 with the Gram matrix G, as in the
    authors' code for ResNets and ViTs.

    Parameters
    ----------
    context : RepairContext
        What to work on, of channels or other units that are removed as a whole.
    damping : float
        lambda as a share of the mean of diag(X_p[k] X_p[k]^T); the authors' code has 1e-3. With 0, the pseudo-inverse.
    order : {"sequential", "parallel"}
        Two passes per consumer, or one pass over the dense model for as many consumers as `HELD` allows.

    Returns
    -------
    dict of str to Tensor
        Empty: what it does is no factor per channel.

    Raises
    ------
    NotApplicable
        If the units are single weights.
    CellError
        If inputs are NaN or infinite.

    Notes
    -----
    Nothing is centred, and biases and BatchNorm keep their values, as in the authors' code. CORP (arXiv 2602.05243)
    regresses the removed channels alone, with a constant.

    Consumers are found by a probe: input channels that are exactly zero in the masked model and not in the dense one,
    also of layers that are not prunable. A channel of a residual stream is removed only if every summand is. In a
    grouped convolution the regression stays inside each group. A depthwise convolution therefore keeps its weights, and
    the layer after it is the consumer, unless a BatchNorm between the two turns the zeros into another constant.

    References
    ----------
    Tang, Wang, Thiele and Saukh 2026, "GRAIL: Post-hoc Compensation by Linear Reconstruction for Compressed Networks",
    PMLR 328.
    """
    if context.units.granularity == "weight":
        raise NotApplicable("grail refits the layers that read removed channels; at granularity weight none is removed")
    consumers = find_consumers(context)
    layers = list({consumer.layer.name: consumer.layer for consumer in consumers}.values())
    for step in runs_of_layers(layers, HELD) if order == "parallel" else [[layer] for layer in layers]:
        measure = dense_moments if order == "parallel" else joint_moments
        moments = measure(context, step)
        for consumer in consumers:
            if consumer.key in moments:
                _refit(context, consumer, moments[consumer.key], damping)
    return {}


@dataclass(frozen=True)
class Consumer:
    """Output channels of a weight that read removed input channels.

    Attributes
    ----------
    layer : PrunableLayer
        The weight, with each weight as a unit.
    channels : slice
        Its output channels.
    removed : Tensor
        Which input channels are removed, boolean, shape ``(groups, inputs of a group)``.
    """

    layer: PrunableLayer
    channels: slice
    removed: Tensor

    @property
    def key(self) -> tuple[str, int]:
        """Name of the layer and first output channel."""
        return self.layer.name, self.channels.start

    def blocks(self, model: nn.Module) -> Tensor:
        """Lay out its weights in a model as ``(groups, outputs, inputs of a group, kernel positions)``."""
        groups, inputs = self.removed.shape
        rows = self.layer.rows(model.get_parameter(self.layer.parameter))[self.channels]
        positions = rows.shape[1] // inputs
        return rows.reshape(groups, -1, inputs, positions)


@dataclass(frozen=True)
class ChannelMoments:
    """Sums over images and positions of the input channels of the pruned model, x_p, and of the dense one, x_d.

    Attributes
    ----------
    second, cross : Tensor
        Sums of x_p x_p^T and x_d x_p^T, float64, shape ``(groups, inputs of a group, inputs of a group)``.
    """

    second: Tensor
    cross: Tensor


@torch.no_grad()
def find_consumers(context: RepairContext) -> list[Consumer]:
    """Find the weights that read removed channels, in forward order, and could do so with others.

    Returns
    -------
    list of Consumer
        Those with a group in which some channels are removed and some are not.
    """
    example = context.calibration.images[:IMAGES]
    layers = {
        layer.parameter: layer
        for layer in find_units(context.dense_model, "weight", (), example).layers if layer.layout is not None
    }  # fmt: skip
    removed = zip(*(removed_inputs(m, example) for m in (context.model, context.dense_model)), strict=True)
    found: dict[tuple[str, int], Consumer] = {}

    def see(product: Product) -> None:
        pruned, before = next(removed)
        if product.weight.source != "parameter" or product.kind == "attention":
            return
        for part in weight_parts(tracer, product):
            is_whole = part.columns == slice(0, product.channels)
            if part.parameter in layers and part.layout is not None and (product.row_groups == 1 or is_whole):
                layer = layers[part.parameter]
                gone = torch.zeros(product.row_groups, product.inputs, dtype=torch.bool, device=example.device)
                if pruned is not None:
                    gone = (pruned if before is None else pruned & ~before).reshape(gone.shape)
                key = layer.name, part.channels.start
                if key in found:  # a weight that is used again
                    gone = gone & found[key].removed
                found[key] = Consumer(layer, part.channels, gone)

    with traceable(context.model), Products(context.model, see) as tracer:
        context.model(example)
    complete = [_with_zeroed_columns(context, consumer) for consumer in found.values()]
    return [one for one in complete if bool((one.removed.any(dim=1) & ~one.removed.all(dim=1)).any())]


def _with_zeroed_columns(context: RepairContext, consumer: Consumer) -> Consumer:
    """Count as removed, too, the input channels whose weights are masked, as those of an MLP's hidden channels."""
    masked, dense = (consumer.blocks(model) != 0 for model in (context.model, context.dense_model))
    kept_rows = masked.any(dim=(2, 3), keepdim=True)
    lost = (dense & kept_rows).any(dim=(1, 3)) & ~masked.any(dim=(1, 3))
    return Consumer(consumer.layer, consumer.channels, consumer.removed | lost)


def dense_moments(context: RepairContext, layers: list[PrunableLayer]) -> dict[tuple[str, int], ChannelMoments]:
    """Sum over the draw for some layers, with the dense model's inputs as x_p too, in one pass."""
    sums: dict[tuple[str, int], ChannelMoments] = {}

    def see(call: Call) -> None:
        for part in call.parts():
            x = _channels(call, part)
            _add(sums, call, (x @ x.mT).double())

    observe(context.dense_model, layers, (x for x, _ in context.calibration.parts()), see)
    return sums


def joint_moments(context: RepairContext, layers: list[PrunableLayer]) -> dict[tuple[str, int], ChannelMoments]:
    """Sum over the draw for some layers, dense and pruned model side by side on each batch."""
    sums: dict[tuple[str, int], ChannelMoments] = {}
    for images, _ in context.calibration.parts():
        calls: tuple[list[Call], list[Call]] = [], []
        for model, own in zip((context.dense_model, context.model), calls, strict=True):
            observe(model, layers, [images], own.append)
        for dense, pruned in zip(*calls, strict=True):
            for part_d, part_p in zip(dense.parts(), pruned.parts(), strict=True):
                x_d, x_p = _channels(dense, part_d), _channels(pruned, part_p)
                _add(sums, pruned, (x_p @ x_p.mT).double(), (x_d @ x_p.mT).double())
    return sums


def _channels(call: Call, x: Tensor) -> Tensor:
    """Lay out some of a call's inputs as ``(groups, inputs of a group, columns)``."""
    if not call.product.is_convolution:
        return call.patches(x)
    return x.transpose(0, 1).reshape(call.product.groups, call.product.inputs, -1)


def _add(sums: dict[tuple[str, int], ChannelMoments], call: Call, second: Tensor, cross: Tensor | None = None) -> None:
    key = call.layer.name, call.start
    if key not in sums:
        sums[key] = ChannelMoments(second, second if cross is None else cross)
        return
    sums[key].second.add_(second)
    if cross is not None:
        sums[key].cross.add_(cross)


@torch.no_grad()
def _refit(context: RepairContext, consumer: Consumer, moments: ChannelMoments, damping: float) -> None:
    """Refit one consumer in place."""
    layer, weight = consumer.layer, context.model.get_parameter(consumer.layer.parameter)
    if not bool(moments.second.isfinite().all() and moments.cross.isfinite().all()):
        raise CellError(f"the inputs of {layer.name} are NaN or infinite")
    dense = consumer.blocks(context.dense_model).double()
    blocks = consumer.blocks(context.model).to(torch.float64, copy=True)
    for g, removed in enumerate(consumer.removed):
        kept = ~removed
        if kept.all() or not kept.any():
            continue
        rows = blocks[g].ne(0).flatten(1).any(dim=1)  # a removed output stays removed
        gram = moments.second[g][kept][:, kept]
        target = dense[g][rows].movedim(1, 2) @ moments.cross[g][:, kept]  # (outputs, kernel positions, kept)
        resolution = len(gram) * torch.finfo(weight.dtype).eps
        fitted = solve(gram, target.flatten(0, 1), damping * float(gram.diagonal().mean()), resolution)
        refitted = torch.zeros_like(blocks[g][rows])
        refitted[:, kept] = fitted.reshape(target.shape).movedim(2, 1)
        blocks[g][rows] = refitted
    everything = layer.rows(weight).to(torch.float64, copy=True)
    everything[consumer.channels] = blocks.reshape(-1, everything.shape[1])
    weight.copy_(layer.channels.weight(everything, layer.weight_shape))
