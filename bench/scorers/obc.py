"""Optimal Brain Compression: weights removed one by one, the rest of the row compensating (Frantar and Alistarh 2022).

ExactOBS of "Optimal Brain Compression" (NeurIPS 2022, arXiv 2208.11580), used as a scorer: only the order of removal is
taken from it, the compensated weights are not. The correction `reconstruct` refits the weights that remain.
"""

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
#: Bytes of eliminated rows that are held at once: of as many output rows as a CPU's cache takes.
HELD = 2**25
#: The same on a GPU, which needs large products.
GPU_HELD = 2**32
#: Columns of removed weights are dropped after so many removals at the earliest.
DROPPED = 32


def obc(
    view: ModelView,
    calibration: Calibration,
    generator: torch.Generator,
    *,
    damping: Annotated[float, Field(ge=0, le=1)] = 0.01,
    limit: Annotated[int, Field(gt=0)] = 2304,
) -> ScoreMap:
    """Score by the loss increases at which a row's weights are removed greedily.

    In every output row the weight with the least w_p^2 / (2 [H^-1]_pp) is removed, the rest of the row compensates
    (w -= w_p [H^-1]_p / [H^-1]_pp), and p is eliminated from H^-1, until nothing remains. H = 2 X X^T / n + damping is
    that of `obs`, whose scores are those of the first removal.

    The weight that is removed as the j-th of its row scores the j-th smallest loss increase of the row. A cut through
    the scores of a layer therefore removes from each row the first weights of its sequence, as many as the row has
    among the smallest loss increases of the layer: the masks of the authors' code, for any sparsity. Allocations that
    compare layers, as `global`, compare loss increases: squared output errors per image.

    Parameters
    ----------
    view, calibration, generator
        As for every scorer.
    damping : float
        Share of the mean of H's diagonal that is added to the diagonal. The authors' default is 0.
    limit : int
        Largest number of weights of one output; the cost per output grows with its cube.

    Raises
    ------
    NotApplicable
        For channels. For a layer whose rows are longer than `limit`, or whose output channels are not known.
    CellError
        If H has no Cholesky factor.
    """
    if view.granularity != "weight":
        raise NotApplicable("obc scores weights: it removes them one by one")
    for layer in view.units.layers:
        inputs = layer.channels.weights_per_channel
        if inputs > limit:
            raise NotApplicable(f"obc: an output of {layer.name} has {inputs} weights; the option limit is {limit}")
    scores, steps = {}, {}
    for layers in runs_of_layers(view.units.layers, PART):
        for name, moments in input_moments(view.model, layers, calibration, torch.float64).items():
            layer, rows = view.layer(name), view.rows(name)
            try:
                losses, step = removal_losses(rows, 2 * moments.second / len(calibration), damping)
            except CellError as error:
                raise CellError(f"obc of {name}: {error}") from error
            scores[name] = layer.channels.weight(losses, layer.weight_shape)
            steps[name] = layer.channels.weight(step, layer.weight_shape)
    names = view.units.names
    return ScoreMap({name: scores[name] for name in names}, secondary={name: steps[name] for name in names})


def removal_losses(rows: Tensor, hessian: Tensor, damping: float) -> tuple[Tensor, Tensor]:
    """Remove the weights of each row greedily; return loss increases in the order of the row, and the order.

    Parameters
    ----------
    rows : Tensor
        Weights, float64, shape ``(out, k)``, the rows of a group one after the other.
    hessian : Tensor
        Of each group, symmetric, positive semi-definite, float64, shape ``(groups, k, k)``.
    damping : float
        Share of each group's mean diagonal that is added to its diagonal.

    Returns
    -------
    losses : Tensor
        Shape ``(out, k)``: the j-th smallest loss increase of the row for the weight that was removed as the j-th.
    step : Tensor
        j itself, from 0, float64, shape ``(out, k)``.

    Raises
    ------
    CellError
        If a damped Hessian is not positive definite in float64.

    Examples
    --------
    Two inputs that are almost equal: the second weight compensates for the first, and its removal loses both.

    >>> rows, hessian = torch.tensor([[1.0, 2.0]]).double(), torch.tensor([[[2.0, 1.9], [1.9, 2.0]]]).double()
    >>> removal_losses(rows, hessian, damping=0)
    (tensor([[0.0975, 8.7025]], dtype=torch.float64), tensor([[0., 1.]], dtype=torch.float64))
    """
    groups, k, _ = hessian.shape
    mean = hessian.diagonal(dim1=1, dim2=2).mean(dim=1, keepdim=True)
    damped = hessian + torch.diag_embed((damping * mean).expand(groups, k))
    dead = damped.diagonal(dim1=1, dim2=2) == 0  # without damping, weights of such inputs cost nothing
    damped = damped + torch.diag_embed(dead.to(damped.dtype))
    factor, info = torch.linalg.cholesky_ex(damped)
    if bool(info.any()):
        raise CellError("the damped Hessian has no Cholesky factor: inputs that are not finite, or too little damping")
    inverse, least = torch.cholesky_inverse(factor), 1 / damped.diagonal(dim1=1, dim2=2)
    group = torch.arange(groups, device=rows.device).repeat_interleave(len(rows) // groups)
    live = rows.masked_fill(dead[group], 0)
    at_once = max(1, (GPU_HELD if rows.is_cuda else HELD) // (8 * k * k))
    split = zip(torch.split(live, at_once), torch.split(group, at_once), strict=True)
    parts = [_remove(row, inverse, least, of) for row, of in split]
    losses, order = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    step = torch.arange(k, dtype=losses.dtype, device=losses.device).expand_as(losses)
    ascending = losses.sort(dim=1).values
    return torch.empty_like(losses).scatter_(1, order, ascending), torch.empty_like(losses).scatter_(1, order, step)


def _remove(rows: Tensor, inverse: Tensor, least: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    """Return loss increases and indices in the order of removal, each of shape ``(out, k)``.

    Eliminating p subtracts from H^-1 the square of its row p over sqrt([H^-1]_pp). H^-1 itself is never updated: its
    rows are computed when they are needed, from the shared H^-1 and the rows eliminated so far. This is a Cholesky
    factorisation with the removed weights as pivots. Now and then the columns of removed weights are dropped.
    """
    out, k = rows.shape
    every = torch.arange(out, device=rows.device)
    columns = torch.arange(k, device=rows.device).expand(out, k)  # of the weights that are not dropped
    w, diagonal = rows, inverse.diagonal(dim1=1, dim2=2)[group]
    least = least[group]  # a diagonal entry ends at 1 / H_pp, when p alone is left; rounding must not carry it lower
    removed = torch.zeros_like(w, dtype=torch.bool)
    eliminated = rows.new_empty(out, k, k)
    losses, order = rows.new_empty(k, out), group.new_empty(k, out)
    for j in range(k):
        if j and j % max(DROPPED, k // 8) == 0:
            stay = removed.to(torch.uint8).argsort(dim=1, stable=True)[:, : k - j]
            columns, w, diagonal, least = (each.gather(1, stay) for each in (columns, w, diagonal, least))
            removed = torch.zeros_like(w, dtype=torch.bool)
            shorter = rows.new_empty(out, k, k - j)
            torch.gather(eliminated[:, :j], 2, stay.unsqueeze(1).expand(-1, j, -1), out=shorter[:, :j])
            eliminated = shorter
        cost = (w.square() / diagonal).masked_fill_(removed, torch.inf)
        losses[j], p = cost.min(dim=1)
        order[j] = columns[every, p]
        removed[every, p] = True
        row = inverse[group.unsqueeze(1), order[j].unsqueeze(1), columns]
        if j:
            before = eliminated[:, :j]
            row = row - torch.bmm(before[every, :, p].unsqueeze(1), before).squeeze(1)
        pivot = diagonal[every, p].sqrt().unsqueeze(1)
        row = torch.div(row, pivot, out=eliminated[:, j])
        w = w - row * (w[every, p].unsqueeze(1) / pivot)
        diagonal = torch.maximum(diagonal - row.square(), least)
    return losses.mT / 2, order.mT
