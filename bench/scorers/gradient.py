"""Scores from the gradient g of the loss on calibration data.

The model's own parameters never require gradients: the loss is computed with stand-ins that
share their storage (`torch.func.functional_call`), so that flags and `.grad` stay as they were.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from bench.core.errors import CellError
from bench.models.tensors import ScoreMap
from bench.models.view import Calibration, ModelView

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
    batches = replace(calibration, batch=TAYLOR_BATCH)
    sums = {layer.name: torch.zeros(layer.unit_shape, dtype=torch.float64) for layer in view.units.layers}
    count = 0
    for images, gradients in summed_gradients(view, batches):
        count += 1
        for name, g in gradients.items():
            change = view.layer(name).rows(g / images * view.weight(name)).sum(dim=1)
            sums[name] = sums[name].to(change.device) + change.square()
    return ScoreMap({name: total / count for name, total in sums.items()})


def snip(view: ModelView, calibration: Calibration, generator: torch.Generator) -> ScoreMap:
    """Score abs(g w) on the first mini-batch of the draw, over its sum over the model (Lee et al. 2019).

    A channel's score is the mean over its filter.

    Raises
    ------
    CellError
        If the loss of that mini-batch depends on no prunable weight.
    """
    images, labels = next(calibration.batches())
    gradients = mean_gradient(view, replace(calibration, images=images, labels=labels))
    scores = {name: (g * view.weight(name)).abs() for name, g in gradients.items()}
    total = torch.stack([score.sum() for score in scores.values()]).sum()
    if total == 0:
        raise CellError("snip: abs(g w) is zero for every weight, the scores have no scale")
    return ScoreMap({name: view.reduce(name, score / total) for name, score in scores.items()})


def mean_gradient(view: ModelView, calibration: Calibration) -> dict[str, Tensor]:
    """Return the gradient of the mean cross-entropy over the draw for every prunable weight.

    Returns
    -------
    dict of str to Tensor
        float64, in the shape of the weight; accumulated in float64 over the batches, so that a batch
        of any size gives the same mean up to rounding.
    """
    total: dict[str, Tensor] = {}
    for _, gradients in summed_gradients(view, calibration):
        total = {name: g + total[name] if total else g for name, g in gradients.items()}
    return {name: g / len(calibration) for name, g in total.items()}


def summed_gradients(view: ModelView, calibration: Calibration) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """Yield for every batch its size and the gradient of its summed loss, float64."""
    leaves, frozen = stand_ins(view)
    for batch in calibration.each_batch():
        total: dict[str, Tensor] = {}
        for x, y in batch.parts():
            loss = summed_loss(view, {**frozen, **leaves}, x, y)
            gradients = torch.autograd.grad(loss, list(leaves.values()))
            for name, g in zip(view.units.names, gradients, strict=True):
                total[name] = total[name].add_(g) if name in total else g.double()
        yield len(batch), total


def stand_ins(view: ModelView) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return tensors for `functional_call` that share the parameters' storage.

    Returns
    -------
    leaves : dict of str to Tensor
        Parameter name -> stand-in that requires gradients, for every prunable weight in layer order.
    frozen : dict of str to Tensor
        The same for all other parameters, requiring none, and for other names of a prunable weight.
    """
    weights = {layer.parameter: view.model.get_parameter(layer.parameter) for layer in view.units.layers}
    leaves = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
    leaf_of = {weight: leaves[name] for name, weight in weights.items()}
    every = {
        f"{path}.{name}".lstrip("."): parameter
        for path, module in view.model.named_modules()  # each once: torch restores only the first name of a module
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False)
    }
    frozen = {name: leaf_of[p] if p in leaf_of else p.detach() for name, p in every.items() if name not in leaves}
    return leaves, frozen


def summed_loss(view: ModelView, parameters: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy summed over the images, with `parameters` in place of the model's own.

    On a CPU a single image is taken twice and the loss halved. There torch (seen in 2.15) misreads the
    gradient that reaches a BatchNorm in a batch of one if its channels lie innermost, as after
    ``flatten(2).transpose(1, 2)``: timm's LeViT, XCiT and EfficientFormer got gradients that were all wrong.
    """
    if len(images) == 1 and images.device.type == "cpu":
        return summed_loss(view, parameters, torch.cat([images, images]), labels.repeat(2)) / 2
    return F.cross_entropy(
        functional_call(view.model, parameters, (images,), tie_weights=False), labels, reduction="sum"
    )
