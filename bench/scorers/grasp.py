"""GraSP: how removing a weight changes the gradient flow (Wang et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from bench.models.tensors import ScoreMap
from bench.models.view import Calibration, ModelView
from bench.scorers.gradient import mean_gradient, stand_ins, summed_loss


def grasp(
    view: ModelView,
    calibration: Calibration,
    generator: torch.Generator,
    *,
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0,
) -> ScoreMap:
    """Score w (H g): to first order, half of what norm(g)^2 loses when the weight is removed.

    Weights whose removal keeps or raises the gradient flow score low and go first, as in the paper. A
    channel's score is the signed sum over its filter.

    Parameters
    ----------
    temperature : float
        Divides the logits. The paper's formula has none; the authors' code and that of SynFlow use 200, at which the
        softmax is almost uniform and the order of the weights another one.

    Notes
    -----
    At 200 the scores are those of the two public codes (``GraSP`` of alecwangcq/GraSP, commit f17d87a, up to the sign;
    ``GraSP`` of ganguli-lab/Synaptic-Flow, commit 9dfa57a) up to one positive factor, if the classifier is not
    excluded, as they score it too. Their factor: they add up the gradients of the batches, and divide by the sum of
    all scores. The former also draws new weights for linear layers first (``reinit``), since it prunes before training.
    """
    scores = {}
    for name, product in hessian_gradient(view, calibration, temperature).items():
        score = product * view.weight(name)
        scores[name] = score if view.granularity == "weight" else view.layer(name).rows(score).sum(dim=1)
    return ScoreMap(scores)


def hessian_gradient(view: ModelView, calibration: Calibration, temperature: float = 1.0) -> dict[str, Tensor]:
    """Return H g, with g and H the gradient and the Hessian of the mean loss by the prunable weights.

    H g is the gradient of the inner product of g(w) with g held fixed, so it adds up over the batches.

    Parameters
    ----------
    view, calibration : ModelView, Calibration
        The network and the draw.
    temperature : float
        Divides the logits.

    Returns
    -------
    dict of str to Tensor
        float64, in the shape of the weight; accumulated in float64.
    """
    names = view.units.names
    leaves, frozen = stand_ins(view)
    total = {name: torch.zeros_like(w, dtype=torch.float64) for name, w in zip(names, leaves.values(), strict=True)}
    with sdpa_kernel(SDPBackend.MATH), _Hardsigmoid():  # the fused kernels have no second derivative
        gradient = mean_gradient(view, calibration, temperature)
        fixed = [g.to(w.dtype) for g, w in zip(gradient.values(), leaves.values(), strict=True)]
        for x, y in calibration.parts():
            loss = summed_loss(view, {**frozen, **leaves}, x, y, temperature)
            gradients = torch.autograd.grad(loss, list(leaves.values()), create_graph=True)
            product = torch.stack([(g * v).sum() for g, v in zip(gradients, fixed, strict=True)]).sum()
            for name, part in zip(names, torch.autograd.grad(product, list(leaves.values())), strict=True):
                total[name] += part
    return {name: part / len(calibration) for name, part in total.items()}


class _Hardsigmoid(TorchFunctionMode):
    """Takes the hard sigmoid (MobileNetV3's gates) apart: torch has no second derivative of it as a whole."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.nn.functional.hardsigmoid:
            return (args[0] + 3).clamp(0, 6) / 6
        return func(*args, **(kwargs or {}))
