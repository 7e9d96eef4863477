"""LAMP: a weight's square beside those of all the weights that outlast it (Lee et al. 2021)."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.models.tensors import ScoreMap
from bench.models.view import Calibration, ModelView


def lamp(view: ModelView, calibration: Calibration, generator: torch.Generator) -> ScoreMap:
    """Score w^2 over the sum of w_v^2 of the layer's weights v with abs(w_v) >= abs(w).

    The one largest weight of a layer scores 1, the most there is, so `global` allocation empties no layer
    while it keeps a weight per layer or more. A channel is scored by the same formula on the L2 norms of
    the filters (ours).
    """
    scores = {}
    for name in view.units.names:
        scores[name] = lamp_scores(view.weight(name) if view.granularity == "weight" else view.rows(name).norm(dim=1))
    return ScoreMap(scores)


def lamp_scores(magnitude: Tensor) -> Tensor:
    """Return m^2 over the sum of the squares that are no smaller; equal magnitudes score equal.

    Parameters
    ----------
    magnitude : Tensor
        Of the units of one layer, any shape; the sign does not matter.

    Returns
    -------
    Tensor
        float64, same shape, in [0, 1] and non-decreasing in the magnitude; 0 where the magnitude is.

    Examples
    --------
    >>> lamp_scores(torch.tensor([3.0, -1.0, 1.0, 0.0]))
    tensor([1.0000, 0.0909, 0.0909, 0.0000], dtype=torch.float64)
    """
    square = magnitude.double().square().reshape(-1)
    ascending = square.sort().values
    outlasting = ascending.cpu().flip(0).cumsum(0).flip(0).to(square.device)  # a GPU's order of summation varies
    total = outlasting[torch.searchsorted(ascending, square)]  # from the first of its equals on
    return torch.where(square > 0, square / total, 0.0).reshape(magnitude.shape)
