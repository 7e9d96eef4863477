"""What the feature scorers share: from functions of u to scaled features of units."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.core.errors import NotApplicable
from bench.models.tensors import FeatureMap
from bench.models.view import ModelView
from bench.scorers.rank import ladder, positions

FloatArray = npt.NDArray[np.float64]
#: K functions of u at once: shape ``(n,)``, ascending, to ``(K, n)``.
Function = Callable[[FloatArray], FloatArray]

GRID_POINTS = 2048


def grid() -> FloatArray:
    """Return the 2048 equally spaced points of u on [0.1, 1], the ranks of a layer of as many units."""
    points: FloatArray = ladder(GRID_POINTS).numpy()
    return points


def feature_map(view: ModelView, names: tuple[str, ...], function: Function, *, include_rank: bool) -> FeatureMap:
    """Evaluate functions of u at the rank of every unit, each scaled by its least and greatest grid value.

    They depend on u alone and u takes the same values in all layers of a size, so they are computed
    once for each size. All are scaled alike, the controls and u itself too (ours). Between grid points a
    raw indicator may pass the grid's extremes, so its features may leave [0, 1] by a little.

    Parameters
    ----------
    view : ModelView
        Its units' magnitudes give their ranks.
    names : tuple of str
        The K features.
    function : Function
        Computes them.
    include_rank : bool
        Whether u comes before them as one more feature.

    Examples
    --------
    >>> from bench.models.units import find_units
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 1))
    >>> _ = net[0].weight.data.copy_(torch.tensor([3.0, -1.0, 2.0]).view(3, 1, 1, 1))
    >>> view = ModelView(net, find_units(net, "channel", (), torch.zeros(1, 1, 1, 1)))
    >>> features = feature_map(view, ("minus",), lambda u: -u[None], include_rank=True)
    >>> features.features["0"]
    tensor([[1.0000, 0.0000, 0.5000],
            [0.0000, 1.0000, 0.5000]], dtype=torch.float64)
    """
    if include_rank:
        names, function = ("u", *names), _after_rank(function)
    low, high = torch.from_numpy(function(grid())).aminmax(dim=1, keepdim=True)

    def scaled(u: FloatArray) -> Tensor:
        return scale(torch.from_numpy(function(u)), low, high)

    by_size = {n: scaled(ladder(n).numpy()) for n in {layer.size for layer in view.units.layers}}
    features = {name: by_size[m.numel()].to(m.device)[:, positions(m)] for name, m in view.magnitudes().items()}
    return FeatureMap(names, features, function=lambda u: scaled(u).numpy())


def scale(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Map `low` to 0 and `high` to 1, linearly; where they are equal everything becomes 0.

    Examples
    --------
    >>> values = torch.tensor([[1.0, 2.0], [5.0, 5.0]])
    >>> scale(values, torch.tensor([[0.0], [5.0]]), torch.tensor([[4.0], [5.0]]))
    tensor([[0.2500, 0.5000],
            [0.0000, 0.0000]])
    """
    spread = high - low
    return torch.where(spread > 0, (values - low) / spread.where(spread > 0, 1), 0)


def identity(u: FloatArray) -> FloatArray:
    """Return u itself as the only feature."""
    return u[None]


def known_sparsity(scorer: str, sparsity: float | None) -> float:
    """Return the target sparsity that `scorer` depends on.

    Raises
    ------
    NotApplicable
        If there is none because the allocation sets it.
    """
    if sparsity is None:
        raise NotApplicable(f"{scorer} depends on the target sparsity; here the allocation sets it")
    return sparsity


def _after_rank(function: Function) -> Function:
    return lambda u: np.concatenate([u[None], function(u)])
