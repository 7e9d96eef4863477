"""Spearman's rank correlation of many layers at once, each as a whole and in windows of one of the two ranks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.models.sorting import indices


def rank_correlations(
    values: Tensor, places: Tensor, sizes: list[int], windows: Iterable[Tensor]
) -> list[list[tuple[int, float]]]:
    """Correlate values with places layer by layer, over the units of each window; equal values share their rank.

    Nothing is read from the device until all layers and windows are computed.

    Parameters
    ----------
    values : Tensor
        One layer after the other, ascending in each layer, shape ``(total,)``.
    places : Tensor
        Of the same units: ranks without ties, less their layer's mean, so that sums stay exact; float64.
    sizes : list of int
        Units of each layer.
    windows : iterable of Tensor
        Boolean, shape ``(total,)``: which units count. In a layer their places are consecutive.

    Returns
    -------
    list of list of (int, float)
        For every window and layer, the number of units and the correlation; NaN where it is not defined.

    Examples
    --------
    >>> values, places = torch.tensor([1.0, 2.0, 7.0, 9.0]), torch.tensor([0.5, -1.5, 1.5, -0.5]).double()
    >>> rank_correlations(values, places, [4], [torch.ones(4, dtype=torch.bool)])
    [[(4, 0.0)]]
    """
    layers = torch.arange(len(sizes), device=values.device)
    layer = layers.repeat_interleave(torch.tensor(sizes, device=values.device), output_size=len(values))
    begins = torch.ones_like(layer, dtype=torch.bool)
    torch.logical_or(values[1:] != values[:-1], layer[1:] != layer[:-1], out=begins[1:])
    ties = _Ties.find(begins)
    sums = torch.stack([_sums(window, places, layer, sizes, ties) for window in windows])
    return [[_correlation(*numbers) for numbers in window] for window in sums.tolist()]


@dataclass(frozen=True)
class _Ties:
    """Places of the members of runs of equal values, and of the first and the last member of their run."""

    members: Tensor
    first: Tensor
    last: Tensor

    @classmethod
    def find(cls, begins: Tensor) -> _Ties | None:
        """Find the runs of two or more, given where a run begins; None if there are none."""
        alone = begins.clone()
        alone[:-1] &= begins[1:]
        members = indices(~alone)
        if not len(members):
            return None
        run, starts = (begins.cumsum(0) - 1).index_select(0, members), indices(begins)
        ends = torch.cat([starts[1:], starts.new_tensor([len(begins)])]) - 1
        return cls(members, starts.index_select(0, run), ends.index_select(0, run))

    def share(self, ranks: Tensor, window: Tensor) -> None:
        """Give the members of each run that are in the window their mean rank."""
        before = ranks.index_select(0, self.first) - window.index_select(0, self.first).double()
        ranks.index_copy_(0, self.members, (before + ranks.index_select(0, self.last) + 1) / 2)


def _sums(window: Tensor, places: Tensor, layer: Tensor, sizes: list[int], ties: _Ties | None) -> Tensor:
    """Return the units of every layer that are in the window, and two sums over them, shape ``(layers, 3)``.

    The sums are those of centred rank times place, and of the square of the centred rank.
    """
    ranks = window.cumsum(0).double()
    kept = torch.stack([part.count_nonzero() for part in torch.split(window, sizes)]).double()
    if ties is not None:
        ties.share(ranks, window)
    mean = (kept.cumsum(0) - kept) + (kept + 1) / 2
    centred = ranks.sub_(mean.index_select(0, layer)).mul_(window)
    by_layer = torch.split(centred, sizes)
    products = [torch.dot(*parts) for parts in zip(by_layer, torch.split(places, sizes), strict=True)]
    if ties is None:
        squares = kept * (kept.square() - 1) / 12
    else:
        squares = torch.stack([torch.dot(part, part) for part in by_layer])
    return torch.stack([kept, torch.stack(products), squares], dim=1)


def _correlation(kept: float, products: float, squares: float) -> tuple[int, float]:
    most = kept * (kept * kept - 1) / 12  # sum of squares of centred ranks without ties
    if squares == 0:
        return int(kept), math.nan
    return int(kept), min(1.0, max(-1.0, products / math.sqrt(most * squares)))
