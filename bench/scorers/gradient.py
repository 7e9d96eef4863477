"""Scores from the gradient g of the loss on calibration data.

The model's own parameters never require gradients: the loss is computed with stand-ins that
share their storage (`torch.func.functional_call`), so that flags and `.grad` stay as they were.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from bench.core.errors import CellError
from bench.models.tensors import ScoreMap
from bench.models.unit_space import PrunableLayer
from bench.models.view import Calibration, ModelView

#: Images in a batch of channel Taylor scores, whatever the calibration batch is (METHODS section 2).
TAYLOR_BATCH = 32


def gradient(view: ModelView, calibration: Calibration, generator: torch.Generator) -> ScoreMap:
    """Score abs(g), g the gradient of the mean loss over the draw; a channel by its mean over the filter."""
    scores = {name: view.reduce(name, g.abs()) for name, g in mean_gradient(view, calibration).items()}
    return ScoreMap(scores)


def taylor(view: ModelView, calibration: Calibration, generator: torch.Generator) -> ScoreMap:
    """Score the first-order change of the loss when the unit is removed (Molchanov et al. 2017, 2019).

    Weights: abs(g w), g the gradient of the mean loss over the draw (2017). Channels: the mean over batches of 32
    images of the squared derivative of the batch's mean loss by a gate, a factor on the channel (2019). The gate stands
    behind the directly following BatchNorm, which is removed with the channel, and otherwise behind the layer.

    Notes
    -----
    The derivative by the gate is the sum of g p over the parameters p that the gate multiplies: gamma g_gamma + beta
    g_beta of the BatchNorm, or sum g w + g_b b of filter and bias, both of which are removed. A BatchNorm without gamma
    is not removed, so the gate is that of the layer before it.
    """
    if view.granularity == "weight":
        gradients = mean_gradient(view, calibration)
        return ScoreMap({name: (g * view.weight(name)).abs() for name, g in gradients.items()})
    layers = view.units.layers
    parameters = dict.fromkeys(name for layer in layers for name in gated_parameters(view.model, layer))
    totals: dict[str, Tensor] = {}
    count = 0
    for images, gradients in summed_gradients(view, replace(calibration, batch=TAYLOR_BATCH), parameters):
        count += 1
        for layer in layers:
            change = (gate_gradient(view.model, layer, gradients) / images).square()
            totals[layer.name] = totals[layer.name] + change if layer.name in totals else change
    return ScoreMap({name: total / count for name, total in totals.items()})


def gated_parameters(model: nn.Module, layer: PrunableLayer) -> tuple[str, ...]:
    """Return the parameters that a factor on each channel of a layer multiplies.

    Returns
    -------
    tuple of str
        Weight and bias of the directly following BatchNorm, if it has them; else the layer's weight and what its bias
        consists of.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    >>> gated_parameters(net, PrunableLayer("0", (2, 1, 1, 1), (2,), "1"))
    ('1.weight', '1.bias')
    >>> gated_parameters(net, PrunableLayer("0", (2, 1, 1, 1), (2,)))
    ('0.weight',)
    """
    if layer.batchnorm is not None and isinstance(model.get_submodule(layer.batchnorm).weight, Tensor):
        return f"{layer.batchnorm}.weight", f"{layer.batchnorm}.bias"
    return layer.parameter, *(part.parameter for part in layer.bias or ())


def gate_gradient(model: nn.Module, layer: PrunableLayer, gradients: Mapping[str, Tensor]) -> Tensor:
    """Return the derivative of the loss by a factor on each channel of a layer, at the factor 1.

    Parameters
    ----------
    model : nn.Module
        The network.
    layer : PrunableLayer
        One of its layers.
    gradients : mapping of str to Tensor
        Gradient of the loss, float64, of every one of `gated_parameters`.

    Returns
    -------
    Tensor
        float64, shape ``(channels,)``.
    """
    products = {
        name: gradients[name] * model.get_parameter(name).detach().double() for name in gated_parameters(model, layer)
    }
    if layer.parameter not in products:
        return torch.stack(list(products.values())).sum(dim=0)
    change = layer.rows(products[layer.parameter]).sum(dim=1)
    for part in layer.bias or ():
        own = products[part.parameter].view(-1)
        change[part.start : part.stop] += own[part.first : part.first + part.stop - part.start]
    return change


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


def mean_gradient(view: ModelView, calibration: Calibration, temperature: float = 1.0) -> dict[str, Tensor]:
    """Return the gradient of the mean cross-entropy over the draw for every prunable weight.

    Parameters
    ----------
    view, calibration : ModelView, Calibration
        The network and the draw.
    temperature : float
        See `summed_loss`.

    Returns
    -------
    dict of str to Tensor
        Layer name -> gradient: float64, in the shape of the weight; accumulated in float64 over the batches, so that a
        batch of any size gives the same mean up to rounding.
    """
    total: dict[str, Tensor] = {}
    for _, gradients in summed_gradients(view, calibration, temperature=temperature):
        total = {name: g + total[name] if total else g for name, g in gradients.items()}
    return {layer.name: total[layer.parameter] / len(calibration) for layer in view.units.layers}


def summed_gradients(
    view: ModelView, calibration: Calibration, parameters: Iterable[str] | None = None, *, temperature: float = 1.0
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """Yield for every batch its size and the gradient of its summed loss.

    Parameters
    ----------
    view, calibration : ModelView, Calibration
        The network and the draw.
    parameters : iterable of str, optional
        Paths of the parameters to differentiate by; default the prunable weights, in layer order.
    temperature : float
        See `summed_loss`.

    Yields
    ------
    int
        Images in the batch.
    dict of str to Tensor
        Path of a parameter -> gradient, float64, in the parameter's shape.
    """
    leaves, frozen = stand_ins(view, parameters)
    for batch in calibration.each_batch():
        total: dict[str, Tensor] = {}
        for x, y in batch.parts():
            loss = summed_loss(view, {**frozen, **leaves}, x, y, temperature)
            gradients = torch.autograd.grad(loss, list(leaves.values()))
            for name, g in zip(leaves, gradients, strict=True):
                total[name] = total[name].add_(g) if name in total else g.double()
        yield len(batch), total


def stand_ins(view: ModelView, parameters: Iterable[str] | None = None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return tensors for `functional_call` that share the parameters' storage.

    Parameters
    ----------
    view : ModelView
        The network.
    parameters : iterable of str, optional
        Paths of the parameters that require gradients; default the prunable weights, in layer order.

    Returns
    -------
    leaves : dict of str to Tensor
        Path -> stand-in that requires gradients, in the order of `parameters`.
    frozen : dict of str to Tensor
        The same for all other parameters, requiring none, and for other names of those in `leaves`.
    """
    if parameters is None:
        parameters = [layer.parameter for layer in view.units.layers]
    own = {name: view.model.get_parameter(name) for name in parameters}
    leaves = {name: parameter.detach().requires_grad_() for name, parameter in own.items()}
    leaf_of = {parameter: leaves[name] for name, parameter in own.items()}
    every = {
        f"{path}.{name}".lstrip("."): parameter
        for path, module in view.model.named_modules()  # each once: torch restores only the first name of a module
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False)
    }
    frozen = {name: leaf_of[p] if p in leaf_of else p.detach() for name, p in every.items() if name not in leaves}
    return leaves, frozen


def summed_loss(
    view: ModelView, parameters: dict[str, Tensor], images: Tensor, labels: Tensor, temperature: float = 1.0
) -> Tensor:
    """Cross-entropy summed over the images, with `parameters` in place of the model's own.

    The logits are divided by `temperature`.

    On a CPU a single image is taken twice and the loss halved. There torch (seen in 2.15) misreads the
    gradient that reaches a BatchNorm in a batch of one if its channels lie innermost, as after
    ``flatten(2).transpose(1, 2)``: timm's LeViT, XCiT and EfficientFormer got gradients that were all wrong.
    """
    if len(images) == 1 and images.device.type == "cpu":
        return summed_loss(view, parameters, torch.cat([images, images]), labels.repeat(2), temperature) / 2
    logits = functional_call(view.model, parameters, (images,), tie_weights=False)
    return F.cross_entropy(logits if temperature == 1 else logits / temperature, labels, reduction="sum")
