"""The per-layer normalised rank of magnitude, u (METHODS section 3)."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.models.tensors import ScoreMap
from bench.models.view import Calibration, ModelView

#: The best unit of a layer has u = 1, the worst u = LOWEST.
LOWEST = 0.1


def rank(view: ModelView, calibration: Calibration, generator: torch.Generator) -> ScoreMap:
    """Score u, the rank of a unit's magnitude in its layer, scaled to [0.1, 1]."""
    return ScoreMap({name: normalised_rank(m) for name, m in view.magnitudes().items()})


def log_rank(view: ModelView, calibration: Calibration, generator: torch.Generator) -> ScoreMap:
    """Score log u, an increasing function of the rank: Lemma 1 says that it keeps the units that `rank` keeps."""
    return ScoreMap({name: normalised_rank(m).log() for name, m in view.magnitudes().items()})


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
    return ladder(magnitude.numel()).to(magnitude.device)[positions(magnitude)]


def ladder(n: int) -> Tensor:
    """Return the values of u in a layer of n units, ascending: float64, shape ``(n,)``.

    They are 0.1 + 0.9 * (i / (n - 1)) to the last bit, on any device: a chaotic orbit at u magnifies rounding.

    Examples
    --------
    >>> ladder(4)
    tensor([0.1000, 0.4000, 0.7000, 1.0000], dtype=torch.float64)
    """
    if n == 1:
        return torch.ones(1, dtype=torch.float64)
    return LOWEST + (1 - LOWEST) * (torch.arange(n, dtype=torch.float64) / (n - 1))


def positions(magnitude: Tensor) -> Tensor:
    """Return the place of every magnitude in ascending order, from 0: int64, same shape.

    Of equal magnitudes the one of the lower flat index comes later.

    Examples
    --------
    >>> positions(torch.tensor([3.0, 1.0, 2.0, 2.0]))
    tensor([3, 0, 2, 1])
    """
    flat = magnitude.reshape(-1)
    best_first = flat.argsort(descending=True, stable=True)
    place = torch.empty_like(best_first)
    place[best_first] = torch.arange(len(flat) - 1, -1, -1, device=flat.device)
    return place.reshape(magnitude.shape)
