"""REPAIR: mean and variance of every channel as in the dense model, without new parameters."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from bench.models.masking import apply_masks
from bench.models.tensors import MaskSet
from bench.models.unit_space import PrunableLayer
from bench.models.units import find_units
from bench.models.view import Calibration
from bench.repairs.correction import RepairContext, channelwise, repair, shift_outputs
from bench.repairs.recalibration import cumulative, ema, exact
from bench.repairs.statistics import Moments, channel_moments

Recalibration = Callable[[nn.Module, Calibration], None]


def _net(*layers: nn.Module) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        for layer in layers:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.reset_parameters()
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_()
                layer.running_var.uniform_(0.5, 2.0)
    return nn.Sequential(*layers).double().eval().requires_grad_(False)


def _normalised(context: RepairContext, model: nn.Module, layer: PrunableLayer) -> Moments:
    """Moments of a layer's output less the running mean that the following BatchNorm subtracts."""
    moments = channel_moments(model, [layer], context.calibration)[layer.name]
    if layer.batchnorm is None:
        return moments
    return Moments(moments.mean - model.get_submodule(layer.batchnorm).running_mean, moments.variance, moments.count)


def test_mean_and_variance_match_by_the_bias(
    half_pruned: Callable[..., RepairContext], net: nn.Module, calibration: Calibration
) -> None:
    context = half_pruned(net, calibration)
    repair(context, order="sequential")
    found = channel_moments(context.model, context.units.layers, calibration)
    for name in context.units.names:
        torch.testing.assert_close(found[name].mean, context.dense[name].mean, rtol=0, atol=1e-12)
        torch.testing.assert_close(found[name].variance, context.dense[name].variance, rtol=1e-10, atol=0)
    assert torch.equal(context.model.bn1.running_mean, net.bn1.running_mean)


def test_mean_and_variance_match_by_the_following_batchnorm(
    half_pruned: Callable[..., RepairContext], calibration: Calibration
) -> None:
    """What BatchNorm makes of the output has its dense mean and variance; the layer has no bias."""
    net = _net(nn.Conv2d(2, 5, 3, bias=False), nn.BatchNorm2d(5), nn.ReLU())
    context = half_pruned(net, calibration, exclude=())
    (layer,) = context.units.layers
    assert layer.batchnorm == "1"
    repair(context)
    found, dense = _normalised(context, context.model, layer), _normalised(context, net, layer)
    torch.testing.assert_close(found.mean, dense.mean, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.variance, dense.variance, rtol=1e-10, atol=0)


@pytest.mark.parametrize("recalibration", [None, ema, cumulative, exact])
def test_a_shift_of_the_running_mean_is_a_bias(recalibration: Recalibration | None, calibration: Calibration) -> None:
    """Also after a recalibration of any kind: the same net with the shift in a bias that it is given."""
    plain = _net(nn.Conv2d(2, 5, 3, bias=False), nn.BatchNorm2d(5), nn.ReLU())
    biased = _net(nn.Conv2d(2, 5, 3, bias=True), nn.BatchNorm2d(5), nn.ReLU())
    biased.load_state_dict({**plain.state_dict(), "0.bias": torch.zeros(5, dtype=torch.float64)})
    shift = torch.tensor([0.3, -1.0, 2.0, 0.0, 0.1], dtype=torch.float64)
    before = plain(calibration.images)
    for model in (plain, biased):
        (layer,) = find_units(model, "weight", (), calibration.images[:1]).layers
        shift_outputs(model, layer, shift)
        if recalibration is not None:
            recalibration(model, calibration)
    torch.testing.assert_close(biased[0].bias, shift)
    torch.testing.assert_close(plain(calibration.images), biased(calibration.images), rtol=0, atol=1e-12)
    if recalibration is None:
        assert not torch.allclose(plain(calibration.images), before)


def test_without_bias_and_batchnorm_the_mean_stays_unmatched(
    half_pruned: Callable[..., RepairContext], calibration: Calibration
) -> None:
    """As in a pre-activation net: a ReLU stands between the layer and the next BatchNorm."""
    net = _net(nn.Conv2d(2, 5, 3, bias=False), nn.ReLU(), nn.BatchNorm2d(5))
    context, other = (half_pruned(net, calibration, exclude=()) for _ in range(2))
    factors = repair(context)
    torch.testing.assert_close(factors["0"], channelwise(other)["0"])
    for name, tensor in other.model.state_dict().items():
        assert torch.equal(context.model.state_dict()[name], tensor), name
    assert context.model.state_dict().keys() == net.state_dict().keys()
    found = channel_moments(context.model, context.units.layers, calibration)["0"]
    torch.testing.assert_close(found.variance, context.dense["0"].variance, rtol=1e-10, atol=0)
    assert float((found.mean - context.dense["0"].mean).abs().max()) > 1e-3


@pytest.mark.parametrize("order", ["parallel", "sequential"])
@pytest.mark.parametrize("bias", [True, False])
def test_removed_channels_stay_removed(
    bias: bool, order: str, half_pruned: Callable[..., RepairContext], calibration: Calibration
) -> None:
    net = _net(
        nn.Conv2d(2, 6, 3, bias=bias), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 1)
    )
    net[1].bias.uniform_(generator=torch.Generator().manual_seed(0))
    context = half_pruned(net, calibration, "channel", ())
    repair(context, order=order)
    x = calibration.images
    for layer, after in (("0", 2), ("3", 3), ("5", 5)):
        removed = ~context.masks[layer]
        assert removed.any()
        assert bool((context.model[: after + 1](x)[:, removed] == 0).all()), layer


@pytest.mark.parametrize("order", ["parallel", "sequential"])
def test_a_dead_channel_of_weights_has_its_dense_mean(order: str, context: RepairContext) -> None:
    """All weights of two channels are pruned: the factor stays 1, the bias becomes the dense mean."""
    context.model.conv1.weight[:2] = 0
    factors = repair(context, order=order)
    assert factors["conv1"][:2].tolist() == [1.0, 1.0]
    torch.testing.assert_close(context.model.conv1.bias[:2], context.dense["conv1"].mean[:2], rtol=1e-12, atol=0)


def test_a_dead_channel_without_bias_has_its_dense_mean_behind_batchnorm(calibration: Calibration) -> None:
    net = _net(nn.Conv2d(2, 5, 3, bias=False), nn.BatchNorm2d(5), nn.ReLU())
    units = find_units(net, "weight", (), calibration.images[:1])
    (layer,) = units.layers
    model = copy.deepcopy(net)
    model[0].weight[1] = 0
    masks = MaskSet(units, {"0": model[0].weight != 0})
    context = RepairContext(model, channel_moments(net, units.layers, calibration), units, masks, calibration, net)
    repair(context)
    found, dense = _normalised(context, model, layer), _normalised(context, net, layer)
    torch.testing.assert_close(found.mean, dense.mean, rtol=0, atol=1e-12)
    assert float(found.variance[1]) == 0


def test_a_kept_channel_that_is_dead_has_its_dense_mean(
    half_pruned: Callable[..., RepairContext], calibration: Calibration
) -> None:
    """At granularity channel: the first layer is removed as a whole, so that the second, which is kept, is constant."""
    net = _net(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 3), nn.ReLU())
    context = half_pruned(net, calibration, "channel", ())
    masks = {"0": torch.zeros(3, dtype=torch.bool), "2": torch.tensor([True, True, True, False])}
    context = dataclasses.replace(context, model=copy.deepcopy(net), masks=MaskSet(context.units, masks))
    apply_masks(context.model, context.units, context.masks)
    repair(context)
    found = channel_moments(context.model, context.units.layers, calibration)
    assert found["0"].mean.tolist() == [0.0] * 3
    torch.testing.assert_close(found["2"].mean[:3], context.dense["2"].mean[:3], rtol=0, atol=1e-12)
    assert float(found["2"].mean[3]) == 0


def test_factors_are_withheld_where_a_shift_need_not_cancel(
    half_pruned: Callable[..., RepairContext], calibration: Calibration
) -> None:
    """A bias before ReLU and BatchNorm: the factor cancels in a complete recalibration, the shift does not."""
    net = _net(nn.Conv2d(2, 5, 3), nn.ReLU(), nn.BatchNorm2d(5, eps=1e-30))
    context, scaled = (half_pruned(net, calibration, exclude=()) for _ in range(2))
    plain = copy.deepcopy(context.model)
    assert repair(context) == {}
    assert channelwise(scaled).keys() == {"0"}

    def output(model: nn.Module) -> Tensor:
        exact(model, calibration)
        out: Tensor = model(calibration.images)
        return out

    reference = output(plain)
    torch.testing.assert_close(output(scaled.model), reference, rtol=0, atol=1e-9)
    assert float((output(context.model) - reference).abs().max()) > 1e-2
