"""Scores from the gradient g of the loss on calibration data.

The model's own parameters are never asked for gradients: the loss is computed with stand-ins that
share their storage (`torch.func.functional_call`), so that flags and `.grad` stay as they were.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from bench.models.view import Calibration, ModelView
from bench.tensors import ScoreMap

#: Images in a batch of channel Taylor scores, whatever the calibration batch is (METHODS section 2).
TAYLOR_BATCH = 32


def gradient(view: ModelView, calibration: Calibration, generator: torch.Generator) -> ScoreMap:
    """Score abs(g), g the gradient of the mean loss over the draw; a channel by its mean over the filter."""
    scores = {name: view.reduce(name, g.abs()) for name, g in mean_gradient(view, calibration).items()}
    return ScoreMap(scores)


def taylor(view: ModelView, calibration: Calibration, generator: torch.Generator) -> ScoreMap:
    """Score the first-order change of the loss when the unit is removed (Molchanov et al. 2017, 2019).

    Weights: abs(g w), g the gradient of the mean loss over the draw (2017). Channels: the mean over
    batches of 32 images of (sum of g w over the filter) ** 2, g the gradient of the batch's mean loss
    (2019, first order, the filter as one group).
    """
    if view.granularity == "weight":
        gradients = mean_gradient(view, calibration)
        return ScoreMap({name: (g * view.weight(name)).abs() for name, g in gradients.items()})
    batches = Calibration(calibration.images, calibration.labels, TAYLOR_BATCH)
    sums = {layer.name: torch.zeros(layer.unit_shape, dtype=torch.float64) for layer in view.units.layers}
    count = 0
    for images, gradients in _summed_gradients(view, batches):
        count += 1
        for name, g in gradients.items():
            change = (g / images * view.weight(name)).flatten(1).sum(dim=1)
            sums[name] = sums[name].to(change.device) + change.square()
    return ScoreMap({name: total / count for name, total in sums.items()})


def mean_gradient(view: ModelView, calibration: Calibration) -> dict[str, Tensor]:
    """Return the gradient of the mean cross-entropy over the draw for every prunable weight.

    Returns
    -------
    dict of str to Tensor
        float64, in the shape of the weight; accumulated in float64 over the batches, so that a batch
        of any size gives the same mean up to rounding.
    """
    total: dict[str, Tensor] = {}
    for _, gradients in _summed_gradients(view, calibration):
        total = {name: g + total[name] if total else g for name, g in gradients.items()}
    return {name: g / len(calibration) for name, g in total.items()}


def _summed_gradients(view: ModelView, calibration: Calibration) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """Yield for every batch its size and the gradient of its summed loss, float64."""
    names = view.units.names
    leaves = {f"{name}.weight": view.module(name).get_parameter("weight").detach().requires_grad_() for name in names}
    frozen = {name: p.detach() for name, p in view.model.named_parameters() if name not in leaves}
    for x, y in calibration.batches():
        logits = functional_call(view.model, {**frozen, **leaves}, (x,))
        loss = F.cross_entropy(logits, y, reduction="sum")
        gradients = torch.autograd.grad(loss, list(leaves.values()))
        yield len(x), {name: g.double() for name, g in zip(names, gradients, strict=True)}
