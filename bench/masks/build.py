"""From an order of units and a budget to masks with exactly that many units."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.errors import CellError
from bench.masks.budget import Budget
from bench.tensors import MaskSet, UnitSpace


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
        If the masks do not keep exactly what the budget says (an order that is no permutation).

    Examples
    --------
    >>> from bench.tensors import PrunableLayer
    >>> units = UnitSpace("channel", (PrunableLayer("conv", (4, 1, 1, 1), (4,)),))
    >>> budget = Budget(torch.tensor([0, 0, 1, 1]), torch.tensor([1, 1]))
    >>> build_masks(units, torch.tensor([1, 0, 3, 2]), budget)["conv"]
    tensor([False,  True, False,  True])
    """
    segment, keep = budget.segment.to(order.device), budget.keep.to(order.device)
    flat = torch.zeros(units.total, dtype=torch.bool, device=order.device)
    if len(keep) == 1:
        flat[order[: int(keep)]] = True
    else:
        # grouped by segment, still best first; a unit's rank is its distance from the group's start
        grouped = order[segment[order].argsort(stable=True)]
        sizes = segment.bincount(minlength=len(keep))
        start = sizes.cumsum(0) - sizes
        rank = torch.arange(units.total, device=order.device) - start.repeat_interleave(sizes)
        flat[grouped[rank < keep.repeat_interleave(sizes)]] = True
    kept = flat.sum()[None] if len(keep) == 1 else segment[flat].bincount(minlength=len(keep))
    if not torch.equal(kept, keep):
        wrong = int((kept != keep).nonzero()[0])
        raise CellError(f"segment {wrong} keeps {int(kept[wrong])} units, its budget is {int(keep[wrong])}")
    return MaskSet(units, units.split(flat))
