"""EMP: the scores determine how many units to keep (Wang et al. 2026, arXiv 2509.25606; METHODS section 4).

The authors' code (noMushroomw/Effective-model-pruning, commit 9956077) counts over the whole model
(``EMP_global_magnitude`` of experiments.ipynb) and, for language models, over each output row (``magnitude_neff`` and
``wanda_neff``). It differs from the paper's formula in two places. ``EMP_global_magnitude`` keeps K + 1 weights: all
that reach the score at place K, counted from 0. ``EMP_loss_change`` and ``EMP_saliency`` remove all up to the quantile
K / N of the scores, and so keep N - K of N weights instead of K. Ours keeps K.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Annotated, Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor

from bench.core.errors import NotApplicable
from bench.masks.allocation import output_rows
from bench.masks.budget import Budget
from bench.masks.erk import round_to_total
from bench.models.tensors import ScoreMap
from bench.models.unit_space import PrunableLayer, UnitSpace
from bench.models.view import ModelView

#: Rounding may put N_eff of k equal scores just below k; a plain floor would then keep k - 1.
TOLERANCE = 1e-9

#: What a row notes of the scores that one effective number is counted over.
Part: TypeAlias = dict[str, float | int | str | None]


def emp(
    units: UnitSpace,
    scores: ScoreMap,
    sparsity: float | None,
    view: ModelView,
    *,
    scope: Literal["global", "layer", "output"] = "global",
    beta: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0,
    spread: Literal["scores", "uniform"] = "scores",
) -> Budget:
    """Keep the K = beta N_eff highest scores of the whole model, of every layer, or of every output row.

    It sets the sparsity by itself. Where all scores are zero everything is kept. Noted are the layers of
    zeros (``zero_layers``), and under ``emp`` for every layer, or ``all``, what `describe` returns; for output rows
    what `summarise` makes of it in each layer; for a uniform spread the sums over the model (``all``).

    Parameters
    ----------
    scope : {"global", "layer", "output"}
        What the effective number is counted over: all scores, those of a layer, or the weights of one output channel.
    beta : float
        Above 1 more is kept, below 1 less.
    spread : {"scores", "uniform"}
        Which units are kept: those that the effective number selects within its scope, or as many in total, the same
        share of every layer. The latter is the control at exactly the same sparsity: its counts are rounded by largest
        remainder, so that their sum is that of ``scores``.

    Raises
    ------
    NotApplicable
        For output rows of channels: an output has a single one. For a layer whose output channels are not known.

    Examples
    --------
    >>> from bench.models.unit_space import PrunableLayer
    >>> units = UnitSpace("channel", (PrunableLayer("conv", (4, 1, 1, 1), (4,)),))
    >>> budget = emp(units, ScoreMap({"conv": torch.tensor([2.0, 0.0, 2.0, 0.0]).double()}), None, None)
    >>> budget.keep, budget.notes["emp"]
    (tensor([2]), {'all': {'n_eff': 2.0, 'k': 2, 's_eff': 1.0, 'bound': 0.7886751345948129}})
    """
    zeros = [layer.name for layer in units.layers if not bool(scores[layer.name].any())]
    found: dict[str, Part]
    if scope == "output":
        rows = {layer.name: _rows(units, layer, scores[layer.name]) for layer in units.layers}
        described = {name: [describe(row, beta) for row in part] for name, part in rows.items()}
        keep = [row["k"] for part in described.values() for row in part]
        found = {name: summarise(part) for name, part in described.items()}
        segment = output_rows(units)
    else:
        if scope == "layer":
            parts = {layer.name: scores[layer.name].flatten() for layer in units.layers}
            segment = units.layer_index()
        else:
            parts = {"all": units.flatten(scores)}
            segment = torch.zeros(units.total, dtype=torch.int64)
        found = {name: describe(part, beta) for name, part in parts.items()}
        keep = [part["k"] for part in found.values()]
    budget = Budget(segment, torch.tensor(keep), {"emp": found, "zero_layers": zeros})
    return budget if spread == "scores" else _spread_uniformly(units, scores, budget, found)


def _spread_uniformly(units: UnitSpace, scores: ScoreMap, budget: Budget, found: Mapping[str, Part]) -> Budget:
    """Keep as many units as `budget`, the same share of every layer; `found` is what EMP noted."""
    total = int(budget.keep.sum())
    keep = round_to_total([Fraction(total * layer.size, units.total) for layer in units.layers])
    part: Part = {"n_eff": None, "k": total, "s_eff": None, "bound": None, "no_bound": "spread over the layers"}
    known = [number for each in found.values() if isinstance(number := each["n_eff"], float)]
    if known:
        relative = _relative(units.flatten(scores))
        layers = units.split(relative).values()
        kept = sum(float(layer.flatten().topk(k).values.abs().sum()) for layer, k in zip(layers, keep, strict=True))
        part |= {"n_eff": sum(known), "s_eff": min(1.0, kept / float(relative.abs().sum()))}
    return Budget(units.layer_index(), torch.tensor(keep), {**budget.notes, "emp": {"all": part}})


def _rows(units: UnitSpace, layer: PrunableLayer, scores: Tensor) -> Tensor:
    if units.granularity != "weight":
        raise NotApplicable("emp(scope=output) counts over the weights of one output; a channel is a whole output")
    return layer.rows(scores)


def summarise(rows: Sequence[Part]) -> Part:
    """Sum up the output rows of a layer.

    Parameters
    ----------
    rows : sequence of dict
        What `describe` returned for each.

    Returns
    -------
    dict
        ``n_eff`` and ``k``, sums over the rows; ``s_eff`` and ``bound`` (or ``no_bound``) of the row whose kept mass
        is the least above its bound, or the least of all where no row has a bound; ``rows``, their number.

    Examples
    --------
    >>> rows = [describe(torch.tensor(row), 1.0) for row in ([1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [3.0, 2.0, 1.0])]
    >>> {name: round(value, 4) for name, value in summarise(rows).items()}
    {'n_eff': 4.5714, 'k': 7, 's_eff': 0.8333, 'bound': 0.7629, 'rows': 3}
    """

    def slack(row: Part) -> tuple[bool, float]:
        mass, bound = row["s_eff"], row["bound"]
        assert isinstance(mass, float)
        return (False, mass - bound) if isinstance(bound, float) else (True, mass)

    known = [row for row in rows if row["s_eff"] is not None]
    nearest = min(known, key=slack, default=rows[0])
    sums = {name: sum(row[name] or 0 for row in rows) for name in ("n_eff", "k")}  # type: ignore[misc]
    return {**nearest, **sums, "rows": len(rows)}


def describe(scores: Tensor, beta: float) -> Part:
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
    part: Part = {"n_eff": effective, "k": k, "s_eff": kept_mass(scores, k)}
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
