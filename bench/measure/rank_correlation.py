"""Spearman's rank correlation of many layers at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.models.sorting import indices


def rank_correlations(values: Tensor, places: Tensor, sizes: list[int]) -> list[float]:
    """Correlate values with places layer by layer; equal values share their rank.

    The results of all layers are read from the device at once.

    Parameters
    ----------
    values : Tensor
        One layer after the other, ascending in each layer, shape ``(total,)``.
    places : Tensor
        Of the same units: consecutive numbers in some order in every layer, less any number of the layer's own;
        float64. Sums stay exact up to layers of 200,000 units where that number is near their mean.
    sizes : list of int
        Units of each layer.

    Returns
    -------
    list of float
        One correlation per layer; NaN where it is not defined.

    Examples
    --------
    >>> values, places = torch.tensor([1.0, 2.0, 7.0, 9.0]), torch.tensor([0.5, -1.5, 1.5, -0.5]).double()
    >>> rank_correlations(values, places, [4])
    [0.0]
    """
    device, n = values.device, torch.tensor(sizes, device=values.device)
    layer = torch.arange(len(sizes), device=device).repeat_interleave(n, output_size=len(values))
    ranks = torch.arange(len(values), dtype=torch.float64, device=device)
    ties = _Ties.find(values, layer)
    if ties is not None:
        ties.share(ranks)
    means = (n.cumsum(0) - n) + (n - 1) / 2
    centred = torch.split(ranks.sub_(means.double().index_select(0, layer)), sizes)
    products = torch.stack([torch.dot(*parts) for parts in zip(centred, torch.split(places, sizes), strict=True)])
    most = n * (n.double().square() - 1) / 12  # sum of squares of centred ranks without ties
    squares = most if ties is None else torch.stack([torch.dot(part, part) for part in centred])
    return [_correlation(*sums) for sums in torch.stack([products, squares, most], dim=1).tolist()]


@dataclass(frozen=True)
class _Ties:
    """Places of the members of runs of equal values, and of the first and the last member of their run."""

    members: Tensor
    first: Tensor
    last: Tensor

    @classmethod
    def find(cls, values: Tensor, layer: Tensor) -> _Ties | None:
        """Find the runs of two or more in a layer; None if there are none."""
        same = (values[1:] == values[:-1]).logical_and_(layer[1:] == layer[:-1])
        edge = same.new_zeros(1)
        members = indices(torch.cat([edge, same]) | torch.cat([same, edge]))
        if not len(members):
            return None
        begins = ~torch.cat([edge, same])
        run, starts = (begins.cumsum(0) - 1).index_select(0, members), indices(begins)
        ends = torch.cat([starts[1:], starts.new_tensor([len(begins)])]) - 1
        return cls(members, starts.index_select(0, run), ends.index_select(0, run))

    def share(self, ranks: Tensor) -> None:
        """Give the members of each run their mean rank."""
        mean = (ranks.index_select(0, self.first) + ranks.index_select(0, self.last)) / 2
        ranks.index_copy_(0, self.members, mean)


def _correlation(products: float, squares: float, most: float) -> float:
    return min(1.0, max(-1.0, products / math.sqrt(most * squares))) if squares else math.nan
