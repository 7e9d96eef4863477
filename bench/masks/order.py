"""The order in which units are kept: by score, ties by magnitude, then by place (METHODS section 2)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bench.models.sorting import ascending, grouped, indices
from bench.models.tensors import ScoreMap
from bench.models.unit_space import UnitSpace


def keep_order(
    units: UnitSpace, scores: ScoreMap, magnitudes: Mapping[str, Tensor], by_magnitude: Tensor | None = None
) -> Tensor:
    """Order all units of a model from the best to the worst.

    Higher scores come first. Equal scores are ordered by the score map's secondary key, or magnitude
    where it has none (larger first), then by layer, then by flat index. So any non-decreasing function
    of magnitude yields the order of magnitude itself. It costs one float sort of all units; only tied
    ones are sorted again.

    Parameters
    ----------
    units : UnitSpace
        The prunable units.
    scores : ScoreMap
        Higher means keep.
    magnitudes : mapping of str to Tensor
        Unit magnitudes, shaped as the scores.
    by_magnitude : Tensor, optional
        The order of magnitude itself, which is returned where the scores do not increase along it: they are not sorted.

    Returns
    -------
    Tensor
        Indices into the flat order of `UnitSpace.flatten`, int64, shape ``(total,)``.

    Raises
    ------
    CellError
        If the scores are NaN, infinite or of the wrong shape.

    Examples
    --------
    >>> from bench.models.unit_space import PrunableLayer
    >>> units = UnitSpace("channel", (PrunableLayer("conv", (4, 1, 1, 1), (4,)),))
    >>> scores = {"conv": torch.tensor([1.0, 2.0, 1.0, 1.0]).double()}
    >>> keep_order(units, ScoreMap(scores), {"conv": torch.tensor([5.0, 1.0, 7.0, 5.0])})
    tensor([1, 2, 0, 3])
    """
    scores.validate(units)
    values = scores.flat(units)
    if by_magnitude is not None and scores.secondary is None:
        ordered = values.index_select(0, by_magnitude)
        if bool((ordered[1:] <= ordered[:-1]).all()):
            return by_magnitude
    order = ascending(values).flip(0)
    values = values.index_select(0, order)
    tied = indices(_in_runs(values[1:] == values[:-1]))
    if len(tied):
        key = tie_key(units, scores, magnitudes).to(order.device)
        order[tied] = _order_tied(order[tied], values[tied], key)
    return order


def tie_key(units: UnitSpace, scores: ScoreMap, magnitudes: Mapping[str, Tensor]) -> Tensor:
    """Return what orders units of equal scores, the larger first: flat, shape ``(total,)``; see `keep_order`."""
    return units.flatten(magnitudes if scores.secondary is None else scores.secondary)


def _order_tied(tied: Tensor, values: Tensor, key: Tensor) -> Tensor:
    """Reorder the flat indices of tied units: `values` stay descending, then `key` descending, then index ascending.

    A chain of stable sorts, the least significant key first.
    """
    run = torch.cat([torch.zeros_like(tied[:1]), (values[1:] != values[:-1]).cumsum(0)])
    by_index = tied.argsort()
    by_key = by_index[key[tied[by_index]].argsort(descending=True, stable=True)]
    by_run = by_key[run[by_key].argsort(stable=True)]
    return tied[by_run]


def _in_runs(same: Tensor) -> Tensor:
    """Members of runs, from flags of equal neighbours: shape ``(n - 1,)`` to ``(n,)``."""
    edge = same.new_zeros(1)
    return torch.cat([edge, same]) | torch.cat([same, edge])


def tied_units(units: UnitSpace, scores: ScoreMap, magnitudes: Mapping[str, Tensor], order: Tensor) -> int:
    """Count the units whose score equals that of a unit of another magnitude in the same layer.

    The tie rule determines their order, not the score.

    Parameters
    ----------
    units, scores, magnitudes
        As for `keep_order`.
    order : Tensor
        What `keep_order` returned.

    Examples
    --------
    >>> from bench.models.unit_space import PrunableLayer
    >>> units = UnitSpace("channel", (PrunableLayer("conv", (5, 1, 1, 1), (5,)),))
    >>> scores = ScoreMap({"conv": torch.tensor([1.0, 1.0, 2.0, 3.0, 3.0]).double()})
    >>> magnitudes = {"conv": torch.tensor([1.0, 1.0, 2.0, 3.0, 4.0])}
    >>> tied_units(units, scores, magnitudes, keep_order(units, scores, magnitudes))
    2
    """
    values = scores.flat(units)
    ordered = values.index_select(0, order)
    order = order.index_select(0, indices(_in_runs(ordered[1:] == ordered[:-1])))
    if not len(order):
        return 0
    layer = units.layer_index().to(order.device)
    order = order[grouped(layer[order], len(units.layers))]
    magnitude = units.flatten(magnitudes).to(order.device)[order]
    values, layer = values[order], layer[order]
    same = (values[1:] == values[:-1]) & (layer[1:] == layer[:-1])
    run = torch.cat([torch.zeros_like(layer[:1]), (~same).cumsum(0)])
    mixed = torch.zeros(len(order), dtype=torch.bool, device=order.device)
    mixed[run[1:][same & (magnitude[1:] != magnitude[:-1])]] = True
    return int(mixed[run].sum())
