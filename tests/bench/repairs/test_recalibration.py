from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from bench.core.errors import CellError, NotApplicable
from bench.core.registry import Plugin
from bench.models.unchanged import left_behind, marks
from bench.models.view import Calibration
from bench.repairs.recalibration import cumulative, ema, exact, none, reset_ema


def _statistics(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and unbiased variance per channel of one batch."""
    return x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3), ddof=1)


def _batches(calibration: Calibration) -> list[np.ndarray]:
    return [x.numpy() for x, _ in calibration.batches()]


def test_none_keeps_the_statistics(net: nn.Module, calibration: Calibration) -> None:
    before = copy.deepcopy(net.state_dict())
    none(net, calibration)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_cumulative_is_the_mean_of_the_batch_statistics(calibration: Calibration) -> None:
    bn = nn.BatchNorm2d(2).double().eval()
    bn.running_mean.fill_(100.0)  # forgotten
    cumulative(nn.Sequential(bn), calibration)
    means, variances = zip(*(_statistics(x) for x in _batches(calibration)), strict=True)
    np.testing.assert_allclose(bn.running_mean.numpy(), np.mean(means, axis=0), rtol=1e-12)
    np.testing.assert_allclose(bn.running_var.numpy(), np.mean(variances, axis=0), rtol=1e-12)


def test_cumulative_reads_layers_behind_others_that_use_their_batch(calibration: Calibration) -> None:
    """The second layer sees what the first makes of the *batch's* statistics, by a NumPy forward."""
    net = nn.Sequential(nn.BatchNorm2d(2), nn.ReLU(), nn.BatchNorm2d(2)).double().eval()
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([2.0, 0.5]))
        net[0].bias.copy_(torch.tensor([0.3, -0.1]))
    cumulative(net, calibration)
    weight, bias = (p.detach().numpy()[:, None, None] for p in (net[0].weight, net[0].bias))
    means = []
    for x in _batches(calibration):
        mean, var = (v[:, None, None] for v in (x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))))
        hidden = np.maximum((x - mean) / np.sqrt(var + net[0].eps) * weight + bias, 0)
        means.append(_statistics(hidden)[0])
    np.testing.assert_allclose(net[2].running_mean.numpy(), np.mean(means, axis=0), rtol=1e-10)


@pytest.mark.parametrize(("momentum", "batches"), [(0.1, 8), (0.5, 2), (1.0, 1)])
def test_ema_in_closed_form_cycling_the_draw(momentum: float, batches: int, calibration: Calibration) -> None:
    bn = nn.BatchNorm2d(2).double().eval()
    bn.running_mean.fill_(3.0)
    bn.running_var.fill_(7.0)
    ema(nn.Sequential(bn), calibration, momentum=momentum, batches=batches)
    statistics = [_statistics(x) for x in _batches(calibration)]
    weights = [momentum * (1 - momentum) ** (batches - 1 - k) for k in range(batches)]
    for which, start, found in ((0, 3.0, bn.running_mean), (1, 7.0, bn.running_var)):
        moved = sum(w * statistics[k % len(statistics)][which] for k, w in enumerate(weights))
        expected = (1 - momentum) ** batches * start + moved
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(("momentum", "batches"), [(0.1, 100), (0.5, 2)])
def test_reset_ema_in_closed_form_from_the_reset(momentum: float, batches: int, calibration: Calibration) -> None:
    """The dense statistics are forgotten; mean 0 and variance 1 keep the weight (1 - momentum) ** batches."""
    bn = nn.BatchNorm2d(2).double().eval()
    bn.running_mean.fill_(300.0)
    bn.running_var.fill_(700.0)
    reset_ema(nn.Sequential(bn), calibration, momentum=momentum, batches=batches)
    statistics = [_statistics(x) for x in _batches(calibration)]
    weights = [momentum * (1 - momentum) ** (batches - 1 - k) for k in range(batches)]
    for which, start, found in ((0, 0.0, bn.running_mean), (1, 1.0, bn.running_var)):
        moved = sum(w * statistics[k % len(statistics)][which] for k, w in enumerate(weights))
        expected = (1 - momentum) ** batches * start + moved
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("method", [ema, reset_ema, cumulative])
def test_a_smaller_last_batch_is_left_out_unless_it_is_the_only_one(method: object) -> None:
    images = torch.randn(10, 2, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.zeros(10, dtype=torch.int64)

    def mean_after(draw: Calibration) -> torch.Tensor:
        net = nn.Sequential(nn.BatchNorm2d(2)).double().eval()
        method(net, draw)
        return net[0].running_mean

    whole = mean_after(Calibration(images[:8], labels[:8], 4))
    assert torch.equal(mean_after(Calibration(images, labels, 4)), whole)
    assert bool((mean_after(Calibration(images[:3], labels[:3], 4)) != 0).all())


@pytest.mark.parametrize("method", [ema, reset_ema, cumulative, exact])
def test_only_batchnorm_trains_and_everything_is_restored(
    method: object, net: nn.Module, calibration: Calibration
) -> None:
    noisy = nn.Sequential(nn.Dropout(0.5), net).eval()
    plain = copy.deepcopy(net)
    parameters = copy.deepcopy(dict(noisy.named_parameters()))
    method(noisy, calibration)
    method(plain, calibration)
    assert torch.equal(net.bn1.running_var, plain.bn1.running_var), "dropout was active"
    assert not any(module.training for module in noisy.modules())
    assert (net.bn1.momentum, net.bn2.momentum) == (0.1, 0.1)
    assert all(torch.equal(parameters[name], p) for name, p in noisy.named_parameters())


@pytest.mark.parametrize("method", [ema, reset_ema, cumulative, exact])
def test_without_batchnorm_it_does_not_apply(method: object, calibration: Calibration) -> None:
    net = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2, track_running_stats=False)).double()
    with pytest.raises(NotApplicable, match="no BatchNorm statistics"):
        method(net, calibration)


@pytest.mark.parametrize("method", [ema, reset_ema, cumulative, exact])
def test_broken_activations_fail_the_cell(method: object, net: nn.Module, calibration: Calibration) -> None:
    net.conv1.weight.data.fill_(float("nan"))
    with pytest.raises(CellError, match="NaN or infinite"):
        method(net, calibration)
    assert not any(module.training for module in net.modules())


def test_options_of_running_averages() -> None:
    assert Plugin("recalibration", "ema", ema).resolve({}).options == {"momentum": 0.1, "batches": 8}
    assert Plugin("recalibration", "reset_ema", reset_ema).resolve({}).options == {"momentum": 0.1, "batches": 100}


def _normalise(x: np.ndarray, bn: nn.BatchNorm2d) -> np.ndarray:
    """Normalise by the pooled mean and population variance of x."""
    mean, var, weight, bias = (
        v.reshape(-1, 1, 1)
        for v in (x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3)), bn.weight.detach().numpy(), bn.bias.detach().numpy())
    )
    normalised: np.ndarray = (x - mean) / np.sqrt(var + bn.eps) * weight + bias
    return normalised


@pytest.mark.parametrize("batch", [48, 16, 20])
def test_exact_is_the_pooled_mean_and_variance_by_numpy(batch: int, net: nn.Module, calibration: Calibration) -> None:
    """By a NumPy forward over the whole draw, each layer behind one that has its new statistics."""
    for bn in (net.bn1, net.bn2):
        bn.weight.copy_(torch.linspace(0.5, 2, len(bn.weight)))
        bn.bias.copy_(torch.linspace(-1, 1, len(bn.bias)))
    exact(net, Calibration(calibration.images, calibration.labels, batch))

    def convolve(x: np.ndarray, conv: nn.Conv2d, padding: int) -> np.ndarray:
        x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))
        weight, bias = conv.weight.detach().numpy(), conv.bias.detach().numpy()
        out: np.ndarray = np.einsum("nihwkl,oikl->nohw", windows, weight) + bias[:, None, None]
        return out

    first = convolve(calibration.images.numpy(), net.conv1, 1)
    second = convolve(np.maximum(_normalise(first, net.bn1), 0), net.conv2, 0)
    for x, bn in ((first, net.bn1), (second, net.bn2)):
        assert bn.running_mean.numpy() == pytest.approx(x.mean(axis=(0, 2, 3)), rel=1e-10, abs=1e-13)
        assert bn.running_var.numpy() == pytest.approx(x.var(axis=(0, 2, 3)), rel=1e-10, abs=0)


class _OddOrder(nn.Module):
    """`late` is defined first and called last; `never` is not called; `shared` may be called twice."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.late, self.never, self.early, self.shared = (nn.BatchNorm2d(2) for _ in range(4))
        self.calls = calls

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.early(3 * x + 1))
        for _ in range(self.calls):
            x = self.shared(x)
        out: torch.Tensor = self.late(x.square())
        return out


def test_exact_goes_in_order_of_call_and_leaves_what_is_not_called(calibration: Calibration) -> None:
    net = _OddOrder(calls=1).double().eval()
    net.never.running_mean.fill_(5.0)
    exact(net, calibration)
    first = 3 * calibration.images.numpy() + 1
    second = np.maximum(_normalise(first, net.early), 0)
    third = _normalise(second, net.shared) ** 2
    for x, bn in ((first, net.early), (second, net.shared), (third, net.late)):
        assert bn.running_mean.numpy() == pytest.approx(x.mean(axis=(0, 2, 3)), rel=1e-10, abs=1e-13)
        assert bn.running_var.numpy() == pytest.approx(x.var(axis=(0, 2, 3)), rel=1e-10, abs=0)
    assert net.never.running_mean.tolist() == [5.0, 5.0]


def test_exact_does_not_apply_to_a_layer_called_twice(calibration: Calibration) -> None:
    net = _OddOrder(calls=2).double().eval()
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(NotApplicable, match="'shared' is called several times"):
        exact(net, calibration)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize(("bn", "shape"), [(nn.BatchNorm1d(3), (10, 3)), (nn.BatchNorm1d(3), (10, 3, 5))])
def test_exact_pools_all_axes_but_the_channels(bn: nn.Module, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact(nn.Sequential(bn.double().eval()), Calibration(x, torch.zeros(10, dtype=torch.int64), 4))
    axes = (0, 2)[: len(shape) - 1]
    np.testing.assert_allclose(bn.running_var.numpy(), x.numpy().var(axis=axes), rtol=1e-12)


def test_exact_and_cumulative_agree_on_one_large_batch(net: nn.Module, calibration: Calibration) -> None:
    """Then they differ by the population variance against the unbiased one, n / (n - 1) with n = 48 x 36."""
    whole = Calibration(calibration.images, calibration.labels, 48)
    other = copy.deepcopy(net)
    exact(net, whole)
    cumulative(other, whole)
    n = 48 * 36
    torch.testing.assert_close(other.bn1.running_var, net.bn1.running_var * n / (n - 1), rtol=1e-12, atol=0)


def test_exact_leaves_no_hooks(net: nn.Module, calibration: Calibration) -> None:
    before = marks(net)
    exact(net, calibration)
    assert left_behind(net, before) is None
