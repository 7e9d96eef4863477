"""Where recalibration undoes a correction: the scope of the cancellation identity (METHODS section 5).

A positive factor on a convolution's output channel cancels in a BatchNorm whose statistics are computed
anew, up to BatchNorm's eps, if nothing on the way to it mixes the channel with another or bends it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from bench.models.unit_space import UnitSpace
from bench.models.view import Calibration
from bench.repairs.correction import scale_outputs

#: Far below any live variance, far above the square of float64's rounding errors.
TINY_EPS = 1e-20
#: Change of the logits, relative to the largest, that counts as one; rounding stays many orders below.
TOLERANCE = 1e-4
#: Images of the probe.
IMAGES = 8


@torch.no_grad()
def uncovered_layers(model: nn.Module, units: UnitSpace, calibration: Calibration) -> tuple[str, ...]:
    """Find the prunable layers whose output scale survives a complete recalibration.

    Each layer in turn has every second output channel doubled (doubling all would cancel in a LayerNorm
    too, where a factor per channel does not), and the logits are compared. BatchNorm runs on the
    batch's own statistics with a tiny eps, in float64: that *is* the complete recalibration on
    this batch.

    Parameters
    ----------
    model : nn.Module
        Copied, not changed.
    units : UnitSpace
        Its prunable units.
    calibration : Calibration
        The first images of it are used.

    Returns
    -------
    tuple of str
        Layer names in order; all of them for a model without BatchNorm.
    """
    probe = copy.deepcopy(model).double().eval()
    batchnorms = [module for module in probe.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not batchnorms:  # not by the probe: an untrained layer scale of 1e-6 hides what its block does
        return units.names
    for module in batchnorms:
        module.train()
        module.eps = TINY_EPS
    x = calibration.images[:IMAGES].double()
    reference = probe(x)
    allowed = TOLERANCE * reference.abs().max()
    uncovered = []
    for layer in units.layers:
        if layer.layout is None or layer.bias is None:  # no correction reaches it
            uncovered.append(layer.name)
            continue
        factors = torch.ones(layer.channels.channels, dtype=x.dtype, device=x.device)
        factors[::2] = 2
        scale_outputs(probe, layer, factors)
        if (probe(x) - reference).abs().max() > allowed:
            uncovered.append(layer.name)
        scale_outputs(probe, layer, 1 / factors)  # exact: powers of two
    return tuple(uncovered)


def eps_ratio(factors: Tensor, variance: Tensor, eps: float) -> float:
    """Largest ratio by which BatchNorm's eps lets a channel keep something of its factor.

    A channel of variance v, multiplied by c and normalised, is c / sqrt(c ** 2 v + eps) times the
    original where it would be 1 / sqrt(v + eps) without the factor: they differ by the ratio
    sqrt((v + eps) / (v + eps / c ** 2)), or its inverse for c < 1.

    Parameters
    ----------
    factors : Tensor
        c, shape ``(channels,)``; dead channels have 1, which gives the ratio 1.
    variance : Tensor
        v of the recalibrated model without the correction, shape ``(channels,)``.
    eps : float
        BatchNorm's.

    Examples
    --------
    >>> c, v = torch.tensor([10.0]), torch.tensor([1e-5])
    >>> round(eps_ratio(c, v, 1e-5), 2), round(eps_ratio(1 / c, v, 1e-5), 2), eps_ratio(c, v, 0.0)
    (1.41, 7.11, 1.0)
    """
    ratio = ((variance + eps) / (variance + eps / factors.square())).sqrt()
    return float(torch.maximum(ratio, 1 / ratio).max())


def largest_eps_ratio(model: nn.Module, units: UnitSpace, factors: Mapping[str, Tensor], kept: float = 0.0) -> float:
    """Return the largest `eps_ratio` over the layers that a BatchNorm directly follows, at least 1.

    Parameters
    ----------
    model : nn.Module
        Corrected by `factors` and then recalibrated: BatchNorm's variance, divided by the factor's
        square, is that of the model without the correction.
    units : UnitSpace
        Its prunable units.
    factors : mapping of str to Tensor
        What the correction returned.
    kept : float
        Weight of a variance of 1 in the running variances, which the recalibration keeps from its reset: BatchNorm
        then divides as if its eps were larger by it.
    """
    largest = 1.0
    for layer in units.layers:
        if layer.name in factors and layer.batchnorm is not None:
            batchnorm = cast(nn.BatchNorm2d, model.get_submodule(layer.batchnorm))
            if batchnorm.running_var is None:
                continue
            variance = (batchnorm.running_var.double() - kept).clamp_min(0) / factors[layer.name].square()
            largest = max(largest, eps_ratio(factors[layer.name], variance, batchnorm.eps + kept))
    return largest
