"""The cancellation identity: where it holds, where eps breaks it and by how much."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable

import pytest
import timm
import torch
from timm.layers import BatchNormAct2d, create_conv2d
from timm.models.densenet import DenseNet
from timm.models.resnetv2 import ResNetV2
from timm.models.vgg import ConvMlp
from torch import Tensor, nn

from bench.models.cifar import cifar_resnet20
from bench.models.units import find_units
from bench.models.view import Calibration
from bench.repairs.cancellation import eps_ratio, largest_eps_ratio, uncovered_layers
from bench.repairs.correction import (
    RepairContext,
    asr,
    asr_eb,
    asr_soft,
    channelwise,
    layerwise,
    repair,
    scale_outputs,
)
from bench.repairs.recalibration import cumulative, ema, exact, kept_of_reset, reset_ema

WITH_FACTORS = (layerwise, channelwise, asr, asr_soft, asr_eb, repair)
COMPLETE = (cumulative, exact)


def _recalibrated(
    net: nn.Module,
    calibration: Calibration,
    factors: dict[str, Tensor],
    recalibration: Callable[[nn.Module, Calibration], None] = cumulative,
) -> nn.Module:
    model = copy.deepcopy(net)
    for layer in find_units(net, "weight", ("head",), calibration.images[:1]).layers:
        if layer.name in factors:
            scale_outputs(model, layer, factors[layer.name])
    recalibration(model, calibration)
    return model


def _factors(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: 10 ** (4 * torch.rand(n, generator=generator, dtype=torch.float64) - 3)
        for name, n in (("conv1", 4), ("conv2", 6))
    }


def _remove_eps(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-30


@pytest.mark.parametrize("recalibration", COMPLETE)
def test_factors_cancel_up_to_eps(
    recalibration: Callable[[nn.Module, Calibration], None], net: nn.Module, calibration: Calibration
) -> None:
    _remove_eps(net)
    plain = _recalibrated(net, calibration, {}, recalibration)
    x = calibration.images
    for seed in range(3):
        corrected = _recalibrated(net, calibration, _factors(seed), recalibration)
        torch.testing.assert_close(corrected(x), plain(x), rtol=0, atol=1e-12)


@pytest.fixture(scope="module")
def dense_block_net() -> nn.Module:
    """DenseNet with two blocks: half of its convolutions reach a BatchNorm through concatenations."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = DenseNet(growth_rate=4, block_config=(2, 2), num_classes=3, in_chans=2)
    return model.double().eval().requires_grad_(False)


@pytest.mark.parametrize("recalibration", COMPLETE)
@pytest.mark.parametrize("order", ["parallel", "sequential"])
@pytest.mark.parametrize("correction", WITH_FACTORS)
@pytest.mark.parametrize("which", ["net", "dense_block_net"])
def test_every_correction_cancels(
    which: str,
    correction: Callable[..., dict[str, Tensor]],
    order: str,
    recalibration: Callable[[nn.Module, Calibration], None],
    half_pruned: Callable[..., RepairContext],
    request: pytest.FixtureRequest,
) -> None:
    net = copy.deepcopy(request.getfixturevalue(which))
    _remove_eps(net)
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(16, 2, 24, 24, generator=generator, dtype=torch.float64)
    draw = Calibration(images, torch.zeros(16, dtype=torch.int64), 8)
    context = half_pruned(net, draw)
    assert uncovered_layers(net, context.units, draw) == ()
    plain = copy.deepcopy(context.model)
    factors = correction(context, order=order)
    assert any(bool((factor != 1).any()) for factor in factors.values())
    assert float((context.model(images) - plain(images)).abs().max()) > 1e-3

    for model in (plain, context.model):
        recalibration(model, draw)
    variances = [m.running_var for m in plain.modules() if isinstance(m, nn.BatchNorm2d)]
    assert min(float(v.min()) for v in variances) > 1e-12, "a nearly dead channel is outside the identity"
    torch.testing.assert_close(context.model(images), plain(images), rtol=0, atol=1e-9)


def test_without_recalibration_they_do_not_cancel(net: nn.Module, calibration: Calibration) -> None:
    corrected = copy.deepcopy(net)
    first = find_units(net, "weight", ("head",), calibration.images[:1]).layers[0]
    scale_outputs(corrected, first, _factors(0)["conv1"])
    assert float((corrected(calibration.images) - net(calibration.images)).abs().max()) > 0.01


@pytest.mark.parametrize("recalibration", COMPLETE)
@pytest.mark.parametrize("factor", [10.0, 0.1])
def test_on_a_nearly_dead_channel_eps_breaks_it_by_the_predicted_ratio(
    factor: float,
    recalibration: Callable[[nn.Module, Calibration], None],
    net: nn.Module,
    calibration: Calibration,
) -> None:
    """A channel of variance 1e-5 after its convolution: c = 10 leaves a factor of 1.40."""
    with torch.no_grad():
        x = calibration.images
        net.conv1.weight[0] *= float((1e-5 / net.conv1(x)[:, 0].var()).sqrt())
    c = torch.tensor([factor, 1.0, 1.0, 1.0], dtype=torch.float64)
    plain = _recalibrated(net, calibration, {}, recalibration)
    corrected = _recalibrated(net, calibration, {"conv1": c}, recalibration)

    def spread(model: nn.Module) -> Tensor:
        return model.bn1(model.conv1(x)).std(dim=(0, 2, 3))

    measured = spread(corrected) / spread(plain)
    variance = plain.bn1.running_var
    predicted = eps_ratio(c, variance, net.bn1.eps)
    assert predicted > 1.05
    largest = float(torch.maximum(measured, 1 / measured).max())
    assert largest == pytest.approx(predicted, rel=1e-9)
    torch.testing.assert_close(measured[1:], torch.ones(3, dtype=torch.float64))
    units = find_units(net, "weight", ("head",), x[:1])
    assert largest_eps_ratio(corrected, units, {"conv1": c}) == pytest.approx(predicted, rel=1e-9)


def _outputs(net: nn.Module, context: Calibration, factors: dict[str, Tensor], batches: int) -> Tensor:
    model = _recalibrated(net, context, factors, functools.partial(reset_ema, batches=batches))
    out: Tensor = model(context.images)
    return out


def test_factors_cancel_after_a_long_running_average_from_a_reset(net: nn.Module, calibration: Calibration) -> None:
    """`reset_ema`: 3e-5 of the reset is left by default; 0.9 ** 100, 0.9 ** 20 and 0.9 ** 8 keep ever more."""
    _remove_eps(net)
    factors = {"conv1": torch.tensor([2.0, 0.5, 1.5, 0.8], dtype=torch.float64)}
    left = [
        float((_outputs(net, calibration, factors, n) - _outputs(net, calibration, {}, n)).abs().max())
        for n in (400, 100, 20, 8)
    ]
    assert left == sorted(left)
    assert left[0] < 1e-12
    assert left[1] < 1e-4
    assert left[3] > 0.01


def test_what_a_running_average_keeps_of_its_reset_is_an_eps(net: nn.Module, calibration: Calibration) -> None:
    """The spread of each channel changes by the ratio that the row states."""
    c = torch.tensor([10.0, 0.1, 1.0, 3.0], dtype=torch.float64)
    kept = kept_of_reset(0.1, 40)
    recalibration = functools.partial(reset_ema, batches=40)
    plain = _recalibrated(net, calibration, {}, recalibration)
    corrected = _recalibrated(net, calibration, {"conv1": c}, recalibration)

    def spread(model: nn.Module) -> Tensor:
        return model.bn1(model.conv1(calibration.images)).std(dim=(0, 2, 3))

    change = spread(corrected) / spread(plain)
    units = find_units(net, "weight", ("head",), calibration.images[:1])
    measured = float(torch.maximum(change, 1 / change).max())
    assert measured > 1.05
    assert largest_eps_ratio(corrected, units, {"conv1": c}, kept) == pytest.approx(measured, rel=1e-9)


@pytest.mark.parametrize(("variance", "ratio"), [(1e-3, 1.005), (1e-5, 1.40)])
def test_ratio_by_the_published_numbers(variance: float, ratio: float) -> None:
    """METHODS section 5: c = 10, eps = 1e-5."""
    found = eps_ratio(torch.tensor([10.0]), torch.tensor([variance]), 1e-5)
    assert found == pytest.approx(ratio, abs=0.01)


def test_ratio_is_one_without_factors(net: nn.Module, calibration: Calibration) -> None:
    units = find_units(net, "weight", ("head",), calibration.images[:1])
    assert largest_eps_ratio(net, units, {}) == 1.0


class _Named(nn.Module):
    """A convolution `a` with something after it; all nets end in BatchNorm, ReLU and a head."""

    def __init__(self, after: Callable[[nn.Module, Tensor], Tensor], width: int = 4) -> None:
        super().__init__()
        self.a = nn.Conv2d(2, 4, 3)
        self.norm, self.group, self.pool = nn.BatchNorm2d(4), nn.GroupNorm(1, 4), nn.MaxPool2d(2)
        self.b, self.bn, self.head = nn.Conv2d(width, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 3)
        self.wide = nn.BatchNorm2d(width)
        self.after = after

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn(self.b(self.after(self, x))))
        out: Tensor = self.head(x.mean(dim=(2, 3)))
        return out


PATHS: dict[str, tuple[Callable[[_Named, Tensor], Tensor], int, tuple[str, ...]]] = {
    "BatchNorm follows": (lambda m, x: torch.relu(m.norm(m.a(x))), 4, ()),
    "ReLU and pooling first": (lambda m, x: m.norm(m.pool(torch.relu(m.a(x)))), 4, ()),
    "concatenation first": (lambda m, x: m.wide(torch.cat([m.a(x), x[:, :, 1:-1, 1:-1]], 1)), 6, ()),
    "a sum first": (lambda m, x: m.norm(m.a(x) + x[:, :1, 1:-1, 1:-1]), 4, ("a",)),
    "a sigmoid first": (lambda m, x: m.norm(torch.sigmoid(m.a(x))), 4, ("a",)),
    "a norm over channels": (lambda m, x: torch.relu(m.group(m.a(x))), 4, ("a",)),
    "the next convolution mixes channels": (lambda m, x: torch.relu(m.a(x)), 4, ("a",)),
}


@pytest.mark.parametrize("path", PATHS)
def test_scope_is_found_by_perturbation(path: str, calibration: Calibration) -> None:
    after, width, expected = PATHS[path]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = _Named(after, width).eval()
    draw = Calibration(calibration.images.float(), calibration.labels, 16)
    units = find_units(net, "weight", ("head",), draw.images[:1])
    before = copy.deepcopy(net.state_dict())
    assert uncovered_layers(net, units, draw) == expected
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_resnet20_is_covered_whole_but_its_head_is_not() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = cifar_resnet20().eval()
        draw = Calibration(torch.randn(8, 3, 16, 16), torch.zeros(8, dtype=torch.int64), 8)
    units = find_units(net, "weight", (), draw.images[:1])
    assert uncovered_layers(net, units, draw) == ("linear",)


def test_nothing_is_covered_without_batchnorm(calibration: Calibration) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 3, 3)).double()
    units = find_units(net, "weight", (), calibration.images[:1])
    assert uncovered_layers(net, units, calibration) == ("0", "2")


class _VggHead(nn.Module):
    """What VGG does: convolutions with BatchNorm, then timm's `pre_logits` of two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.pool = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.AdaptiveMaxPool2d(7)
        self.pre_logits, self.head = ConvMlp(4, 8, 7), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(torch.relu(self.bn(self.conv(x))))
        out: Tensor = self.head(self.pre_logits(x).flatten(1))
        return out


def _preactivation() -> nn.Module:
    return ResNetV2(
        layers=[1, 1],
        channels=(8, 16),
        stem_chs=8,
        num_classes=3,
        norm_layer=BatchNormAct2d,
        conv_layer=create_conv2d,
    )


# the ends of the names of the layers that METHODS section 5 lists
EXCEPTIONS: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...]]] = {
    "pre-activation block outputs": (_preactivation, ("conv3", "downsample.conv")),
    "VGG pre_logits": (_VggHead, ("pre_logits.fc1", "pre_logits.fc2")),
    "squeeze-excite": (lambda: timm.create_model("test_efficientnet"), ("se.conv_reduce", "se.conv_expand")),
    "squeeze-excite and conv_head": (
        lambda: timm.create_model("mobilenetv3_small_050"),
        ("se.conv_reduce", "se.conv_expand", "conv_head"),
    ),
    "LayerNorm": (lambda: timm.create_model("test_convnext"), ("",)),
    "LayerNorm and attention": (lambda: timm.create_model("test_vit", img_size=32), ("",)),
}


@pytest.mark.parametrize("case", EXCEPTIONS)
def test_listed_exceptions_are_found(case: str) -> None:
    make, endings = EXCEPTIONS[case]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = make().eval()
        draw = Calibration(torch.randn(4, 3, 32, 32), torch.zeros(4, dtype=torch.int64), 4)
    units = find_units(net, "weight", ("head",), draw.images[:1])
    expected = tuple(name for name in units.names if name.endswith(endings))
    assert expected
    assert uncovered_layers(net, units, draw) == expected


@pytest.mark.parametrize("recalibration", COMPLETE)
def test_an_exception_does_not_cancel(recalibration: Callable[[nn.Module, Calibration], None]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = _VggHead().double().eval().requires_grad_(False)
        images = torch.randn(8, 3, 8, 8, dtype=torch.float64)
    draw = Calibration(images, torch.zeros(8, dtype=torch.int64), 4)
    plain = _recalibrated(net, draw, {}, recalibration)
    doubled = _recalibrated(net, draw, {"pre_logits.fc1": torch.full((8,), 2.0, dtype=torch.float64)}, recalibration)
    assert float((doubled(images) - plain(images)).abs().max()) > 1e-3


def test_ema_keeps_a_part_of_every_factor(net: nn.Module, calibration: Calibration) -> None:
    plain = _recalibrated(net, calibration, {}, ema)
    corrected = _recalibrated(net, calibration, _factors(0), ema)
    assert float((corrected(calibration.images) - plain(calibration.images)).abs().max()) > 1e-3
