"""EMP: the scores themselves say how many units count (Wang et al. 2026, arXiv 2509.25606; METHODS section 4)."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from bench.masks.budget import Budget
from bench.models.tensors import ScoreMap
from bench.models.unit_space import UnitSpace
from bench.models.view import ModelView

#: Rounding may put N_eff of k equal scores just below k; a plain floor would then keep k - 1.
TOLERANCE = 1e-9


def emp(
    units: UnitSpace,
    scores: ScoreMap,
    sparsity: float | None,
    view: ModelView,
    *,
    scope: Literal["layer", "global"] = "layer",
    beta: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0,
) -> Budget:
    """Keep the K = beta N_eff highest scores of every layer, or of the whole model.

    It sets the sparsity by itself. Where all scores are zero everything is kept. Noted are the layers of
    zeros (``zero_layers``), and under ``emp`` for every layer, or ``all``, what `describe` returns.

    Parameters
    ----------
    scope : {"layer", "global"}
        What the effective number is counted over.
    beta : float
        Above 1 more is kept, below 1 less.

    Examples
    --------
    >>> from bench.models.unit_space import PrunableLayer
    >>> units = UnitSpace("channel", (PrunableLayer("conv", (4, 1, 1, 1), (4,)),))
    >>> budget = emp(units, ScoreMap({"conv": torch.tensor([2.0, 0.0, 2.0, 0.0]).double()}), None, None)
    >>> budget.keep, budget.notes["emp"]
    (tensor([2]), {'conv': {'n_eff': 2.0, 'k': 2, 's_eff': 1.0, 'bound': 0.7886751345948129}})
    """
    if scope == "layer":
        parts = {layer.name: scores[layer.name].flatten() for layer in units.layers}
        segment = units.layer_index()
    else:
        parts = {"all": units.flatten(scores)}
        segment = torch.zeros(units.total, dtype=torch.int64)
    found = {name: describe(part, beta) for name, part in parts.items()}
    zeros = [layer.name for layer in units.layers if not bool(scores[layer.name].any())]
    return Budget(segment, torch.tensor([part["k"] for part in found.values()]), {"emp": found, "zero_layers": zeros})


def describe(scores: Tensor, beta: float) -> dict[str, float | int | str | None]:
    """Count the units to keep of some scores, and how much of the scores' mass they hold.

    Parameters
    ----------
    scores : Tensor
        Finite; shape ``(n,)``.
    beta : float
        Factor on the effective number.

    Returns
    -------
    dict
        ``n_eff``, `effective_number` (None where all scores are zero); ``k``, units to keep; ``s_eff``,
        their share of the sum of abs(s) (None likewise); ``bound``, `lower_bound` of ``s_eff``, or None
        where it does not hold, with ``no_bound`` saying why.
    """
    if not bool(scores.any()):
        return {"n_eff": None, "k": len(scores), "s_eff": None, "bound": None, "no_bound": "all scores are zero"}
    effective = effective_number(scores)
    k = keep_of(effective, len(scores), beta)
    part: dict[str, float | int | str | None] = {"n_eff": effective, "k": k, "s_eff": kept_mass(scores, k)}
    if beta != 1:
        return {**part, "bound": None, "no_bound": "beta is not 1"}
    if bool((scores < 0).any()):
        return {**part, "bound": None, "no_bound": "some scores are below zero"}
    return {**part, "bound": lower_bound(len(scores), effective)}


def effective_number(scores: Tensor) -> float:
    """Return N_eff = 1 / sum(omega^2), omega = abs(s) / sum(abs(s)): the inverse Simpson index, in [1, n].

    The scores are first divided by the largest, so that no square can overflow nor all of them vanish.

    Parameters
    ----------
    scores : Tensor
        Finite, not all zero; shape ``(n,)``.

    Examples
    --------
    >>> effective_number(torch.tensor([1e300, 1e300, 0.0, -1e300], dtype=torch.float64))
    3.0
    """
    relative = _relative(scores).abs()
    effective = float(relative.sum().square() / relative.square().sum())
    return min(max(effective, 1.0), float(len(scores)))


def kept_mass(scores: Tensor, k: int) -> float:
    """Return the share of sum(abs(s)) that the `k` highest scores hold.

    Examples
    --------
    >>> kept_mass(torch.tensor([1.0, 4.0, 1.0, -2.0]), 2)
    0.625
    """
    relative = _relative(scores)
    return min(1.0, float(relative.topk(k).values.abs().sum() / relative.abs().sum()))


def _relative(scores: Tensor) -> Tensor:
    """Divide the scores, in float64, by the largest absolute one."""
    exact = scores.to(torch.float64)
    return exact / exact.abs().max()


def keep_of(effective: float, n: int, beta: float = 1.0) -> int:
    """Return K = min(n, max(1, floor(beta N_eff (1 + 1e-9)))).

    Examples
    --------
    >>> keep_of(2.9999999999, 8), keep_of(2.9, 8), keep_of(2.9, 8, beta=10.0)
    (3, 2, 8)
    """
    return max(1, math.floor(min(float(n), beta * effective * (1 + TOLERANCE))))


def lower_bound(n: int, nu: float) -> float:
    """Return the least share of the mass that the floor(nu) largest of `n` scores can hold when N_eff = `nu`.

    With K = floor(nu): K/n + (1 - K/n) sqrt((n/nu - 1) / (n - 1)), reached by one large score and n - 1
    equal small ones; below nu = 2, (1 + sqrt(2/nu - 1)) / 2, reached by two scores (ours). The bound
    of the paper's Theorem 4.2, as the authors' code repository states it, is this one's limit nu -> K + 1,
    so it follows for K >= 2; for K = 1 and n > 2 it does not hold: take the scores 0.51, 0.49, 0, ..., 0.

    Parameters
    ----------
    n : int
        Number of scores, none below zero.
    nu : float
        Their effective number, in [1, n].

    Examples
    --------
    >>> round(lower_bound(4, 2.5), 4), round(lower_bound(4, 1.6), 4), lower_bound(4, 4.0)
    (0.7236, 0.75, 1.0)
    """
    if nu < 2:
        return (1 + math.sqrt(2 / nu - 1)) / 2
    share = math.floor(nu) / n
    return share + (1 - share) * math.sqrt((n / nu - 1) / (n - 1))
