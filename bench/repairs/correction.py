"""Corrections: per-channel factors that give a pruned layer's output its dense variance (METHODS section 5).

Signature of a correction: ``(context, *, options) -> factors per layer``, changing ``context.model`` in
place. With v_d and v_p the variances of a channel in the dense and the pruned model, a channel with
v_p <= 1e-12 x the median v_d of the layer's channels that vary is dead and keeps the factor 1.

Every correction but `none` has the option `order`: ``parallel`` (the default of all but `repair`) takes all from
one pass over the masked model; ``sequential`` goes through the layers in forward order, each measured when those
before it are repaired, one pass per layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from bench.core.errors import NotApplicable
from bench.models.bias import bias_parts
from bench.models.tensors import MaskSet
from bench.models.unit_space import PrunableLayer, UnitSpace
from bench.models.view import Calibration
from bench.repairs.statistics import Moments, batch_moments

Order = Literal["parallel", "sequential"]

#: A channel whose variance fell below this share of the layer's median dense variance is dead.
DEAD_SHARE = 1e-12
#: Factors are limited to this range.
LIMITS = (1e-3, 10.0)
#: `asr_soft` fades out channels whose variance is below this share of their layer's median.
SOFT_SHARE = 0.05
#: Least tau^2 of `asr_eb`.
LEAST_SPREAD = 1e-6


@dataclass(frozen=True)
class RepairContext:
    """What a correction works on.

    Attributes
    ----------
    model : nn.Module
        The masked model, to be changed in place.
    dense : mapping of str to Moments
        Moments of every prunable layer's output in the dense model, on the same draw.
    units : UnitSpace
        The prunable units.
    masks : MaskSet
        The masks in effect.
    calibration : Calibration
        The draw.
    dense_model : nn.Module
        The unpruned model; not to be changed.
    pruned : mapping of str to list of Moments, optional
        Moments of the masked model, layer by layer and batch by batch, where they are known already.
    """

    model: nn.Module
    dense: Mapping[str, Moments]
    units: UnitSpace
    masks: MaskSet
    calibration: Calibration
    dense_model: nn.Module
    pruned: Mapping[str, list[Moments]] | None = None


@dataclass(frozen=True)
class Variances:
    """Variances of one layer's output channels, float64, shape ``(channels,)``.

    Attributes
    ----------
    dense, pruned : Tensor
        v_d and v_p.
    batches : Tensor or None
        v_p of every full batch alone, shape ``(batches, channels)``.

    Examples
    --------
    >>> Variances(torch.tensor([1.0, 4.0]), torch.tensor([1e-20, 1.0])).live
    tensor([False,  True])
    """

    dense: Tensor
    pruned: Tensor
    batches: Tensor | None = None

    @property
    def finite(self) -> Tensor:
        """Channels of which both variances are numbers."""
        return self.dense.isfinite() & self.pruned.isfinite()

    @property
    def live(self) -> Tensor:
        """Channels that are finite and not dead."""
        varying = self.dense[self.finite & (self.dense > 0)]
        if not len(varying):
            return torch.zeros_like(self.finite)
        return self.finite & (self.pruned > DEAD_SHARE * varying.quantile(0.5))


def none(context: RepairContext) -> dict[str, Tensor]:
    """Change nothing."""
    return {}


def layerwise(context: RepairContext, *, order: Order = "parallel") -> dict[str, Tensor]:
    """Factor sqrt(sum v_d / sum v_p), the sums over all channels of the layer."""
    return _correct(context, layerwise_factors, order)


def channelwise(context: RepairContext, *, order: Order = "parallel") -> dict[str, Tensor]:
    """Factor sqrt(v_d / v_p) of each channel."""
    return _correct(context, channelwise_factors, order)


def asr(
    context: RepairContext,
    *,
    lam: Literal["median"] | Annotated[float, Field(ge=0)] = "median",
    order: Order = "parallel",
) -> dict[str, Tensor]:
    """Adaptive signal resuscitation: the channelwise factor shrunk towards 1 where v_p is small.

    gamma = s sqrt(v_d / v_p) + (1 - s), s = v_p / (v_p + lambda) (arXiv 2605.21426).

    Parameters
    ----------
    context : RepairContext
        What to work on.
    lam : {"median"} or float
        lambda: the median of v_p over the layer's live channels, or a variance; 0 is `channelwise`.
    order : {"parallel", "sequential"}
        Which model the variances are those of (see the module).
    """
    return _correct(context, lambda variances: asr_factors(variances, lam), order)


def asr_soft(context: RepairContext, *, order: Order = "parallel") -> dict[str, Tensor]:
    """`asr` with s times min(1, v_p / (0.05 median)): channels that nearly died fade out (arXiv 2605.21426)."""
    return _correct(context, asr_soft_factors, order)


def asr_eb(context: RepairContext, *, order: Order = "parallel") -> dict[str, Tensor]:
    """`asr` with the lambda that empirical Bayes gives (ours; see `asr_eb_factors`).

    Raises
    ------
    NotApplicable
        If the draw has less than two full batches.
    """
    return _correct(context, asr_eb_factors, order)


def repair(context: RepairContext, *, order: Order = "sequential") -> dict[str, Tensor]:
    """Give each channel its dense mean and variance: REPAIR's affine (Jordan et al. 2023), folded in.

    The factor is `channelwise`'s, limited likewise; the shift is what the mean then lacks. A dead channel has factor 1
    and is shifted too, unless it is a removed unit: a constant on a removed channel would make it a part of the network
    again. The shift is added where `shift_outputs` finds a place. Without one (no bias and no directly following
    BatchNorm, as in DenseNet's pre-activation blocks) the mean stays unmatched, since an added parameter would not
    reload into the plain architecture (ours).

    Parameters
    ----------
    context : RepairContext
        What to work on.
    order : {"sequential", "parallel"}
        The authors' code resets the layers from the first to the last, each behind those that are reset already.

    Returns
    -------
    dict of str to Tensor
        The factors. Empty if a shift went into a bias that no BatchNorm directly follows: recalibration need not undo
        that shift, so the cancellation identity does not apply to this model.
    """
    factors = _correct(context, channelwise_factors, order, match_mean=True)
    shifted = (bool(layer.bias) and layer.batchnorm is None for layer in context.units.layers)
    return {} if any(shifted) else factors


def layerwise_factors(variances: Variances) -> Tensor:
    """Return sqrt(sum v_d / sum v_p) for every channel, the sums over all finite ones.

    Examples
    --------
    >>> layerwise_factors(Variances(torch.tensor([3.0, 1.0]), torch.tensor([1.0, 0.0])))
    tensor([2., 2.])
    """
    dense, pruned = (v[variances.finite].sum() for v in (variances.dense, variances.pruned))
    return (dense / pruned).sqrt().expand(variances.dense.shape)


def channelwise_factors(variances: Variances) -> Tensor:
    """Return sqrt(v_d / v_p)."""
    return (variances.dense / variances.pruned).sqrt()


def asr_factors(variances: Variances, lam: float | Literal["median"]) -> Tensor:
    """Return s sqrt(v_d / v_p) + (1 - s), s = v_p / (v_p + lambda).

    Examples
    --------
    >>> asr_factors(Variances(torch.tensor([9.0, 9.0, 9.0]), torch.tensor([1.0, 1.0, 1.0])), "median")
    tensor([2., 2., 2.])
    """
    if lam == "median":
        lam = live_median(variances)
    return _shrunk(variances, variances.pruned / (variances.pruned + lam))


def asr_soft_factors(variances: Variances) -> Tensor:
    """Return `asr_factors` with lambda the median of v_p and s times min(1, v_p / (0.05 median)).

    Examples
    --------
    >>> asr_soft_factors(Variances(torch.tensor([9.0, 9.0, 9.0]), torch.tensor([0.01, 1.0, 1.0])))
    tensor([1.0574, 2.0000, 2.0000])
    """
    median = live_median(variances)
    s = variances.pruned / (variances.pruned + median)
    return _shrunk(variances, s * (variances.pruned / (SOFT_SHARE * median)).clamp(max=1))


def asr_eb_factors(variances: Variances) -> Tensor:
    """Return `asr_factors` with lambda = v_0 sigma^2 / tau^2, estimated in each layer (ours).

    v_0 is the median of v_p over the live channels. sigma^2 is the sampling variance of log v_p: the variance
    of its values in single batches, divided by their number, averaged over the live channels that vary in
    every batch. tau^2 is the variance of log v_p between live channels less sigma^2, at least 1e-6.
    Both variances are unbiased; that of a single channel is 0.

    Raises
    ------
    NotApplicable
        If there are less than two full batches.

    Examples
    --------
    v_0 = 1, sigma^2 = 0.5 / 2 and tau^2 = 1 - 0.25, so lambda = 1/3 and s of the second channel is 3/4:

    >>> batches = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]).exp()
    >>> asr_eb_factors(Variances(torch.full((3,), 9.0), torch.tensor([-1.0, 0.0, 1.0]).exp(), batches))
    tensor([3.0703, 2.5000, 1.7301])
    """
    if variances.batches is None or len(variances.batches) < 2:
        raise NotApplicable("asr_eb estimates the sampling noise from at least two full calibration batches")
    live = variances.live
    varying = live & ((variances.batches > 0) & variances.batches.isfinite()).all(dim=0)
    if not varying.any():
        return torch.ones_like(variances.pruned)
    sigma2 = variances.batches[:, varying].log().var(dim=0).mean() / len(variances.batches)
    spread = variances.pruned[live].log().var(correction=min(1, int(live.sum()) - 1))
    tau2 = (spread - sigma2).clamp_min(LEAST_SPREAD)
    return asr_factors(variances, live_median(variances) * float(sigma2 / tau2))


def live_median(variances: Variances) -> float:
    """Return the median of v_p over the live channels, the mean of the middle two; 0 where none is live."""
    live = variances.pruned[variances.live]
    return float(live.quantile(0.5)) if len(live) else 0.0


def _shrunk(variances: Variances, s: Tensor) -> Tensor:
    return s * channelwise_factors(variances) + (1 - s)


def _correct(
    context: RepairContext, factors_of: Callable[[Variances], Tensor], order: Order, *, match_mean: bool = False
) -> dict[str, Tensor]:
    """Compute every layer's factors and fold them in, and with `match_mean` the shifts of kept channels too.

    One pass over the masked model measures all layers (`parallel`; none where its moments are known), or each
    layer has a pass of its own over the model as corrected so far (`sequential`).
    """
    layers = context.units.layers
    factors = {}
    measured: Mapping[str, list[Moments]]
    for step in [layers] if order == "parallel" else [(layer,) for layer in layers]:
        if order == "parallel" and context.pruned is not None:
            measured = context.pruned
        else:
            measured = batch_moments(context.model, step, context.calibration)
        for layer in step:
            dense, batches = context.dense[layer.name], measured[layer.name]
            pruned = reduce(Moments.pool, batches)
            full = torch.stack([moments.variance for moments in batches if moments.count == batches[0].count])
            variances = Variances(dense.variance, pruned.variance, full)
            factor = limited(factors_of(variances), variances.live)
            scale_outputs(context.model, layer, factor)
            if match_mean:
                shift = dense.mean - factor * pruned.mean
                matched = shift.isfinite()
                if context.units.granularity != "weight":
                    matched &= variances.live | context.masks[layer.name].to(matched.device)
                shift_outputs(context.model, layer, torch.where(matched, shift, torch.zeros_like(shift)))
            factors[layer.name] = factor
    return factors


def limited(factors: Tensor, live: Tensor) -> Tensor:
    """Clip factors to `LIMITS`; those of channels that are not live, or 0 x infinity, become 1.

    Examples
    --------
    >>> limited(torch.tensor([float("nan"), 100.0, 2.0]), torch.tensor([False, True, True]))
    tensor([ 1., 10.,  2.])
    """
    return torch.where(live & ~factors.isnan(), factors.clamp(*LIMITS), torch.ones_like(factors))


@torch.no_grad()
def scale_outputs(model: nn.Module, layer: PrunableLayer, factors: Tensor) -> None:
    """Multiply a layer's output channels by positive factors, folded into weight and bias.

    Raises
    ------
    NotApplicable
        If what is added to the outputs is no parameter of known place, or the channels are not known.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(1, 2, bias=False))
    >>> _ = net[0].weight.data.fill_(1.0)
    >>> scale_outputs(net, PrunableLayer("0", (2, 1), (2, 1)), torch.tensor([2.0, 3.0]))
    >>> net[0].weight.flatten().tolist()
    [2.0, 3.0]
    """
    layout = layer.channels
    if layer.bias is None:
        raise NotApplicable(f"{layer.name}: what is added to its outputs is computed, so no factor can be folded in")
    weight = model.get_parameter(layer.parameter)
    rows = layout.rows(weight) * factors.to(weight.dtype).unsqueeze(1)
    weight.copy_(layout.weight(rows, tuple(weight.shape)))
    for part, channels in bias_parts(model, layer):
        part.mul_(factors[channels].to(part.dtype))


@torch.no_grad()
def shift_outputs(model: nn.Module, layer: PrunableLayer, shift: Tensor) -> None:
    """Add a constant to each of a layer's output channels, where it has a place (`has_shift`); else do nothing.

    The place is the layer's bias; or, without one, the running mean of the directly following BatchNorm, which is
    subtracted: the same function, and also after a recalibration of any kind the same as with the shift in a bias.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1))
    >>> shift_outputs(net, PrunableLayer("0", (1, 1, 1, 1), (1,), "1"), torch.tensor([2.0]))
    >>> net[1].running_mean.tolist()
    [-2.0]
    """
    if not has_shift(model, layer):
        return
    if layer.bias:
        for part, channels in bias_parts(model, layer):
            part.add_(shift[channels].to(part.dtype))
    else:
        running_mean = model.get_submodule(str(layer.batchnorm)).get_buffer("running_mean")
        running_mean.sub_(shift.to(running_mean.dtype))


def has_shift(model: nn.Module, layer: PrunableLayer) -> bool:
    """Whether a constant can be added to a layer's output channels without another parameter."""
    if layer.bias:
        runs = {(part.start, part.stop) for part in layer.bias}  # tied weights have one bias at each place
        return sum(stop - start for start, stop in runs) == layer.channels.channels
    if layer.bias is None or layer.batchnorm is None:
        return False
    return isinstance(model.get_submodule(layer.batchnorm).running_mean, Tensor)
