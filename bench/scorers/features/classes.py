"""The feature classes of SICS: indicators of the logistic map, smooth or raw (METHODS section 3).

Each is a function of the normalised rank u, compared inside a layer. ``include_rank`` adds u itself, which
a class of one indicator needs for a search to have anything to weigh: one weight alone is only a sign.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field

from bench.core.errors import CellError
from bench.models.tensors import FeatureMap
from bench.models.view import Calibration, ModelView
from bench.scorers.features import logistic
from bench.scorers.features.grid import feature_map, identity, known_sparsity

FOUR = ("peak", "variance", "range", "mean")
SIX = (*FOUR, "lyapunov", "entropy")
Share = Annotated[float, Field(ge=0, le=1)]


def v1a_peak(
    view: ModelView, calibration: Calibration, generator: torch.Generator, *, include_rank: bool = True
) -> FeatureMap:
    """Smoothed largest state of the orbit."""
    return _smooth(view, ("peak",), include_rank)


def v1b_var(
    view: ModelView, calibration: Calibration, generator: torch.Generator, *, include_rank: bool = True
) -> FeatureMap:
    """Smoothed variance of the orbit."""
    return _smooth(view, ("variance",), include_rank)


def v1d_range(
    view: ModelView, calibration: Calibration, generator: torch.Generator, *, include_rank: bool = True
) -> FeatureMap:
    """Smoothed range of the orbit."""
    return _smooth(view, ("range",), include_rank)


def v1(
    view: ModelView, calibration: Calibration, generator: torch.Generator, *, include_rank: bool = False
) -> FeatureMap:
    """Smoothed peak, variance, range and mean of the orbit."""
    return _smooth(view, FOUR, include_rank)


def a5(
    view: ModelView, calibration: Calibration, generator: torch.Generator, *, include_rank: bool = False
) -> FeatureMap:
    """Raw peak, variance, range and mean of the orbit at the unit's own u."""
    return feature_map(view, FOUR, logistic.raw(FOUR), include_rank=include_rank)


def a5_log6(
    view: ModelView, calibration: Calibration, generator: torch.Generator, *, include_rank: bool = False
) -> FeatureMap:
    """Raw indicators of `a5`, Lyapunov exponent and entropy."""
    return feature_map(view, SIX, logistic.raw(SIX), include_rank=include_rank)


def a5_log6_smooth(
    view: ModelView, calibration: Calibration, generator: torch.Generator, *, include_rank: bool = False
) -> FeatureMap:
    """Smoothed indicators of `a5_log6`, all six."""
    return _smooth(view, SIX, include_rank)


def sics_adaptive(
    view: ModelView,
    calibration: Calibration,
    generator: torch.Generator,
    sparsity: float | None,
    *,
    low: Share = 0.65,
    high: Share = 0.75,
) -> FeatureMap:
    """As complex as the sparsity calls for: the rank below `low`, `v1` up to `high`, `a5` above.

    Both thresholds themselves belong to `v1`. The paper leaves this pruner a skeleton; the composition is
    ours. The row's notes say which class was taken.

    Raises
    ------
    NotApplicable
        If the allocation sets the sparsity.
    CellError
        If `low` is above `high`.
    """
    target = known_sparsity("sics_adaptive", sparsity)
    if low > high:
        raise CellError(f"sics_adaptive: low = {low} is above high = {high}")
    if target < low:
        return replace(feature_map(view, ("u",), identity, include_rank=False), notes={"feature_class": "rank"})
    if target <= high:
        return replace(v1(view, calibration, generator), notes={"feature_class": "v1"})
    return replace(a5(view, calibration, generator), notes={"feature_class": "a5"})


def _smooth(view: ModelView, names: tuple[str, ...], include_rank: bool) -> FeatureMap:
    return feature_map(view, names, logistic.smooth(names), include_rank=include_rank)
