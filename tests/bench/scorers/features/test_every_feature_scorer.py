"""What holds for all feature scorers of the catalogue: pure functions of model and generator, in both granularities."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch

from bench.core.registry import Plugin
from bench.core.types import Granularity
from bench.models.tensors import FeatureMap
from bench.models.view import Calibration, ModelView
from bench.plugins.catalogue import SCORERS

NAMES = {
    "v1a_peak", "v1b_var", "v1d_range", "v1", "a5", "a5_log6", "a5_log6_smooth", "sics_adaptive", "nl_sin", "weier4",
    "random_spline", "gaussian_bump", "gaussian_bump_only", "pure_mag4", "a5_shuffled", "poly4", "monotone4",
}  # fmt: skip
PLUGINS = [plugin for plugin in SCORERS if plugin.fuses_features]
CASES = [
    pytest.param(plugin, granularity, id=f"{plugin.name}-{granularity}")
    for plugin in PLUGINS
    for granularity in plugin.granularities
]


def test_the_catalogue_knows_them_and_which_depend_on_the_target() -> None:
    assert {plugin.name for plugin in PLUGINS} == NAMES
    dependent = {plugin.name for plugin in PLUGINS if plugin.takes_sparsity}
    assert dependent == {"sics_adaptive", "gaussian_bump", "gaussian_bump_only"}


@pytest.mark.parametrize(("plugin", "granularity"), CASES)
def test_is_valid_repeatable_and_leaves_the_model_alone(
    plugin: Plugin,
    granularity: Granularity,
    view_of: Callable[[Granularity], ModelView],
    calibration: Calibration,
) -> None:
    view = view_of(granularity)
    before = copy.deepcopy(view.model.state_dict())
    target = [0.8] if plugin.takes_sparsity else []
    options = dict(plugin.resolve({}).options)

    def run() -> FeatureMap:
        features: FeatureMap = plugin.function(view, calibration, torch.Generator().manual_seed(0), *target, **options)
        return features

    features, again = run(), run()
    assert set(features.features) == set(view.units.names)
    for layer in view.units.layers:
        stack = features.features[layer.name]
        assert stack.shape == (len(features.names), *layer.unit_shape)
        assert stack.dtype == torch.float64
        assert stack.isfinite().all()
        assert torch.equal(stack, again.features[layer.name])
    features.fuse([1.0] * len(features.names)).validate(view.units)
    assert all(torch.equal(before[name], tensor) for name, tensor in view.model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in view.model.parameters())
