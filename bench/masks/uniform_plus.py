"""Uniform pruning that spares the first and the last layer (Gale, Elsen and Hooker 2019; METHODS section 4)."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import ceil

import torch

from bench.core.errors import NotApplicable
from bench.masks.budget import Budget
from bench.masks.erk import round_to_total
from bench.models.counts import keep_count
from bench.models.tensors import ScoreMap
from bench.models.unit_space import UnitSpace
from bench.models.view import ModelView

#: Least density of the classifier.
LEAST = Fraction(1, 5)


def uniform_plus(units: UnitSpace, scores: ScoreMap, sparsity: float | None, view: ModelView) -> Budget:
    """Keep the first layer dense, prune the classifier by at most 80 %, and the other layers by one share.

    First layer and classifier are those of the network: where one of them has no units, because the study excludes it
    or the granularity does not reach it, the others are pruned by one share. The total is exact: counts are rounded
    by largest remainder. The first layer is noted as `dense_layers`, a classifier at the limit as `limited_layers`.

    Raises
    ------
    NotApplicable
        If so few units are to be kept that the first layer and a fifth of the classifier are more.

    Notes
    -----
    Gale's code sets the sparsities of both layers by hand for ResNet-50. Lee et al. 2021, who name the scheme Uniform+,
    keep a first layer dense only if it is a convolution; here that of an MLP is dense too.

    Examples
    --------
    >>> from bench.models.unit_space import PrunableLayer
    >>> layers = tuple(PrunableLayer(name, (n, 1), (n, 1)) for name, n in (("a", 10), ("b", 60), ("c", 40), ("d", 50)))
    >>> budget = uniform_plus(UnitSpace("weight", layers, stem="a", classifier=("d",)), None, 0.8, None)
    >>> budget.keep.tolist(), budget.notes
    ([10, 7, 5, 10], {'dense_layers': ['a'], 'limited_layers': ['d']})
    """
    total = keep_count(units.total, sparsity)
    sizes = {layer.name: layer.size for layer in units.layers}
    fixed = {name: size for name, size in sizes.items() if name == units.stem}
    least = {name: ceil(LEAST * size) for name, size in sizes.items() if name in units.classifier and name not in fixed}
    notes: dict[str, object] = {"dense_layers": list(fixed)}
    quotas = _one_share(sizes, fixed, total)
    # a classifier at its limit leaves less for the others, so that another part of it may fall below its own
    while below := {name: count for name, count in least.items() if quotas[name] < count}:
        fixed |= below
        quotas = _one_share(sizes, fixed, total)
    if limited := [name for name in fixed if name in least]:
        notes["limited_layers"] = limited
    return Budget(units.layer_index(), torch.tensor(round_to_total(list(quotas.values()))), notes)


def _one_share(sizes: Mapping[str, int], fixed: Mapping[str, int], total: int) -> dict[str, Fraction]:
    """Return how many units each layer keeps: those of `fixed` their own number, the others one share of their size."""
    left = total - sum(fixed.values())
    free = sum(size for name, size in sizes.items() if name not in fixed)
    if left < 0 or left > free:
        kept = " and ".join(f"{count} of {sizes[name]} units of {name}" for name, count in fixed.items())
        raise NotApplicable(
            f"uniform_plus keeps the first layer dense and at least a fifth of the classifier ({kept}): more than the "
            f"{total} units that this sparsity leaves"
        )
    return {
        name: Fraction(fixed[name]) if name in fixed else Fraction(left * size, free) for name, size in sizes.items()
    }
