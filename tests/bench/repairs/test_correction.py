from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.core.errors import NotApplicable, UserError
from bench.core.registry import Plugin
from bench.models.tensors import MaskSet
from bench.models.units import find_units
from bench.models.view import Calibration
from bench.repairs import correction
from bench.repairs.correction import (
    RepairContext,
    Variances,
    asr,
    asr_eb,
    asr_soft,
    channelwise,
    layerwise,
    none,
    repair,
    scale_outputs,
)
from bench.repairs.reconstruct import reconstruct
from bench.repairs.statistics import channel_moments

WITH_FACTORS = (layerwise, channelwise, asr, asr_soft, asr_eb, repair)

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
    after = channel_moments(context.model, context.units.layers, context.calibration)["conv1"]
    assert float(after.variance.sum()) == pytest.approx(float(context.dense["conv1"].variance.sum()), rel=1e-10)


def test_all_layers_are_corrected_from_one_pass(context: RepairContext) -> None:
    """`parallel`: the second layer's factors come from the model before the first was corrected."""
    _scale_conv1(context, SCALES)
    before = channel_moments(context.model, context.units.layers, context.calibration)["conv2"].variance
    expected = (context.dense["conv2"].variance / before).sqrt()
    torch.testing.assert_close(channelwise(context)["conv2"], expected)


@pytest.mark.parametrize("method", WITH_FACTORS)
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
    for method in WITH_FACTORS:
        assert method(context)["conv1"].tolist() == [1.0] * 4


variances = st.lists(
    st.sampled_from([0.0, 1e-300, 1e-15, 1e-6, 0.3, 1.0, 1e6, 1e300, float("inf"), float("nan")]),
    min_size=3,
    max_size=3,
)


@given(dense=variances, pruned=variances)
def test_factors_are_never_nan_nor_out_of_limits(dense: list[float], pruned: list[float]) -> None:
    v_p = torch.tensor(pruned, dtype=torch.float64)
    pair = Variances(torch.tensor(dense, dtype=torch.float64), v_p, torch.stack([v_p, v_p.flip(0), v_p]))
    for factors_of in (
        correction.layerwise_factors,
        correction.channelwise_factors,
        lambda v: correction.asr_factors(v, "median"),
        correction.asr_soft_factors,
        correction.asr_eb_factors,
    ):
        factors = correction.limited(factors_of(pair), pair.live)
        assert bool(((factors >= 1e-3) & (factors <= 10)).all())
        assert bool((factors[~pair.live] == 1).all())


def test_folding_scales_the_output(context: RepairContext) -> None:
    layer, x = context.model.conv2, torch.ones(1, 4, 3, 3, dtype=torch.float64)
    factors = torch.arange(1, 7, dtype=torch.float64)
    before = layer(x)
    scale_outputs(context.model, context.units.layers[1], factors)
    torch.testing.assert_close(layer(x), before * factors.view(1, -1, 1, 1))


def test_option_of_asr_is_validated_by_the_registry() -> None:
    plugin = Plugin("correction", "asr", asr)
    assert plugin.resolve({}).options == {"lam": "median", "order": "parallel"}
    assert plugin.resolve({"lam": 0.5}).label == "asr(lam=0.5)"
    with pytest.raises(UserError, match="lam"):
        plugin.resolve({"lam": -1.0})


@pytest.mark.parametrize("method", [*WITH_FACTORS, reconstruct])
def test_order_is_an_option_of_every_correction(method: Callable[..., dict[str, Tensor]]) -> None:
    """Only `repair` goes layer after layer by default, as its authors do."""
    plugin = Plugin("correction", method.__name__, method)
    default, other = ("sequential", "parallel") if method is repair else ("parallel", "sequential")
    assert plugin.resolve({}).options["order"] == default
    assert plugin.resolve({"order": other}).label == f"{method.__name__}(order={other})"
    with pytest.raises(UserError, match="order"):
        plugin.resolve({"order": "backwards"})


def _with_covariance(covariance: np.ndarray, n: int = 40) -> Tensor:
    """Rows whose mean is 0 and whose (population) covariance is exactly the given one."""
    noise = np.random.default_rng(0).normal(size=(n, len(covariance)))
    columns = np.linalg.qr(noise - noise.mean(axis=0))[0] * np.sqrt(n)
    return torch.from_numpy(columns @ np.linalg.cholesky(covariance).T)


def _linear_context(weights: list[np.ndarray], masks: list[np.ndarray], inputs: Tensor, batch: int) -> RepairContext:
    """Linear layers in a row, without bias, masked."""
    layers = []
    for weight in weights:
        layers.append(nn.Linear(*reversed(weight.shape), bias=False).double().requires_grad_(False))
        layers[-1].weight.copy_(torch.from_numpy(weight))
    net = nn.Sequential(*layers)
    draw = Calibration(inputs, torch.zeros(len(inputs), dtype=torch.int64), batch)
    units = find_units(net, "weight", (), inputs[:1])
    mask_set = MaskSet(units, {str(i): torch.from_numpy(mask) for i, mask in enumerate(masks)})
    dense = channel_moments(net, units.layers, draw)
    pruned = copy.deepcopy(net)
    for name, mask in mask_set.items():
        pruned.get_submodule(name).weight.mul_(mask)
    return RepairContext(pruned, dense, units, mask_set, draw, net)


COVARIANCE = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, -0.3], [0.0, -0.3, 0.5]])
WEIGHT = np.array([[1.0, -2.0, 0.5], [0.3, 0.1, 1.0], [2.0, 1.0, -1.0]])
MASK = np.array([[True, False, True], [False, True, True], [True, True, False]])


def test_a_linear_layer_of_known_covariance_has_its_factors_in_closed_form() -> None:
    """The variance of a row w is w C w'."""
    dense = np.array([w @ COVARIANCE @ w for w in WEIGHT])
    pruned = np.array([w @ COVARIANCE @ w for w in WEIGHT * MASK])
    s = pruned / (pruned + np.median(pruned))
    ratio = np.sqrt(dense / pruned)
    expected = {
        layerwise: np.full(3, np.sqrt(dense.sum() / pruned.sum())),
        channelwise: ratio,
        repair: ratio,
        asr: s * ratio + 1 - s,
        asr_soft: s * ratio + 1 - s,  # no variance is below 5 % of the median
    }
    for method, factors in expected.items():
        context = _linear_context([WEIGHT], [MASK], _with_covariance(COVARIANCE), 20)
        np.testing.assert_allclose(context.dense["0"].variance.numpy(), dense, rtol=1e-10)
        if method is repair:  # it returns no factors where there is no BatchNorm: see the folded weight
            repair(context)
            found = (context.model[0].weight.numpy()[MASK] / WEIGHT[MASK]).reshape(3, 2)[:, 0]
        else:
            found = method(context)["0"].numpy()
        np.testing.assert_allclose(found, factors, rtol=1e-10, err_msg=method.__name__)


def test_asr_soft_by_hand() -> None:
    """v_p = 0.01, 1, 1, 4: the median is 1; s_1 = 0.01/1.01 x 0.2, s_2 = 1/2, s_4 = 4/5; v_d = 4 throughout."""
    v = Variances(torch.full((4,), 4.0), torch.tensor([0.01, 1.0, 1.0, 4.0]))
    s = 0.01 / 1.01 * 0.2
    expected = torch.tensor([s * 20 + 1 - s, 1.5, 1.5, 1.0])
    torch.testing.assert_close(correction.asr_soft_factors(v), expected)


@given(st.lists(st.floats(0.5, 10), min_size=1, max_size=9), st.floats(0, 100))
def test_asr_soft_is_asr_where_no_channel_is_weak(pruned: list[float], dense: float) -> None:
    v_p = torch.tensor(pruned, dtype=torch.float64)  # the smallest is at least 5 % of the largest
    v = Variances(torch.full_like(v_p, dense), v_p)
    if not bool(v.live.all()):
        return
    torch.testing.assert_close(correction.asr_soft_factors(v), correction.asr_factors(v, "median"))


def test_asr_eb_without_sampling_noise_is_channelwise() -> None:
    v_p = torch.tensor([0.1, 1.0, 7.0], dtype=torch.float64)
    v = Variances(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), v_p, v_p.repeat(4, 1))
    torch.testing.assert_close(correction.asr_eb_factors(v), correction.channelwise_factors(v))


def test_asr_eb_with_much_sampling_noise_changes_next_to_nothing() -> None:
    """Batches that differ by e^8 against channels that differ by e^0.2."""
    v_p = torch.tensor([1.0, 1.1, 1.2], dtype=torch.float64)
    batches = torch.stack([v_p * np.exp(-4), v_p * np.exp(4)])
    v = Variances(torch.full((3,), 9.0, dtype=torch.float64), v_p, batches)
    torch.testing.assert_close(correction.asr_eb_factors(v), torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-5)


def test_asr_eb_by_hand_ignores_dead_channels_and_pauses() -> None:
    """Four channels: one dead, one silent in a batch, which counts for tau^2 but not for sigma^2."""
    e = np.exp(1.0)
    batches = torch.tensor([[1.0, e**2, 0.0, 0.0], [e**2, e**2, 2.0, 0.0]], dtype=torch.float64)
    v_p = torch.tensor([1 / e, e, 1.0, 0.0], dtype=torch.float64)
    v = Variances(torch.full((4,), 4.0, dtype=torch.float64), v_p, batches)
    sigma2 = np.mean([2.0, 0.0]) / 2  # of logs (0, 2) and (2, 2)
    tau2 = 1.0 - sigma2  # logs -1, 1 and 0 have variance 1
    lam = 1.0 * sigma2 / tau2  # v_0 = median of 1/e, e and 1
    s = np.array([1 / e, e, 1.0]) / (np.array([1 / e, e, 1.0]) + lam)
    expected = s * np.sqrt(4 / np.array([1 / e, e, 1.0])) + 1 - s
    np.testing.assert_allclose(correction.asr_eb_factors(v)[:3].numpy(), expected, rtol=1e-12)


def test_asr_eb_of_a_single_channel_and_of_channels_that_all_pause() -> None:
    """One channel has no spread: tau^2 is 1e-6, so any noise leaves it alone."""
    one = Variances(torch.tensor([4.0]), torch.tensor([1.0]), torch.tensor([[0.5], [2.0]]))
    assert float(correction.asr_eb_factors(one)) == pytest.approx(1, abs=1e-5)
    pausing = Variances(torch.ones(2), torch.ones(2) / 2, torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert correction.asr_eb_factors(pausing).tolist() == [1.0, 1.0]


def test_asr_eb_from_the_activations_by_numpy(half_pruned: Callable[..., RepairContext], net: nn.Module) -> None:
    """A second computation from the layer's output; the smaller last batch counts in v_p alone."""
    images = torch.randn(40, 2, 6, 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    context = half_pruned(net, Calibration(images, torch.zeros(40, dtype=torch.int64), 16))
    with torch.no_grad():
        output = context.model.conv1(images).numpy()
        dense = net.conv1(images).numpy().var(axis=(0, 2, 3))
    pooled = output.var(axis=(0, 2, 3))
    batches = np.log([output[:16].var(axis=(0, 2, 3)), output[16:32].var(axis=(0, 2, 3))])
    sigma2 = batches.var(axis=0, ddof=1).mean() / 2
    tau2 = max(np.log(pooled).var(ddof=1) - sigma2, 1e-6)
    s = pooled / (pooled + np.median(pooled) * sigma2 / tau2)
    np.testing.assert_allclose(asr_eb(context)["conv1"].numpy(), s * np.sqrt(dense / pooled) + 1 - s, rtol=1e-9)


@pytest.mark.parametrize("images", [16, 20])
def test_asr_eb_needs_two_full_batches(
    images: int, half_pruned: Callable[..., RepairContext], net: nn.Module, calibration: Calibration
) -> None:
    context = half_pruned(net, Calibration(calibration.images[:images], calibration.labels[:images], 16))
    with pytest.raises(NotApplicable, match="two full calibration batches"):
        asr_eb(context)


@pytest.mark.parametrize("method", [*WITH_FACTORS, reconstruct])
def test_orders_agree_where_there_is_one_layer(
    method: Callable[..., dict[str, Tensor]], half_pruned: Callable[..., RepairContext], net: nn.Module
) -> None:
    images = torch.randn(16, 2, 6, 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    draw = Calibration(images, torch.zeros(16, dtype=torch.int64), 8)
    first, second = (half_pruned(net, draw, exclude=("head", "conv2")) for _ in range(2))
    assert first.units.names == ("conv1",)
    method(first, order="parallel")
    method(second, order="sequential")
    for one, other in zip(first.model.parameters(), second.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
    assert not torch.equal(first.model.conv1.weight, half_pruned(net, draw).model.conv1.weight)


@pytest.mark.parametrize("method", [channelwise, layerwise])
def test_orders_differ_in_closed_form_on_two_linear_layers(method: Callable[..., dict[str, Tensor]]) -> None:
    """The first layer loses half its amplitude, the second loses nothing.

    From one pass both get the factor 2, so that the output is twice too large; in sequence the second finds its
    input repaired and gets 1.
    """
    first, second = np.array([[1.0, 0.0, np.sqrt(3.0)]]), np.array([[3.0]])
    masks = [np.array([[True, True, False]]), np.array([[True]])]
    factors = {}
    for order in ("parallel", "sequential"):
        context = _linear_context([first, second], masks, _with_covariance(np.eye(3)), 10)
        factors[order] = {name: float(f) for name, f in method(context, order=order).items()}
        after = channel_moments(context.model, context.units.layers, context.calibration)["1"].variance
        gain = 2 if order == "parallel" else 1
        assert float(after) == pytest.approx(gain**2 * float(context.dense["1"].variance), rel=1e-10)
    assert factors["parallel"] == pytest.approx({"0": 2.0, "1": 2.0}, rel=1e-10)
    assert factors["sequential"] == pytest.approx({"0": 2.0, "1": 1.0}, rel=1e-10)


@pytest.mark.parametrize("method", [channelwise, repair])
def test_in_sequence_every_layer_gets_its_dense_variance(
    method: Callable[..., dict[str, Tensor]], half_pruned: Callable[..., RepairContext], net: nn.Module
) -> None:
    images = torch.randn(32, 2, 6, 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    context = half_pruned(net, Calibration(images, torch.zeros(32, dtype=torch.int64), 16))
    method(context, order="sequential")
    after = channel_moments(context.model, context.units.layers, context.calibration)
    for name in context.units.names:
        torch.testing.assert_close(after[name].variance, context.dense[name].variance, rtol=1e-9, atol=0)
