"""DSnoT: a mask refined by regrowing and pruning weights (Zhang et al. 2024, "Dynamic Sparse No Training", ICLR)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from bench.models.inputs import input_moments, runs_of_layers
from bench.models.tensors import ScoreMap
from bench.models.view import Calibration, ModelView
from bench.scorers.refine import Refinement, Start

#: Bytes of second moments that are held at once (one layer's, where that alone is more).
PART = 2**28


def dsnot(
    view: ModelView,
    calibration: Calibration,
    generator: torch.Generator,
    sparsity: float | None,
    *,
    start: Start = "wanda",
    cycles: Annotated[int, Field(ge=0)] = 50,
    threshold: Annotated[float, Field(ge=0)] = 0.1,
    variance_power: Annotated[float, Field(ge=0)] = 1.0,
    same_sign: bool = False,
) -> ScoreMap:
    """Score a mask of which some weights were exchanged, to bring the expected output of every row to the dense one.

    The error of a row is the sum of w_j m_j over its removed weights, m_j the sum of input j over positions and its
    mean over images. While its absolute value exceeds `threshold`, one weight is regrown and one is pruned:

    - regrown is the removed weight whose w_j m_j / var(x_j)^p reduces the error most;
    - pruned is the weight with the least abs(w_j) norm2(x_j) among the kept ones that reduce the error by w_j m_j.

    A weight is exchanged at most once.

    Parameters
    ----------
    view, calibration, generator
        As for every scorer.
    sparsity : float or None
        Share of every row that is removed, rounded as by the allocation `per_output`.
    start : {"wanda", "magnitude", "ria", "obs", "obc"}
        Scorer of the mask to start from.
    cycles : int
        Largest number of exchanges in a row (the authors' default).
    threshold : float
        Error at which a row is left as it is (the authors' default); in units of the layer's output, summed over
        positions.
    variance_power : float
        p (the authors' default).
    same_sign : bool
        Whether a row ends before an exchange that changes the sign of its error (off in the authors' code by default).

    Returns
    -------
    ScoreMap
        Kept weights score above 1, removed ones below; under another allocation than `per_output` the scores of the
        start decide within both. The notes have the number of exchanged weights.

    Raises
    ------
    NotApplicable
        For channels. If the allocation sets the sparsity. For a layer whose output channels are not known.

    Notes
    -----
    Unlike in the authors' code, a row ends where no weight is left that reduces the error (theirs then prunes without
    regrowing), and the variance is that of the whole draw (theirs is the mean over sequences).

    The defaults are meant for rows of thousands of weights, of which 50 exchanges change a percent. In a convolution
    of 144 weights per output they may replace all kept weights.
    """
    refinement = Refinement("dsnot", start, view, calibration, generator, sparsity)
    for layers in runs_of_layers(view.units.layers, PART):
        for name, moments in input_moments(view.model, layers, calibration).items():
            layer, rows = view.layer(name), view.rows(name)
            squares = moments.second.diagonal(dim1=1, dim2=2)
            mean = moments.first / moments.count
            variance = (squares / moments.count - mean.square()).clamp_min(torch.finfo(torch.float64).tiny)
            group = torch.arange(len(mean), device=rows.device).repeat_interleave(len(rows) // len(mean))
            change = rows * (moments.first / len(calibration))[group]
            gain = change / variance.pow(variance_power)[group]
            cost = rows.abs() * squares.sqrt()[group]
            kept = exchange(refinement.kept(layer), change, gain, cost, cycles, threshold, same_sign)
            refinement.refined(layer, kept)
    return refinement.scores()


def exchange(
    kept: Tensor,
    change: Tensor,
    gain: Tensor,
    cost: Tensor,
    cycles: int,
    threshold: float,
    same_sign: bool = False,
) -> Tensor:
    """Exchange kept and removed weights of every row until the sum of `change` over the removed ones is small.

    Parameters
    ----------
    kept : Tensor
        Boolean, shape ``(out, k)``; not modified.
    change : Tensor
        What removing the weight takes from the expected output, shape ``(out, k)``.
    gain : Tensor
        Of the sign of `change`; the removed weight with the largest absolute value is regrown first.
    cost : Tensor
        The kept weight with the smallest value is pruned first.
    cycles, threshold, same_sign
        As for `dsnot`.

    Returns
    -------
    Tensor
        Boolean, shape ``(out, k)``, with as many kept weights in every row.

    Examples
    --------
    The removed weight takes 2 from the output; removing the second one instead takes 0.5 away.

    >>> change = torch.tensor([[2.0, -0.5, 3.0]])
    >>> exchange(torch.tensor([[False, True, True]]), change, change, change.abs(), cycles=50, threshold=0.1)
    tensor([[ True, False,  True]])
    """
    kept = kept.clone()
    every = torch.arange(len(kept), device=kept.device)
    to_regrow, to_prune = ~kept, kept.clone()
    error = (change * to_regrow).sum(dim=1)
    first = error.sign()
    active = torch.ones_like(error, dtype=torch.bool)
    for _ in range(cycles):
        sign = torch.where(error > 0, 1.0, -1.0).to(change.dtype).unsqueeze(1)
        useful = (change * sign > 0) & to_regrow
        harmless = (change * sign < 0) & to_prune
        regrown = (gain * sign).masked_fill(~useful, -torch.inf).argmax(dim=1)
        pruned = cost.masked_fill(~harmless, torch.inf).argmin(dim=1)
        active = active & (error.abs() > threshold) & useful[every, regrown] & harmless[every, pruned]
        after = error + change[every, pruned] - change[every, regrown]
        if same_sign:
            active = active & (after.sign() == first)
        if not bool(active.any()):
            break
        rows, grow, prune = every[active], regrown[active], pruned[active]
        kept[rows, grow], kept[rows, prune] = True, False
        to_regrow[rows, grow], to_prune[rows, prune] = False, False
        error = torch.where(active, after, error)
    return kept
