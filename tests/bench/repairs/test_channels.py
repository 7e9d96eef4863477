"""What pruning takes from channels and corrections give back, on a net whose variances are known by hand."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from bench.models.tensors import MaskSet
from bench.models.unit_space import PrunableLayer, UnitSpace
from bench.models.view import Calibration
from bench.repairs import correction
from bench.repairs.channels import channel_changes
from bench.repairs.correction import RepairContext
from bench.repairs.statistics import batch_moments, channel_moments


def linear(rows: list[list[float]]) -> nn.Linear:
    layer = nn.Linear(len(rows[0]), len(rows), bias=False, dtype=torch.float64).requires_grad_(False)
    layer.weight.copy_(torch.tensor(rows))
    return layer


@pytest.fixture
def context() -> RepairContext:
    """Inputs of two independent signs; layer 0 has variances 5, 5, 4, 1, 0 and after pruning 4, 1, 4, 0, 0."""
    signs = torch.tensor([[a, b] for a in (-1.0, 1.0) for b in (-1.0, 1.0)], dtype=torch.float64)
    draw = Calibration(signs, torch.zeros(4, dtype=torch.int64), 2)
    net = nn.Sequential(linear([[2, 1], [2, 1], [2, 0], [0, 1], [0, 0]]), linear([[1, 0, 0, 0, 0], [0, 0, 0, 2, 0]]))
    masks = {"0": torch.tensor([[1, 0], [0, 1], [1, 1], [1, 0], [1, 1]]) == 1, "1": torch.ones(2, 5) == 1}
    layers = tuple(PrunableLayer(name, tuple(mask.shape), tuple(mask.shape)) for name, mask in masks.items())
    units = UnitSpace("weight", layers)
    pruned = copy.deepcopy(net)
    for name, mask in masks.items():
        pruned.get_submodule(name).weight.mul_(mask)
    return RepairContext(pruned, channel_moments(net, layers, draw), units, MaskSet(units, masks), draw, net)


def changes(context: RepairContext, method) -> dict:
    before = channel_moments(context.model, context.units.layers, context.calibration)
    method(context)
    return channel_changes(
        context.dense, before, channel_moments(context.model, context.units.layers, context.calibration)
    )


def test_severity_is_that_of_the_masks_whatever_corrects_them(context):
    found = changes(context, correction.none)
    # 0.8, 0.2, 1, 0 of layer 0 (a fifth never varied), then 0.8 of 5 and 0 of 4 in layer 1
    assert found == {
        "layers": 2, "channels": 6, "live": 4, "collapsed": 0, "healthy": 3, "mixed_layers": 0,
        "above_before": 0, "above_after": 0, "loss": pytest.approx((0.2 + 0.8 + 0 + 1 + 0.2 + 1) / 6),
    }  # fmt: skip


def test_layerwise_repair_leaves_a_healthy_channel_above_its_dense_variance(context):
    # layer 0 is scaled to the sum 15: 9 -> 15, so 4, 1, 4 become 6.7, 1.7, 6.7; layer 1 by 9 / 4 on top of that
    assert changes(context, correction.layerwise)["above_after"] == 3


def test_channelwise_repair_of_one_layer_reaches_the_dense_variance_and_no_more(context):
    first = UnitSpace("weight", context.units.layers[:1])
    only = replace(context, units=first, dense={"0": context.dense["0"]})
    assert changes(only, correction.channelwise)["above_after"] == 0
    after = channel_moments(context.model, first.layers, context.calibration)["0"].variance
    torch.testing.assert_close(after[:3], context.dense["0"].variance[:3])


def test_collapsed_beside_healthy_is_a_mixed_layer(context):
    context.model.get_submodule("0").weight[1] *= 0.45  # variance 0.2025: 4 % of 5
    found = changes(context, correction.none)
    assert (found["collapsed"], found["healthy"], found["mixed_layers"]) == (1, 3, 1)


def test_layers_without_any_variance_have_no_loss(context):
    nothing = {name: replace(m, variance=torch.zeros_like(m.variance)) for name, m in context.dense.items()}
    found = channel_changes(nothing, nothing, nothing)
    assert (found["channels"], found["loss"]) == (0, None)


@pytest.mark.parametrize("method", [correction.layerwise, correction.channelwise, correction.asr, correction.asr_eb])
def test_moments_that_are_known_give_the_same_correction(context, method):
    again = replace(context, model=copy.deepcopy(context.model))
    again = replace(again, pruned=batch_moments(again.model, context.units.layers, context.calibration))
    for name, factor in method(context).items():
        assert torch.equal(factor, method(replace(again, model=copy.deepcopy(again.model)))[name])
    method(again)
    for ours, theirs in zip(context.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_sequential_order_measures_for_itself(context):
    wrong = {name: [] for name in context.units.names}
    factors = correction.layerwise(replace(context, pruned=wrong), order="sequential")
    assert set(factors) == {"0", "1"}
