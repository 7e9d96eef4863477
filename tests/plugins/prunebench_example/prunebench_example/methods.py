"""One plug-in of every kind that `prunebench` finds by entry point."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from prunebench.plugin import (
    Budget,
    Calibration,
    FeatureMap,
    Found,
    ModelView,
    NotApplicable,
    Objective,
    RepairContext,
    ScoreMap,
    UnitSpace,
    channel_moments,
    keep_count,
    scale_outputs,
)


def row_share(
    view: ModelView,
    calibration: Calibration,
    generator: torch.Generator,
    *,
    power: Annotated[float, Field(gt=0)] = 1.0,
) -> ScoreMap:
    """Score a weight by its share of the magnitude of its row, to a power."""
    scores = {}
    for name in view.units.names:
        rows = view.weight(name).abs().flatten(1) ** power
        scores[name] = view.reduce(name, (rows / rows.sum(dim=1, keepdim=True)).reshape(view.weight(name).shape))
    return ScoreMap(scores)


def two_curves(view: ModelView, calibration: Calibration, generator: torch.Generator) -> FeatureMap:
    """Two curves of the magnitude m, scaled to the layer's largest: m and m (1 - m)."""
    features = {}
    for name, magnitude in view.magnitudes().items():
        m = magnitude / magnitude.max()
        features[name] = torch.stack([m, m * (1 - m)])
    return FeatureMap(("line", "parabola"), features)


def corners(
    objective: Objective,
    dimensions: int,
    generator: np.random.Generator,
    *,
    evaluations: Annotated[int, Field(ge=1)] = 8,
) -> Found:
    """Try random corners of the box, all in one batch."""
    candidates = generator.choice([-1.0, 1.0], size=(evaluations, dimensions))
    values = objective(candidates)
    best = int(values.argmax())
    value = float(values[best])
    return Found(tuple(candidates[best].tolist()), value, evaluations, ((evaluations, value),))


def first_dense(units: UnitSpace, scores: ScoreMap, sparsity: float, view: ModelView) -> Budget:
    """Keep the first layer whole and prune the lowest scores of all others together."""
    first, keep = units.layers[0].size, keep_count(units.total, sparsity)
    if keep < first:
        raise NotApplicable(f"the first layer alone has {first} units, {keep} are to be kept in all")
    return Budget(units.layer_index().clamp(max=1), torch.tensor([first, keep - first]))


def above_mean(units: UnitSpace, scores: ScoreMap, sparsity: None, view: ModelView) -> Budget:
    """Keep as many units of a layer as have a score above its mean; it sets the sparsity by itself."""
    keep = [int((scores[name] > scores[name].mean()).sum()) for name in units.names]
    return Budget(units.layer_index(), torch.tensor(keep))


def half_layerwise(context: RepairContext) -> dict[str, Tensor]:
    """Bring a layer's summed variance half of the way back to the dense one."""
    pruned = channel_moments(context.model, context.units.layers, context.calibration)
    factors = {}
    for layer in context.units.layers:
        before, now = context.dense[layer.name].variance, pruned[layer.name].variance
        factor = (before.sum() / now.sum()).sqrt() if now.sum() > 0 else torch.tensor(1.0)
        factors[layer.name] = ((1 + factor) / 2).expand(len(now))
        scale_outputs(context.model, layer, factors[layer.name])
    return factors
