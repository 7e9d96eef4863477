"""Optimal Brain Surgeon, layer by layer (Hassibi and Stork 1993; Frantar and Alistarh 2023)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from bench.core.errors import CellError, NotApplicable
from bench.models.inputs import input_moments, runs_of_layers
from bench.models.tensors import ScoreMap
from bench.models.view import Calibration, ModelView

#: Bytes of Hessians that are held at once (one layer's, where that alone is more).
PART = 2**28


def obs(
    view: ModelView,
    calibration: Calibration,
    generator: torch.Generator,
    *,
    damping: Annotated[float, Field(gt=0, le=1)] = 0.01,
) -> ScoreMap:
    """Score w^2 / (2 [H^-1]_jj): the error of the layer's output when the other weights make up for w.

    H = 2 X X^T / n + damping, with X the inputs of the layer at all positions of the draw's n images (as
    SparseGPT's code divides, so that scores do not grow with the draw). In a grouped convolution each group
    has its own H.

    Parameters
    ----------
    view, calibration, generator
        As for every scorer.
    damping : float
        Share of the mean of H's diagonal that is added to the diagonal (SparseGPT's default).

    Raises
    ------
    NotApplicable
        For channels: the formula removes one weight. For a layer whose output channels are not known.
    CellError
        If H has no Cholesky factor.
    """
    if view.granularity != "weight":
        raise NotApplicable("obs scores weights: its formula is of the removal of a single one")
    scores = {}
    for layers in runs_of_layers(view.units.layers, PART):
        for name, moments in input_moments(view.model, layers, calibration).items():
            try:
                inverse = inverse_diagonal(2 * moments.second / len(calibration), damping)
            except CellError as error:
                raise CellError(f"obs of {name}: {error}") from error
            layer, rows = view.layer(name), view.rows(name)
            groups, k = inverse.shape
            score = rows.reshape(groups, -1, k).square() / (2 * inverse.unsqueeze(1))
            scores[name] = layer.channels.weight(score.reshape(rows.shape), layer.weight_shape)
    return ScoreMap({name: scores[name] for name in view.units.names})


def inverse_diagonal(hessian: Tensor, damping: float) -> Tensor:
    """Return the diagonal of the inverse of a damped Hessian.

    Parameters
    ----------
    hessian : Tensor
        Symmetric, positive semi-definite, float64, shape ``(groups, k, k)``.
    damping : float
        Share of each group's mean diagonal that is added to its diagonal.

    Returns
    -------
    Tensor
        Shape ``(groups, k)``; infinite for a group whose inputs are all zero, whose weights cost nothing.

    Raises
    ------
    CellError
        If a damped Hessian is not positive definite in float64.

    Examples
    --------
    >>> inverse_diagonal(torch.diag(torch.tensor([1.5, 0.5])).double().unsqueeze(0), damping=0.5)
    tensor([[0.5000, 1.0000]], dtype=torch.float64)
    """
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    mean = diagonal.mean(dim=1, keepdim=True)
    dead = mean == 0
    added = torch.where(dead, 1.0, damping * mean)
    factor, info = torch.linalg.cholesky_ex(hessian + torch.diag_embed(added.expand_as(diagonal)))
    if bool(info.any()):
        raise CellError("the damped Hessian has no Cholesky factor: inputs that are not finite, or too little damping")
    inverse = torch.cholesky_inverse(factor).diagonal(dim1=1, dim2=2)
    return torch.where(dead, torch.inf, inverse)
