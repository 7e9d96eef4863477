"""The empirical Fisher diagonal as the curvature of Optimal Brain Damage (LeCun et al. 1989)."""

from __future__ import annotations

from dataclasses import replace

import torch

from bench.models.tensors import ScoreMap
from bench.models.view import Calibration, ModelView
from bench.scorers.gradient import summed_gradients


def fisher(view: ModelView, calibration: Calibration, generator: torch.Generator) -> ScoreMap:
    """Score 1/2 w^2 E[g_i^2], g_i the gradient of image i's own loss; a channel by its mean over the filter.

    Images are taken one by one, which serves every network and holds one gradient at a time. On a CPU
    `torch.func.vmap` and hooks on the layers were no faster, and vmap has no rule for some operations.
    """
    one_by_one = replace(calibration, batch=1)
    squares = {
        name: torch.zeros_like(view.parameter(name), dtype=torch.float64, requires_grad=False)
        for name in view.units.names
    }
    for _, gradients in summed_gradients(view, one_by_one):
        for layer in view.units.layers:
            g = gradients[layer.parameter]
            squares[layer.name].addcmul_(g, g)
    return ScoreMap(
        {
            name: view.reduce(name, view.weight(name).square() * total / (2 * len(calibration)))
            for name, total in squares.items()
        }
    )
