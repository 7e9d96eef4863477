"""Corrections: per-channel factors that give a pruned layer's output its dense variance (METHODS section 5).

Signature of a correction: ``(context, *, options) -> factors per layer``, changing ``context.model`` in
place. With v_d and v_p the variances of a channel in the dense and the pruned model, a channel with
v_p <= 1e-12 x the median v_d of the layer's channels that vary is dead and keeps the factor 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from bench.models.view import Calibration
from bench.repairs.statistics import Moments, channel_moments
from bench.tensors import MaskSet, UnitSpace

#: A channel whose variance fell below this share of the layer's median dense variance is dead.
DEAD_SHARE = 1e-12
#: Factors are limited to this range.
LIMITS = (1e-3, 10.0)


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
    """

    model: nn.Module
    dense: Mapping[str, Moments]
    units: UnitSpace
    masks: MaskSet
    calibration: Calibration
    dense_model: nn.Module


@dataclass(frozen=True)
class Variances:
    """Variances of one layer's output channels, float64, shape ``(channels,)``.

    Attributes
    ----------
    dense, pruned : Tensor
        v_d and v_p.

    Examples
    --------
    >>> Variances(torch.tensor([1.0, 4.0]), torch.tensor([1e-20, 1.0])).live
    tensor([False,  True])
    """

    dense: Tensor
    pruned: Tensor

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


def layerwise(context: RepairContext) -> dict[str, Tensor]:
    """Factor sqrt(sum v_d / sum v_p), the sums over all channels of the layer."""
    return _correct(context, layerwise_factors)


def channelwise(context: RepairContext) -> dict[str, Tensor]:
    """Factor sqrt(v_d / v_p) of each channel."""
    return _correct(context, channelwise_factors)


def asr(
    context: RepairContext, *, lam: Literal["median"] | Annotated[float, Field(ge=0)] = "median"
) -> dict[str, Tensor]:
    """Adaptive signal resuscitation: the channelwise factor shrunk towards 1 where v_p is small.

    gamma = s sqrt(v_d / v_p) + (1 - s), s = v_p / (v_p + lambda) (arXiv 2605.21426).

    Parameters
    ----------
    context : RepairContext
        What to work on.
    lam : {"median"} or float
        lambda: the median of v_p over the layer's live channels, or a variance; 0 is `channelwise`.
    """
    return _correct(context, lambda variances: asr_factors(variances, lam))


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
    live = variances.live
    if lam == "median":
        lam = float(variances.pruned[live].quantile(0.5)) if live.any() else 0.0
    s = variances.pruned / (variances.pruned + lam)
    return s * channelwise_factors(variances) + (1 - s)


def _correct(context: RepairContext, factors_of: Callable[[Variances], Tensor]) -> dict[str, Tensor]:
    """Compute every layer's factors from one pass over the masked model, then fold them in."""
    pruned = channel_moments(context.model, context.units.names, context.calibration)
    factors = {}
    for name in context.units.names:
        variances = Variances(context.dense[name].variance, pruned[name].variance)
        factors[name] = limited(factors_of(variances), variances.live)
        scale_outputs(context.model.get_submodule(name), factors[name])
    return factors


def limited(factors: Tensor, live: Tensor) -> Tensor:
    """Clip factors to `LIMITS`; those of channels that are not live become 1.

    Examples
    --------
    >>> limited(torch.tensor([float("nan"), 100.0, 2.0]), torch.tensor([False, True, True]))
    tensor([ 1., 10.,  2.])
    """
    return torch.where(live, factors.clamp(*LIMITS), torch.ones_like(factors))


@torch.no_grad()
def scale_outputs(layer: nn.Module, factors: Tensor) -> None:
    """Multiply a layer's output channels by positive factors, folded into weight and bias.

    Examples
    --------
    >>> layer = nn.Linear(1, 2, bias=False)
    >>> _ = layer.weight.data.fill_(1.0)
    >>> scale_outputs(layer, torch.tensor([2.0, 3.0]))
    >>> layer.weight.flatten().tolist()
    [2.0, 3.0]
    """
    weight = layer.get_parameter("weight")
    weight.mul_(factors.to(weight.dtype).view(-1, *[1] * (weight.dim() - 1)))
    bias = getattr(layer, "bias", None)
    if bias is not None:
        bias.mul_(factors.to(bias.dtype))
