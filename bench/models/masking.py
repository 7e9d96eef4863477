"""Masks put into effect: pruned weights and channels become zeros."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.models.bias import bias_parts
from bench.models.tensors import MaskSet
from bench.models.unit_space import PrunableLayer, UnitSpace


@torch.no_grad()
def apply_masks(model: nn.Module, units: UnitSpace, masks: MaskSet) -> None:
    """Zero, in place, whatever the pruned units contribute (METHODS section 1).

    A weight is set to zero. For a channel, its filter and bias are, and weight and bias of a directly
    following BatchNorm; for a hidden channel of an MLP, the row and bias of ``fc1`` and the column of
    ``fc2``; for the values of a head, the columns of the output projection, too. For a group, the values of every
    BatchNorm that normalises its channels.

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
        weight = model.get_parameter(layer.parameter)
        pruned = ~masks[layer.name].to(weight.device)
        if units.granularity == "weight":
            weight.masked_fill_(pruned, 0)
        else:
            _zero_channels(model, layer, pruned)
    if units.coupling is not None:
        for name, places in units.coupling.vectors.items():
            vector = model.get_parameter(name)
            removed = ~masks.flat.to(vector.device)[places.clamp_min(0).to(vector.device)]
            vector.masked_fill_(removed & (places.to(vector.device) >= 0), 0)


def _zero_channels(model: nn.Module, layer: PrunableLayer, pruned: Tensor) -> None:
    _zero_rows(model, layer, pruned.unsqueeze(1))
    for part, channels in bias_parts(model, layer):
        part.masked_fill_(pruned[channels], 0)
    if layer.batchnorm is not None:
        batchnorm = model.get_submodule(layer.batchnorm)
        for tensor in (batchnorm.weight, batchnorm.bias):
            if isinstance(tensor, Tensor):
                tensor.masked_fill_(pruned, 0)
    if layer.reader is not None:
        weights = layer.reader.channels.weights_per_channel  # one per input channel and kernel position
        read = layer.read_of(pruned)
        _zero_rows(model, layer.reader, read.repeat_interleave(weights // len(read)).unsqueeze(0))


def _zero_rows(model: nn.Module, layer: PrunableLayer, pruned: Tensor) -> None:
    """Zero a weight where `pruned`, broadcast to its rows, is True."""
    weight = model.get_parameter(layer.parameter)
    rows = layer.rows(weight).masked_fill(pruned, 0)
    weight.copy_(layer.channels.weight(rows, tuple(weight.shape)))
