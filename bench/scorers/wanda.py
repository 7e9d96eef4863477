"""Wanda: weights by magnitude times the norm of what they read (Sun et al. 2024)."""

from __future__ import annotations

import torch

from bench.models.inputs import squared_inputs
from bench.models.tensors import ScoreMap
from bench.models.view import Calibration, ModelView


def wanda(view: ModelView, calibration: Calibration, generator: torch.Generator) -> ScoreMap:
    """Score abs(w_ij) norm2(x_j), x_j all values that the weight multiplies on the draw.

    In a linear layer x_j is input feature j over images and tokens; in a convolution it is element j
    of the input patch over images and output positions, zero padding included. A layer that is called several
    times has the sum over its calls. A channel's score is the mean over its filter.
    """
    scores = {}
    for name, squares in squared_inputs(view.model, view.units.layers, calibration).items():
        layer, rows = view.layer(name), view.rows(name)
        scores[name] = view.reduce(name, layer.channels.weight(rows.abs() * squares.sqrt(), layer.weight_shape))
    return ScoreMap(scores)
