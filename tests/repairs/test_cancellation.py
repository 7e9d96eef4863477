"""The cancellation identity: where it holds, where eps breaks it and by how much."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from bench.models.cifar import cifar_resnet20
from bench.models.units import find_units
from bench.models.view import Calibration
from bench.repairs.cancellation import eps_ratio, largest_eps_ratio, uncovered_layers
from bench.repairs.correction import scale_outputs
from bench.repairs.recalibration import cumulative


def _recalibrated(net: nn.Module, calibration: Calibration, factors: dict[str, Tensor]) -> nn.Module:
    model = copy.deepcopy(net)
    for name, factor in factors.items():
        scale_outputs(model.get_submodule(name), factor)
    cumulative(model, calibration)
    return model


def _factors(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: 10 ** (4 * torch.rand(n, generator=generator, dtype=torch.float64) - 3)
        for name, n in (("conv1", 4), ("conv2", 6))
    }


def test_factors_cancel_up_to_eps(net: nn.Module, calibration: Calibration) -> None:
    for bn in (net.bn1, net.bn2):
        bn.eps = 1e-30
    plain = _recalibrated(net, calibration, {})
    x = calibration.images
    for seed in range(3):
        corrected = _recalibrated(net, calibration, _factors(seed))
        torch.testing.assert_close(corrected(x), plain(x), rtol=0, atol=1e-12)


def test_without_recalibration_they_do_not_cancel(net: nn.Module, calibration: Calibration) -> None:
    corrected = copy.deepcopy(net)
    scale_outputs(corrected.conv1, _factors(0)["conv1"])
    assert float((corrected(calibration.images) - net(calibration.images)).abs().max()) > 0.01


@pytest.mark.parametrize("factor", [10.0, 0.1])
def test_on_a_nearly_dead_channel_eps_breaks_it_by_the_predicted_ratio(
    factor: float, net: nn.Module, calibration: Calibration
) -> None:
    """A channel of variance 1e-5 after its convolution: c = 10 leaves a factor of 1.40."""
    with torch.no_grad():
        x = calibration.images
        net.conv1.weight[0] *= float((1e-5 / net.conv1(x)[:, 0].var()).sqrt())
    c = torch.tensor([factor, 1.0, 1.0, 1.0], dtype=torch.float64)
    plain = _recalibrated(net, calibration, {})
    corrected = _recalibrated(net, calibration, {"conv1": c})

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
