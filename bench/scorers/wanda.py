"""Wanda: weights by magnitude times the norm of what they read (Sun et al. 2024)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bench.models.view import Calibration, ModelView
from bench.tensors import ScoreMap


def wanda(view: ModelView, calibration: Calibration, generator: torch.Generator) -> ScoreMap:
    """Score abs(w_ij) norm2(x_j), x_j all values that the weight multiplies on the draw.

    In a linear layer x_j is input feature j over images and tokens; in a convolution it is element j
    of the input patch over images and output positions, zero padding included. A channel's score is the
    mean over its filter.
    """
    squares = _squared_inputs(view, calibration)
    scores = {}
    for name in view.units.names:
        energy = squared_input_norms(view.module(name), squares[name])
        scores[name] = view.reduce(name, view.weight(name).abs() * energy.sqrt())
    return ScoreMap(scores)


def squared_input_norms(layer: nn.Module, squares: Tensor) -> Tensor:
    """Sum the squared inputs that each weight of a layer multiplies.

    The layer is linear in its weight, so the derivative of the sum of ``layer(x ** 2)`` by one weight
    is the sum of the squares that this weight reads: one formula for linear layers and for convolutions
    with any stride, padding (also `Conv2dSame`'s), dilation and groups.

    Parameters
    ----------
    layer : nn.Module
        `Conv2d` or `Linear`.
    squares : Tensor
        Squared inputs summed over the images, float64, as an input of one image.

    Returns
    -------
    Tensor
        float64, in the shape of the weight.

    Examples
    --------
    >>> squared_input_norms(nn.Linear(2, 1), torch.tensor([[9.0, 4.0]]).double())
    tensor([[9., 4.]], dtype=torch.float64)
    """
    state = {name: parameter.detach().double() for name, parameter in layer.named_parameters()}
    weight = state["weight"].clone().requires_grad_()
    total = functional_call(layer, {**state, "weight": weight}, (squares,)).sum()
    return torch.autograd.grad(total, weight)[0]


def _squared_inputs(view: ModelView, calibration: Calibration) -> dict[str, Tensor]:
    """Squared inputs of every prunable layer summed over the images of the draw, float64."""
    sums: dict[str, Tensor] = {}

    def accumulate(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(layer: nn.Module, args: tuple[Any, ...]) -> None:
            squares = args[0].double().square().sum(dim=0, keepdim=True)
            sums[name] = sums[name] + squares if name in sums else squares

        return hook

    handles = [view.module(name).register_forward_pre_hook(accumulate(name)) for name in view.units.names]
    try:
        with torch.no_grad():
            for x, _ in calibration.parts():
                view.model(x)
    finally:
        for handle in handles:
            handle.remove()
    return sums
