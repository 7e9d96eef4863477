"""N:M: N kept of every M consecutive input channels at a fixed place (Mishra et al. 2021; METHODS section 1).

NVIDIA's tool for 2:4 (ASP, ``apex.contrib.sparsity``, commit 6424da3) gives the same masks by magnitude, but does two
things more. It permutes input channels before it prunes (``allow_permutation``, on by default), so that larger weights
are kept; here the channels stay where they are. And it prunes only weights of which the outputs divide by 8 and the
inputs by 16, which its kernels require (``ASP.init_model_for_pruning``); here the inputs must divide by M.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import AfterValidator, Field, ValidationInfo
from pydantic_core import PydanticCustomError
from torch import Tensor

from bench.core.errors import NotApplicable
from bench.masks.budget import Budget
from bench.models.tensors import ScoreMap
from bench.models.unit_space import UnitSpace
from bench.models.view import ModelView


def _above_n(m: int, info: ValidationInfo) -> int:
    if m <= info.data.get("n", 0):
        raise PydanticCustomError("n_of_m", "must be greater than n, as n are kept of every m")
    return m


def n_m(
    units: UnitSpace,
    scores: ScoreMap,
    sparsity: float | None,
    view: ModelView,
    *,
    n: Annotated[int, Field(ge=1)],
    m: Annotated[int, AfterValidator(_above_n)],
) -> Budget:
    """Keep the best `n` of every `m` consecutive input channels, at each output channel and kernel position.

    It sets the sparsity by itself. The first layer of the network stays dense, and so does every layer
    whose input channels, counted per group, do not divide by `m` (depthwise ones among them); they are noted.

    Raises
    ------
    NotApplicable
        For channels, if no layer qualifies, or for a layer whose input channels are not known.

    Examples
    --------
    >>> from bench.models.units import find_units
    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2), torch.nn.Linear(2, 1))
    >>> units = find_units(net, "weight", ("head",), torch.zeros(1, 3))
    >>> budget = n_m(units, None, None, ModelView(net, units), n=2, m=4)
    >>> budget.segment.tolist()
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    >>> budget.keep.tolist(), budget.notes
    ([12, 2, 2], {'dense_layers': ['0']})
    """
    if units.granularity != "weight":
        raise NotApplicable(f"{n}:{m} keeps single weights of a group; a channel has no groups")
    segments, keep, dense = [], [], []
    start = 0
    for layer in units.layers:
        if layer.name == units.stem or layer.channels.inputs % m:
            dense.append(layer.name)
            segment, counts = torch.zeros(layer.size, dtype=torch.int64), torch.tensor([layer.size])
        else:
            layout = layer.channels
            groups = input_groups((layout.channels, layout.inputs, layout.weights_per_channel // layout.inputs), m)
            segment = layout.weight(groups.view(layout.channels, -1), layer.weight_shape).reshape(-1)
            counts = torch.full((layer.size // m,), n)
        segments.append(segment + start)
        keep.append(counts)
        start += len(counts)
    if len(dense) == len(units.layers):
        raise NotApplicable(f"no layer but the first has input channels (per group) that divide by {m}")
    return Budget(torch.cat(segments), torch.cat(keep), {"dense_layers": dense})


def input_groups(shape: tuple[int, ...], m: int) -> Tensor:
    """Return the number of each weight's group of `m` consecutive input channels.

    Parameters
    ----------
    shape : tuple of int
        ``(out, in, *kernel)``; ``in`` divides by `m`.
    m : int
        Input channels in a group; all weights of a group share output channel and kernel position.

    Returns
    -------
    Tensor
        int64, one number per weight in flat order.

    Examples
    --------
    >>> input_groups((1, 4, 1, 3), 2).reshape(4, 3).tolist()
    [[0, 1, 2], [0, 1, 2], [3, 4, 5], [3, 4, 5]]
    """
    outputs, inputs, kernel = shape[0], shape[1], int(torch.Size(shape[2:]).numel())
    numbers = torch.arange(outputs * inputs // m * kernel).view(outputs, inputs // m, 1, kernel)
    return numbers.expand(-1, -1, m, -1).reshape(-1)


def fixed_n_m(n: int, m: int) -> Callable[[UnitSpace, ScoreMap, float | None, ModelView], Budget]:
    """Make the allocation of one pattern, without options.

    Examples
    --------
    >>> fixed_n_m(2, 4).__doc__
    'Keep the best 2 of every 4 consecutive input channels.'
    """

    def allocation(units: UnitSpace, scores: ScoreMap, sparsity: float | None, view: ModelView) -> Budget:
        return n_m(units, scores, sparsity, view, n=n, m=m)

    allocation.__doc__ = f"Keep the best {n} of every {m} consecutive input channels."
    return allocation


two_of_four, four_of_eight, one_of_four = fixed_n_m(2, 4), fixed_n_m(4, 8), fixed_n_m(1, 4)
