"""The baseline that knows nothing."""

from __future__ import annotations

import torch

from bench.models.tensors import ScoreMap
from bench.models.view import Calibration, ModelView


def random(view: ModelView, calibration: Calibration, generator: torch.Generator) -> ScoreMap:
    """Independent uniform scores in [0, 1), the same for a generator of the same seed on every device."""
    device = view.parameter(view.units.names[0]).device
    return ScoreMap(
        {
            layer.name: torch.rand(layer.unit_shape, generator=generator, dtype=torch.float64).to(device)
            for layer in view.units.ranked.layers
        }
    )
