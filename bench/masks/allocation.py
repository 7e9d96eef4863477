"""Allocations: sparsity -> how many units each segment keeps (METHODS section 4).

Signature of an allocation: ``(units, scores, sparsity, view, *, options) -> Budget``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.core.errors import NotApplicable
from bench.masks.budget import Budget
from bench.models.counts import keep_count
from bench.models.tensors import ScoreMap
from bench.models.unit_space import UnitSpace
from bench.models.view import ModelView


def uniform(units: UnitSpace, scores: ScoreMap, sparsity: float | None, view: ModelView) -> Budget:
    """Prune the same share of every layer.

    Examples
    --------
    >>> from bench.models.unit_space import PrunableLayer
    >>> layers = tuple(PrunableLayer(name, (2, n), (2, n)) for name, n in (("a", 5), ("b", 10)))
    >>> uniform(UnitSpace("weight", layers), None, 0.8, None).keep
    tensor([2, 4])
    """
    keep = [keep_count(layer.size, sparsity) for layer in units.layers]
    return Budget(units.layer_index(), torch.tensor(keep))


def global_(units: UnitSpace, scores: ScoreMap, sparsity: float | None, view: ModelView) -> Budget:
    """Prune the lowest scores of the whole model; layers share by their scores."""
    everything = torch.zeros(1, dtype=torch.int64).expand(units.total)
    return Budget(everything, torch.tensor([keep_count(units.total, sparsity)]))


def per_output(units: UnitSpace, scores: ScoreMap, sparsity: float | None, view: ModelView) -> Budget:
    """Prune the same share of the weights of every output channel (Sun 2024).

    Each row's count is rounded by itself, so short rows may move the achieved sparsity off the request.

    Raises
    ------
    NotApplicable
        For channels: an output has a single one. For a layer whose output channels are not known.
    """
    if units.granularity != "weight":
        raise NotApplicable("per_output compares the weights of one output; a channel is a whole output")
    keep = []
    for layer in units.layers:
        keep += [keep_count(layer.channels.weights_per_channel, sparsity)] * layer.channels.channels
    return Budget(output_rows(units), torch.tensor(keep))


def output_rows(units: UnitSpace) -> Tensor:
    """Return for each weight the number of its output row, counted through the layers: int64, shape ``(total,)``.

    Raises
    ------
    NotApplicable
        For a layer whose output channels are not known.

    Examples
    --------
    >>> from bench.models.unit_space import PrunableLayer
    >>> output_rows(UnitSpace("weight", (PrunableLayer("a", (2, 2), (2, 2)), PrunableLayer("b", (1, 3), (1, 3)))))
    tensor([0, 0, 1, 1, 2, 2, 2])
    """
    segments, start = [], 0
    for layer in units.layers:
        layout = layer.channels
        channel = torch.arange(start, start + layout.channels).unsqueeze(1).expand(-1, layout.weights_per_channel)
        segments.append(layout.weight(channel, layer.weight_shape).reshape(-1))
        start += layout.channels
    return torch.cat(segments)
