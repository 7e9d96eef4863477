"""SparseSwaps: a mask refined by the best exchanges of two weights (Zimmer et al. 2025, arXiv 2512.10922)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from bench.models.inputs import input_moments, runs_of_layers
from bench.models.tensors import ScoreMap
from bench.models.view import Calibration, ModelView
from bench.scorers.refine import Refinement, Start

#: Bytes of Gram matrices that are held at once (one layer's, where that alone is more).
PART = 2**28
#: Bytes of exchanges that are compared at once: those of a few rows, so that they stay in a CPU's cache.
HELD = 2**22
#: The same on a GPU, which needs large operations.
GPU_HELD = 2**31
#: An exchange must reduce the error by more than this share of the row's output energy, which exceeds rounding.
LEAST = 1e-12


def sparse_swaps(
    view: ModelView,
    calibration: Calibration,
    generator: torch.Generator,
    sparsity: float | None,
    *,
    start: Start = "wanda",
    swaps: Annotated[int | None, Field(ge=0)] = None,
) -> ScoreMap:
    """Score a mask of which no exchange of one kept and one removed weight of a row reduces the row's error.

    The error of an output row is (w - w_kept)^T G (w - w_kept) with G = X X^T over the draw, what the removed weights
    added to the output. The exchange that reduces it most is made until none reduces it. Kept weights do not change.

    Parameters
    ----------
    view, calibration, generator
        As for every scorer.
    sparsity : float or None
        Share of every row that is removed, rounded as by the allocation `per_output`.
    start : {"wanda", "magnitude", "ria", "obs", "obc"}
        Scorer of the mask to start from.
    swaps : int or None
        Largest number of exchanges in a row; None for no limit.

    Returns
    -------
    ScoreMap
        Kept weights score above 1, removed ones below; under another allocation than `per_output` the scores of the
        start decide within both. The notes have the number of exchanged weights.

    Raises
    ------
    NotApplicable
        For channels. If the allocation sets the sparsity. For a layer whose output channels are not known.
    """
    refinement = Refinement("sparse_swaps", start, view, calibration, generator, sparsity)
    for layers in runs_of_layers(view.units.layers, PART):
        for name, moments in input_moments(view.model, layers, calibration, torch.float64).items():
            layer, rows = view.layer(name), view.rows(name)
            gram = (moments.second + moments.second.mT) / 2  # products in single precision are not quite symmetric
            groups, size = len(gram), len(rows) // len(gram)
            parts = zip(
                gram, rows.reshape(groups, size, -1), refinement.kept(layer).reshape(groups, size, -1), strict=True
            )
            kept = [swap(mask, weights, matrix, swaps) for matrix, weights, mask in parts]
            refinement.refined(layer, torch.cat(kept))
    return refinement.scores()


def swap(kept: Tensor, rows: Tensor, gram: Tensor, swaps: int | None = None) -> Tensor:
    """Exchange one kept and one removed weight of each row, the best two first, until no exchange helps.

    Parameters
    ----------
    kept : Tensor
        Boolean, as many True in every row, shape ``(out, k)``.
    rows : Tensor
        Weights, float64, shape ``(out, k)``.
    gram : Tensor
        G, symmetric, float64, shape ``(k, k)``.
    swaps : int or None
        Largest number of exchanges in a row; None for no limit.

    Returns
    -------
    Tensor
        Boolean, shape ``(out, k)``.

    Raises
    ------
    ValueError
        If the rows of `kept` keep different numbers.

    Examples
    --------
    Two inputs that are almost opposite: what both weights add nearly cancels, so both are removed.

    >>> gram = torch.tensor([[1.0, -0.9, 0.0], [-0.9, 1.0, 0.0], [0.0, 0.0, 1.0]]).double()
    >>> swap(torch.tensor([[True, False, False]]), torch.tensor([[3.0, 2.9, 1.0]]).double(), gram)
    tensor([[False, False,  True]])
    """
    keep = int(kept[0].sum())
    if bool((kept.sum(dim=1) != keep).any()):
        raise ValueError("the rows keep different numbers of weights")
    removed = kept.shape[1] - keep
    if keep == 0 or removed == 0:
        return kept
    at_once = max(1, (GPU_HELD if rows.is_cuda else HELD) // (8 * keep * removed))
    parts = zip(torch.split(kept, at_once), torch.split(rows, at_once), strict=True)
    return torch.cat([_swap(mask, weights, gram, keep, swaps) for mask, weights in parts])


def _swap(kept: Tensor, rows: Tensor, gram: Tensor, keep: int, swaps: int | None) -> Tensor:
    """Exchange the weights of a few rows.

    Removing u and keeping p instead changes the error by
    w_u^2 G_uu + 2 w_u c_u + w_p^2 G_pp - 2 w_p c_p - 2 w_u w_p G_up, c = G (w - w_kept).
    """
    w = rows
    energy = ((w @ gram) * w).sum(dim=1)
    order = kept.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
    inside, outside = order[:, :keep].clone(), order[:, keep:].clone()  # the weights that are kept, and the others
    own = w.square() * gram.diagonal()
    c = torch.where(kept, 0, w) @ gram
    w_in, w_out = w.gather(1, inside), w.gather(1, outside)
    joint = w_in.unsqueeze(2) * w_out.unsqueeze(1) * gram[inside.unsqueeze(2), outside.unsqueeze(1)]
    change = torch.empty_like(joint)
    every = torch.arange(len(w), device=w.device)
    done = 0
    while swaps is None or done < swaps:
        removal = own.gather(1, inside) + 2 * (w * c).gather(1, inside)
        regrowth = own.gather(1, outside) - 2 * (w * c).gather(1, outside)
        torch.add(removal.unsqueeze(2), regrowth.unsqueeze(1), out=change)
        best, place = change.sub_(joint, alpha=2).flatten(1).min(dim=1)
        active = best < -LEAST * energy
        if not bool(active.any()):
            break
        i = every[active]
        a, b = place[active] // change.shape[2], place[active] % change.shape[2]
        u, p = inside[i, a], outside[i, b]
        c[i] += w[i, u].unsqueeze(1) * gram[u] - w[i, p].unsqueeze(1) * gram[p]
        inside[i, a], outside[i, b] = p, u
        joint[i, a] = w[i, p].unsqueeze(1) * w[i].gather(1, outside[i]) * gram[p.unsqueeze(1), outside[i]]
        joint[i, :, b] = w[i, u].unsqueeze(1) * w[i].gather(1, inside[i]) * gram[u.unsqueeze(1), inside[i]]
        done += 1
    return torch.zeros_like(kept).scatter_(1, inside, True)
