from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench.errors import UserError
from bench.registry import Plugin
from bench.repairs import correction
from bench.repairs.correction import (
    RepairContext,
    Variances,
    asr,
    channelwise,
    layerwise,
    none,
    scale_outputs,
)
from bench.repairs.statistics import channel_moments

SCALES = torch.tensor([0.5, 2.0, 1.0, 0.2], dtype=torch.float64)


@torch.no_grad()
def _scale_conv1(context: RepairContext, scales: Tensor) -> None:
    """Damage the first layer: its output channels, bias included, become smaller or larger."""
    context.model.conv1.weight.mul_(scales.view(-1, 1, 1, 1))
    context.model.conv1.bias.mul_(scales)


def test_none_changes_nothing(context: RepairContext) -> None:
    assert none(context) == {}
    dense = context.dense_model.state_dict()
    assert all(torch.equal(tensor, dense[name]) for name, tensor in context.model.state_dict().items())


def test_channelwise_undoes_a_scaling(context: RepairContext) -> None:
    _scale_conv1(context, SCALES)
    factors = channelwise(context)
    torch.testing.assert_close(factors["conv1"], 1 / SCALES)
    torch.testing.assert_close(context.model.conv1.weight, context.dense_model.conv1.weight)
    torch.testing.assert_close(context.model.conv1.bias, context.dense_model.conv1.bias)


def test_asr_without_shrinkage_is_channelwise(context: RepairContext) -> None:
    _scale_conv1(context, SCALES)
    torch.testing.assert_close(asr(context, lam=0.0)["conv1"], 1 / SCALES)


def test_layerwise_by_its_formula(context: RepairContext) -> None:
    _scale_conv1(context, SCALES)
    dense = context.dense["conv1"].variance.numpy()
    expected = np.sqrt(dense.sum() / (dense * SCALES.numpy() ** 2).sum())
    np.testing.assert_allclose(layerwise(context)["conv1"].numpy(), np.full(4, expected), rtol=1e-10)


def test_asr_by_its_formula(context: RepairContext) -> None:
    _scale_conv1(context, SCALES)
    pruned = context.dense["conv1"].variance.numpy() * SCALES.numpy() ** 2
    s = pruned / (pruned + np.median(pruned))
    expected = s / SCALES.numpy() + (1 - s)
    np.testing.assert_allclose(asr(context)["conv1"].numpy(), expected, rtol=1e-10)


def test_layerwise_restores_the_layers_total_variance(context: RepairContext) -> None:
    _scale_conv1(context, SCALES)
    layerwise(context)
    after = channel_moments(context.model, ("conv1",), context.calibration)["conv1"]
    assert float(after.variance.sum()) == pytest.approx(float(context.dense["conv1"].variance.sum()), rel=1e-10)


def test_all_layers_are_corrected_from_one_pass(context: RepairContext) -> None:
    """`parallel`: the second layer's factors come from the model before the first was corrected."""
    _scale_conv1(context, SCALES)
    before = channel_moments(context.model, ("conv2",), context.calibration)["conv2"].variance
    expected = (context.dense["conv2"].variance / before).sqrt()
    torch.testing.assert_close(channelwise(context)["conv2"], expected)


@pytest.mark.parametrize("method", [layerwise, channelwise, asr])
def test_dead_channels_keep_factor_one(method: Callable[..., dict[str, Tensor]], context: RepairContext) -> None:
    _scale_conv1(context, torch.tensor([0.0, 1e-8, 0.5, 1.0], dtype=torch.float64))
    factors = method(context)["conv1"]
    assert factors[:2].tolist() == [1.0, 1.0]
    assert float(factors[2]) > 1


@pytest.mark.parametrize(("scale", "factor"), [(1e-3, 10.0), (1e5, 1e-3)])
def test_factors_are_limited(scale: float, factor: float, context: RepairContext) -> None:
    _scale_conv1(context, torch.tensor([1.0, 1.0, 1.0, scale], dtype=torch.float64))
    assert float(channelwise(context)["conv1"][3]) == factor


def test_a_layer_without_any_variance_is_left_alone(context: RepairContext) -> None:
    _scale_conv1(context, torch.zeros(4, dtype=torch.float64))
    for method in (layerwise, channelwise, asr):
        assert method(context)["conv1"].tolist() == [1.0] * 4


variances = st.lists(
    st.sampled_from([0.0, 1e-300, 1e-15, 1e-6, 0.3, 1.0, 1e6, 1e300, float("inf"), float("nan")]),
    min_size=3,
    max_size=3,
)


@given(dense=variances, pruned=variances)
def test_factors_are_never_nan_nor_out_of_limits(dense: list[float], pruned: list[float]) -> None:
    pair = Variances(torch.tensor(dense, dtype=torch.float64), torch.tensor(pruned, dtype=torch.float64))
    for factors_of in (
        correction.layerwise_factors,
        correction.channelwise_factors,
        lambda v: correction.asr_factors(v, "median"),
    ):
        factors = correction.limited(factors_of(pair), pair.live)
        assert bool(((factors >= 1e-3) & (factors <= 10)).all())
        assert bool((factors[~pair.live] == 1).all())


def test_folding_scales_the_output(context: RepairContext) -> None:
    layer, x = context.model.conv2, torch.ones(1, 4, 3, 3, dtype=torch.float64)
    factors = torch.arange(1, 7, dtype=torch.float64)
    before = layer(x)
    scale_outputs(layer, factors)
    torch.testing.assert_close(layer(x), before * factors.view(1, -1, 1, 1))


def test_option_of_asr_is_validated_by_the_registry() -> None:
    plugin = Plugin("correction", "asr", asr)
    assert plugin.resolve({}).options == {"lam": "median"}
    assert plugin.resolve({"lam": 0.5}).label == "asr(lam=0.5)"
    with pytest.raises(UserError, match="lam"):
        plugin.resolve({"lam": -1.0})
