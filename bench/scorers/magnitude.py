"""Scores from the weights alone: magnitude, its increasing functions, and a filter's L2 norm.

With m the magnitude of a unit (abs(w); for a channel the mean of abs(w) over its filter), each member
of the magnitude family scores f(m), f increasing. So all of them order the units of a *layer* alike, up
to rounding, and `global` allocation orders the units of the model alike.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bench.core.errors import NotApplicable
from bench.models.tensors import ScoreMap
from bench.models.view import Calibration, ModelView

#: Stands for zero under the logarithm, which has no value there.
SMALLEST = 1e-300


def magnitude(view: ModelView, calibration: Calibration, generator: torch.Generator) -> ScoreMap:
    """Score m = abs(w), or its mean over the filter (Han et al. 2015).

    Examples
    --------
    >>> from bench.models.units import find_units
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 1))
    >>> _ = net[0].weight.data.copy_(torch.tensor([[-3.0, 1.0]]))
    >>> view = ModelView(net, find_units(net, "weight", (), torch.zeros(1, 2)))
    >>> magnitude(view, None, None)["0"]
    tensor([[3., 1.]], dtype=torch.float64)
    """
    return ScoreMap(view.magnitudes())


def log_magnitude(view: ModelView, calibration: Calibration, generator: torch.Generator) -> ScoreMap:
    """Score log(max(m, 1e-300))."""
    return _of_magnitude(view, lambda m: m.clamp_min(SMALLEST).log())


def sqrt_magnitude(view: ModelView, calibration: Calibration, generator: torch.Generator) -> ScoreMap:
    """Score sqrt(m)."""
    return _of_magnitude(view, torch.sqrt)


def square_magnitude(view: ModelView, calibration: Calibration, generator: torch.Generator) -> ScoreMap:
    """Score m ** 2."""
    return _of_magnitude(view, torch.square)


def exp_magnitude(view: ModelView, calibration: Calibration, generator: torch.Generator) -> ScoreMap:
    """Score exp(m); below m = 2 ** -52 all units tie, and the tie rule orders them by m."""
    return _of_magnitude(view, torch.exp)


def l2(view: ModelView, calibration: Calibration, generator: torch.Generator) -> ScoreMap:
    """Score a channel by the root mean square of its filter (or of its row of ``fc1``).

    It is no function of mean abs(w): its masks may differ from those of `magnitude`.

    Raises
    ------
    NotApplicable
        For weights, where it is the magnitude itself.
    """
    if view.granularity != "channel":
        raise NotApplicable("l2 scores channels; for a single weight it is the magnitude")
    return ScoreMap({name: view.reduce(name, view.weight(name).square()).sqrt() for name in view.units.names})


def _of_magnitude(view: ModelView, function: Callable[[Tensor], Tensor]) -> ScoreMap:
    return ScoreMap({name: function(m) for name, m in view.magnitudes().items()})
