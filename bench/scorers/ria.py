"""RIA: relative importance and activations (Zhang et al. 2024, "Plug-and-Play", ICLR)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from bench.models.inputs import squared_inputs
from bench.models.tensors import ScoreMap
from bench.models.view import Calibration, ModelView


def ria(
    view: ModelView,
    calibration: Calibration,
    generator: torch.Generator,
    *,
    exponent: Annotated[float, Field(ge=0)] = 0.5,
) -> ScoreMap:
    """Score (abs(w_ij) / sum_i abs(w_ij) + abs(w_ij) / sum_j abs(w_ij)) norm2(x_j)^a.

    x_j is what `wanda` measures: all values that the weight multiplies on the draw. In a convolution, input j is one
    element of the input patch. A channel's score is the mean over its filter.

    Parameters
    ----------
    view, calibration, generator
        As for every scorer.
    exponent : float
        a, the exponent of the input norms; 0 leaves the inputs out.

    Notes
    -----
    The authors take the mean of squares over sequences where x_j has their sum: within a layer the factor is constant.
    """
    scores = {}
    for name, squares in squared_inputs(view.model, view.units.layers, calibration).items():
        layer, rows = view.layer(name), view.rows(name)
        score = relative_importance(rows, layer.channels.groups) * squares.pow(exponent / 2)
        scores[name] = view.reduce(name, layer.channels.weight(score, layer.weight_shape))
    return ScoreMap(scores)


def relative_importance(rows: Tensor, groups: int) -> Tensor:
    """Return each weight's share of its input's absolute weights plus its share of its output's.

    Parameters
    ----------
    rows : Tensor
        Weights, one row per output channel, shape ``(out, k)``.
    groups : int
        Groups of consecutive rows that read different inputs; the shares of an input are taken inside a group.

    Returns
    -------
    Tensor
        Shape ``(out, k)``; a share of a sum of zero is 0.

    Examples
    --------
    >>> relative_importance(torch.tensor([[1.0, -3.0], [1.0, 0.0]]), groups=1)
    tensor([[0.7500, 1.7500],
            [1.5000, 0.0000]])
    """
    size = rows.abs()
    per_group = size.reshape(groups, -1, rows.shape[1])
    of_input = (per_group / positive(per_group.sum(dim=1, keepdim=True))).reshape(rows.shape)
    return of_input + size / positive(size.sum(dim=1, keepdim=True))


def positive(sums: Tensor) -> Tensor:
    """Replace sums of zero by 1, so that zeros can be divided by them."""
    return torch.where(sums == 0, 1, sums)
