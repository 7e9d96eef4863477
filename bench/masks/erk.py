"""ERK: the density of a layer falls with its size (Evci et al. 2020, as in RigL's code; METHODS section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import torch

from bench.masks.budget import Budget
from bench.models.counts import keep_count
from bench.models.tensors import ScoreMap
from bench.models.unit_space import UnitSpace
from bench.models.view import ModelView


def erk(units: UnitSpace, scores: ScoreMap, sparsity: float | None, view: ModelView) -> Budget:
    """Keep of layer l the share min(1, e (n_in + n_out + k_h + k_w) / (n_in n_out k_h k_w)).

    n_in is counted per group, a linear layer has no k; e solves the total budget. Layers that reach 1 are
    dense, and e is solved again for the others. For channels the densities come from the layers' weights
    too, and the budget counts channels (ours). The dense layers are noted.

    Examples
    --------
    >>> from bench.models.unit_space import PrunableLayer
    >>> layers = tuple(PrunableLayer(name, (8, n), (8, n)) for name, n in (("a", 2), ("b", 8), ("c", 64)))
    >>> budget = erk(UnitSpace("weight", layers), None, 0.7, None)
    >>> budget.keep.tolist(), budget.notes
    ([16, 29, 133], {'dense_layers': ['a']})
    """
    weights = [Fraction(sum(layer.weight_shape), int(torch.Size(layer.weight_shape).numel())) for layer in units.layers]
    sizes = [layer.size for layer in units.layers]
    shares = densities(weights, sizes, keep_count(units.total, sparsity))
    dense = [layer.name for layer, share in zip(units.layers, shares, strict=True) if share == 1]
    keep = round_to_total([share * size for share, size in zip(shares, sizes, strict=True)])
    return Budget(units.layer_index(), torch.tensor(keep), {"dense_layers": dense})


def densities(weights: Sequence[Fraction], sizes: Sequence[int], total: int) -> list[Fraction]:
    """Solve sum of min(1, e w_l) n_l = total for e and return the densities min(1, e w_l), exactly.

    Parameters
    ----------
    weights : sequence of Fraction
        w_l > 0, what the densities are proportional to below 1.
    sizes : sequence of int
        Units n_l of each layer.
    total : int
        Units to keep, at most the sum of `sizes`.

    Examples
    --------
    >>> [str(d) for d in densities([Fraction(1), Fraction(1, 4)], [4, 16], 10)]
    ['1', '3/8']
    """
    free = set(range(len(sizes)))
    while True:
        left = total - sum(size for layer, size in enumerate(sizes) if layer not in free)
        share = sum((weights[layer] * sizes[layer] for layer in free), Fraction(0))
        e = left / share if free else Fraction(0)
        # fixing a layer at 1 takes less than e gave it, so e can only grow: those above 1 stay there
        full = {layer for layer in free if e * weights[layer] >= 1}
        if not full:
            return [e * weight if layer in free else Fraction(1) for layer, weight in enumerate(weights)]
        free -= full


def round_to_total(quotas: Sequence[Fraction]) -> list[int]:
    """Round quotas whose sum is whole, keeping the sum: the largest remainders are rounded up.

    Of equal remainders the earlier goes up (ours).

    Examples
    --------
    >>> round_to_total([Fraction(5, 2), Fraction(5, 2), Fraction(1)])
    [3, 2, 1]
    """
    whole = [int(quota) for quota in quotas]
    order = sorted(range(len(quotas)), key=lambda layer: whole[layer] - quotas[layer])
    for layer in order[: int(sum(quotas)) - sum(whole)]:
        whole[layer] += 1
    return whole
