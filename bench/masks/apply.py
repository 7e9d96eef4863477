"""Masks put into effect: pruned weights and channels become zeros."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.tensors import MaskSet, PrunableLayer, UnitSpace


@torch.no_grad()
def apply_masks(model: nn.Module, units: UnitSpace, masks: MaskSet) -> None:
    """Zero, in place, whatever the pruned units contribute (METHODS section 1).

    A weight is set to zero. For a channel, its filter and bias are, and weight and bias of a directly
    following BatchNorm; for a hidden channel of an MLP, the row and bias of ``fc1`` and the column of
    ``fc2``.

    Parameters
    ----------
    model : nn.Module
        Changed in place.
    units : UnitSpace
        Its prunable units.
    masks : MaskSet
        True means kept.

    Examples
    --------
    >>> layer = nn.Linear(1, 2)
    >>> units = UnitSpace("weight", (PrunableLayer("0", (2, 1), (2, 1)),))
    >>> apply_masks(nn.Sequential(layer), units, MaskSet(units, {"0": torch.tensor([[True], [False]])}))
    >>> (layer.weight != 0).tolist()
    [[True], [False]]
    """
    for layer in units.layers:
        module = model.get_submodule(layer.name)
        pruned = ~masks[layer.name]
        if units.granularity == "weight":
            _zero(module, "weight", pruned.to(module.get_parameter("weight").device))
        else:
            _zero_channels(model, layer, pruned.to(module.get_parameter("weight").device))


def _zero_channels(model: nn.Module, layer: PrunableLayer, pruned: Tensor) -> None:
    for name in filter(None, (layer.name, layer.batchnorm)):
        module = model.get_submodule(name)
        _zero(module, "weight", pruned)
        _zero(module, "bias", pruned)
    if layer.partner is not None:
        model.get_submodule(layer.partner).get_parameter("weight")[:, pruned] = 0


def _zero(module: nn.Module, parameter: str, pruned: Tensor) -> None:
    tensor = getattr(module, parameter, None)
    if tensor is not None:
        tensor.masked_fill_(pruned.reshape(pruned.shape + (1,) * (tensor.dim() - pruned.dim())), 0)
