"""Masks of one budget without a sort of all units: a threshold per segment, as the thousands of a search need."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bench.masks.budget import Budget
from bench.masks.build import build_masks
from bench.masks.order import keep_order, tie_key
from bench.models.sorting import indices, kth_largest
from bench.models.tensors import MaskSet, ScoreMap
from bench.models.unit_space import UnitSpace

#: Smaller segments on average are sorted together: a threshold costs as much as sorting so many units.
LEAST_UNITS = 256


def select_masks(units: UnitSpace, scores: ScoreMap, magnitudes: Mapping[str, Tensor], budget: Budget) -> MaskSet:
    """Keep the units that ``build_masks(units, keep_order(units, scores, magnitudes), budget)`` keeps.

    In every segment the k-th largest score is found by selection; of the units that tie with it the tie rule
    (`keep_order`) takes as many as are missing. Masks of several sparsities are cheaper from one order.

    Parameters
    ----------
    units, scores, magnitudes
        As for `keep_order`.
    budget : Budget
        Segments and how many units each keeps.

    Raises
    ------
    CellError
        If the scores are NaN, infinite or of the wrong shape, or the budget is of another number of units.

    Examples
    --------
    >>> from bench.models.unit_space import PrunableLayer
    >>> units = UnitSpace("channel", (PrunableLayer("conv", (300, 1, 1, 1), (300,)),))
    >>> scores = {"conv": torch.arange(300).double() // 2}
    >>> budget = Budget(torch.zeros(300, dtype=torch.int64), torch.tensor([3]))
    >>> select_masks(units, ScoreMap(scores), scores, budget)["conv"].nonzero().flatten().tolist()
    [296, 298, 299]
    """
    budget.refuse_other(units.total)
    few = len(budget.keep) * LEAST_UNITS <= units.total
    if not few or (len(budget.keep) > 1 and bool((budget.segment[1:] < budget.segment[:-1]).any())):
        return build_masks(units, keep_order(units, scores, magnitudes), budget)
    scores.validate(units)
    values, key = scores.flat(units), None
    flags = values.new_zeros(units.total, dtype=torch.bool)
    start = 0
    for size, keep in zip(budget.sizes, budget.keep.tolist(), strict=True):
        part = slice(start, start + size)
        start += size
        if keep == 0:
            continue
        threshold = kth_largest(values[part], keep)
        torch.ge(values[part], threshold, out=flags[part])
        surplus = int(flags[part].count_nonzero()) - keep
        if surplus:
            key = tie_key(units, scores, magnitudes).to(values.device) if key is None else key
            tied = indices(values[part] == threshold) + part.start
            flags[tied[key[tied].argsort(descending=True, stable=True)[-surplus:]]] = False
    return MaskSet.from_flat(units, flags)
