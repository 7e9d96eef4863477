"""Spearman's rank correlation of many layers at once, from one sequence that is sorted by value."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.models.sorting import indices


@dataclass(frozen=True)
class Ties:
    """Runs of two or more equal values in a sequence of layers that is sorted in each layer.

    Attributes
    ----------
    members : Tensor
        Places in the sequence of all members of all runs, ascending, int64.
    run : Tensor
        Number of each member's run, ascending, int64.
    """

    members: Tensor
    run: Tensor

    @classmethod
    def find(cls, values: Tensor, layer: Tensor) -> Ties:
        """Find the runs, given value and layer of every place."""
        same = (values[1:] == values[:-1]).logical_and_(layer[1:] == layer[:-1])
        edge = same.new_zeros(1)
        after = torch.cat([edge, same])  # a member that is not the first of its run
        members = indices(after | torch.cat([same, edge]))
        return cls(members, (~after.index_select(0, members)).cumsum(0) - 1)

    def equal(self, other: Ties) -> bool:
        """Whether two sequences have the same runs."""
        return torch.equal(self.members, other.members) and torch.equal(self.run, other.run)

    def among(self, places: Tensor, flags: Tensor) -> Ties:
        """Return the runs that are left in the sequence of the flagged places only.

        Parameters
        ----------
        places : Tensor
            Where `flags` are True, int64.
        flags : Tensor
            One per place of this sequence.
        """
        if not len(self.members):
            return self
        left = indices(flags.index_select(0, self.members))
        members, run = (each.index_select(0, left) for each in (self.members, self.run))
        alone = torch.ones(len(run) + 1, dtype=torch.bool, device=run.device)
        torch.ne(run[1:], run[:-1], out=alone[1:-1])
        left = indices(~(alone[1:] & alone[:-1]))
        return Ties(torch.searchsorted(places, members.index_select(0, left)), run.index_select(0, left))

    def corrections(self, ranked: Tensor, sizes: list[int]) -> Tensor:
        """Return what shared ranks add to the sums of `rank_correlations`, per layer: shape ``(layers, 2)``."""
        _, place, length = torch.unique_consecutive(self.run, return_inverse=True, return_counts=True)
        first = self.members.index_select(0, length.cumsum(0) - length)
        shift = (first.double() + (length.double() - 1) / 2).index_select(0, place) - self.members
        ends = torch.tensor(sizes, device=self.run.device).cumsum(0)
        found = torch.zeros(len(sizes), 2, dtype=torch.float64, device=self.run.device)
        of_member, of_run = (torch.bucketize(places, ends, right=True) for places in (self.members, first))
        found[:, 0].index_add_(0, of_member, shift * ranked.index_select(0, self.members))
        found[:, 1].index_add_(0, of_run, length.double() * (1 - length.double().square()) / 12)
        return found


def rank_correlations(ranked: Tensor, sizes: list[int], ties: Ties) -> list[float]:
    """Correlate the ranks of values with other ranks, layer by layer; equal values share their rank.

    Sums of the layers are exact up to about 200,000 units, and are read from the device at once.

    Parameters
    ----------
    ranked : Tensor
        The other ranks, in ascending order of the values, one layer after the other: consecutive numbers in every
        layer, plus any number of the layer's own; float64, shape ``(total,)``.
    sizes : list of int
        Units of each layer.
    ties : Ties
        Of the values.

    Returns
    -------
    list of float
        One correlation per layer; NaN where all values are equal.

    Examples
    --------
    >>> values = torch.tensor([1.0, 2.0, 7.0, 7.0])
    >>> ties = Ties.find(values, torch.zeros(4, dtype=torch.int64))
    >>> [round(rho, 3) for rho in rank_correlations(torch.tensor([2.0, 0.0, 3.0, 1.0]).double(), [4], ties)]
    [0.211]
    """
    steps = torch.arange(max(sizes), dtype=torch.float64, device=ranked.device)
    parts = torch.split(ranked, sizes)
    sums = torch.stack([torch.stack([torch.dot(steps[: len(part)], part), part.sum()]) for part in parts])
    shared = ties.corrections(ranked, sizes) if len(ties.members) else torch.zeros_like(sums)
    return [_rho(n, *numbers) for n, numbers in zip(sizes, torch.cat([sums, shared], dim=1).tolist(), strict=True)]


def _rho(n: int, product: float, total: float, shared_product: float, shared_squares: float) -> float:
    most = float(n) * (n * n - 1) / 12  # sum of squares of n centred ranks
    squares = most + shared_squares
    if squares <= 0:
        return math.nan
    return min(1.0, max(-1.0, (product - (n - 1) / 2 * total + shared_product) / math.sqrt(most * squares)))
