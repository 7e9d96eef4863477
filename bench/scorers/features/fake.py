"""The fake of SICS: statistics of a channel's own weights, non-monotone in the rank but made of magnitude alone."""

from __future__ import annotations

import torch

from bench.core.errors import NotApplicable
from bench.models.tensors import FeatureMap
from bench.models.view import Calibration, ModelView
from bench.scorers.features.grid import scale
from bench.scorers.rank import normalised_rank

NAMES = ("peak", "variance", "range", "deviation")


def pure_mag4(
    view: ModelView, calibration: Calibration, generator: torch.Generator, *, include_rank: bool = False
) -> FeatureMap:
    """Score a channel by four statistics of abs(w) over its filter, each scaled to [0, 1] inside its layer.

    Peak, variance (divided by the number of weights; ours), range, and mean absolute deviation from the
    mean. A statistic that is equal in all channels of a layer is 0 there.

    Raises
    ------
    NotApplicable
        For weights: a single one has no variance or range.
    """
    if view.granularity != "channel":
        raise NotApplicable("pure_mag4 scores channels; a single weight has no variance or range")
    features = {}
    for name, magnitude in view.magnitudes().items():
        weights = view.rows(name).abs()
        low, high = weights.aminmax(dim=1)
        deviations = weights - weights.mean(dim=1, keepdim=True)
        statistics = [high, deviations.square().mean(dim=1), high - low, deviations.abs().mean(dim=1)]
        stack = torch.stack([normalised_rank(magnitude), *statistics] if include_rank else statistics)
        features[name] = scale(stack, *stack.aminmax(dim=1, keepdim=True))
    return FeatureMap(("u", *NAMES) if include_rank else NAMES, features)
