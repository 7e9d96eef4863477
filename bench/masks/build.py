"""From an order of units and a budget to masks with exactly that many units."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.core.errors import CellError
from bench.masks.budget import Budget
from bench.models.sorting import grouped, indices
from bench.models.tensors import MaskSet
from bench.models.unit_space import UnitSpace


def build_masks(units: UnitSpace, order: Tensor, budget: Budget) -> MaskSet:
    """Keep the first ``budget.keep[s]`` units of every segment s in `order`.

    Parameters
    ----------
    units : UnitSpace
        The prunable units.
    order : Tensor
        All units, best first, as `bench.masks.order.keep_order` returns them.
    budget : Budget
        Segments and their counts.

    Raises
    ------
    CellError
        If the budget is of another number of units, or the masks do not keep exactly as many units (an order that
        is no permutation).

    Examples
    --------
    >>> from bench.models.unit_space import PrunableLayer
    >>> units = UnitSpace("channel", (PrunableLayer("conv", (4, 1, 1, 1), (4,)),))
    >>> budget = Budget(torch.tensor([0, 0, 1, 1]), torch.tensor([1, 1]))
    >>> build_masks(units, torch.tensor([1, 0, 3, 2]), budget)["conv"]
    tensor([False,  True, False,  True])
    """
    budget.refuse_other(units.total)
    flat = torch.zeros(units.total, dtype=torch.bool, device=order.device)
    flat.index_fill_(0, kept_units(order, budget), True)
    keep = budget.keep.to(order.device)
    if len(keep) == 1:
        kept = flat.count_nonzero()[None]
    else:
        kept = budget.segment.to(order.device).index_select(0, indices(flat)).bincount(minlength=len(keep))
    if not torch.equal(kept, keep):
        wrong = int((kept != keep).nonzero()[0])
        raise CellError(f"segment {wrong} keeps {int(kept[wrong])} units, its budget is {int(keep[wrong])}")
    return MaskSet.from_flat(units, flat)


def kept_units(order: Tensor, budget: Budget) -> Tensor:
    """Return the flat indices of the first ``budget.keep[s]`` units of every segment s in `order`, int64.

    Examples
    --------
    >>> budget = Budget(torch.tensor([0, 0, 1, 1]), torch.tensor([1, 1]))
    >>> kept_units(torch.tensor([1, 0, 3, 2]), budget)
    tensor([1, 3])
    """
    if len(budget.keep) == 1:
        return order[: int(budget.keep)]
    # grouped by segment, still best first; a unit's rank is its distance from the group's start
    segment, sizes = budget.segment.to(order.device), torch.tensor(budget.sizes, device=order.device)
    by_segment = order.index_select(0, grouped(segment.index_select(0, order), len(sizes)))
    start = sizes.cumsum(0) - sizes
    rank = torch.arange(len(order), device=order.device) - start.repeat_interleave(sizes)
    kept = rank < budget.keep.to(order.device).repeat_interleave(sizes)
    return by_segment.index_select(0, indices(kept))
