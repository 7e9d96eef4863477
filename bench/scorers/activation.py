"""Channels by how large their activations are."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from bench.core.errors import NotApplicable
from bench.models.observe import Call, observe
from bench.models.tensors import ScoreMap
from bench.models.view import Calibration, ModelView


def activation(view: ModelView, calibration: Calibration, generator: torch.Generator) -> ScoreMap:
    """Score the mean abs activation of a channel over images and positions.

    Taken from the layer's output after its directly following BatchNorm, where it has one, and before the
    non-linearity (ours).

    Raises
    ------
    NotApplicable
        For weights, which have no activation of their own.
    """
    if view.granularity != "channel":
        raise NotApplicable("activation scores channels; a single weight has no activation of its own")
    sums: dict[str, Tensor] = {}
    counts = dict.fromkeys(view.units.names, 0)

    def accumulate(call: Call) -> None:
        layer, output = call.layer, call.outputs(view.model)
        if layer.batchnorm is not None:
            # not by calling the module: timm's BatchNormAct2d applies the non-linearity, too
            output = _BatchNorm.forward(cast(_BatchNorm, view.module(layer.batchnorm)), output)
        channels = output.movedim(1, 0).flatten(1)
        total = channels.abs().sum(dim=1, dtype=torch.float64)
        sums[layer.name] = sums[layer.name] + total if layer.name in sums else total
        counts[layer.name] += channels.shape[1]

    observe(view.model, view.units.layers, (x for x, _ in calibration.parts()), accumulate)
    return ScoreMap({name: total / counts[name] for name, total in sums.items()})
