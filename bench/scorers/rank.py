"""The per-layer normalised rank of magnitude, u (METHODS section 3)."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.models.view import Calibration, ModelView
from bench.tensors import ScoreMap

#: The best unit of a layer has u = 1, the worst u = LOWEST.
LOWEST = 0.1


def rank(view: ModelView, calibration: Calibration, generator: torch.Generator) -> ScoreMap:
    """Score u, the rank of a unit's magnitude in its layer, scaled to [0.1, 1]."""
    return ScoreMap({name: normalised_rank(m) for name, m in view.magnitudes().items()})


def normalised_rank(magnitude: Tensor) -> Tensor:
    """Return u_i = 0.1 + 0.9 (rank_i - 1) / (n - 1), with rank 1 for the smallest of n magnitudes.

    Of equal magnitudes the one of the lower flat index has the higher rank. A single unit has u = 1.

    Parameters
    ----------
    magnitude : Tensor
        Any shape.

    Returns
    -------
    Tensor
        float64, same shape, all values different.

    Examples
    --------
    >>> normalised_rank(torch.tensor([3.0, 1.0, 2.0, 2.0]))
    tensor([1.0000, 0.1000, 0.7000, 0.4000], dtype=torch.float64)
    """
    flat = magnitude.reshape(-1)
    n = len(flat)
    if n == 1:
        return torch.ones_like(magnitude, dtype=torch.float64)
    u = torch.empty(n, dtype=torch.float64, device=flat.device)
    best_first = flat.argsort(descending=True, stable=True)
    rank_less_one = torch.arange(n - 1, -1, -1, dtype=torch.float64, device=flat.device)
    u[best_first] = LOWEST + (1 - LOWEST) * (rank_less_one / (n - 1))
    return u.reshape(magnitude.shape)
