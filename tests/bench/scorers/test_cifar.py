"""Scores of a published ResNet-20 on CIFAR-10 against plain PyTorch: loss.backward() and .grad."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from bench.core.types import Granularity
from bench.data.parquet import ParquetSource
from bench.models.cifar import CifarResNet, cifar_resnet20
from bench.models.units import find_units
from bench.models.view import Calibration, ModelView, normalise
from bench.scorers.gradient import taylor
from bench.scorers.magnitude import magnitude
from bench.study.spec import Normalisation

pytestmark = pytest.mark.skipif("PRUNEBENCH_DATA" not in os.environ, reason="PRUNEBENCH_DATA is not set")
PUBLISHED = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def _resnet20() -> CifarResNet:
    net = cifar_resnet20().eval()
    weights = Path(os.environ["PRUNEBENCH_DATA"], "weights", "resnet20-cifar10-akamaster.safetensors")
    net.load_state_dict(load_file(weights))
    return net


@pytest.fixture(scope="module")
def draw(tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    """The first 80 test images, in batches of 48; few rows are decoded."""
    folder = tmp_path_factory.mktemp("cifar10")
    test = next(Path(os.environ["PRUNEBENCH_DATA"], "cifar10").glob("test-*.parquet"))
    for split in ("train", "test"):
        pq.write_table(pq.read_table(test).slice(0, 80), folder / f"{split}-00000-of-00001.parquet")
    images = ParquetSource(folder).read().test
    return Calibration(normalise(images.images, PUBLISHED, torch.device("cpu")), images.labels, 48)


def _view(granularity: Granularity) -> ModelView:
    net = _resnet20()
    return ModelView(net, find_units(net, granularity, ("head",), torch.zeros(1, 3, 32, 32)))


@pytest.mark.parametrize("granularity", ["weight", "channel"])
def test_magnitude(granularity: Granularity, draw: Calibration) -> None:
    scores = magnitude(_view(granularity), draw, None)
    convolutions = {n: m for n, m in _resnet20().named_modules() if isinstance(m, torch.nn.Conv2d)}
    assert list(scores) == list(convolutions)  # 19 of them, the linear head is left out
    for name, conv in convolutions.items():
        expected = conv.weight.detach().double().abs()
        expected = expected if granularity == "weight" else expected.mean(dim=(1, 2, 3))
        assert torch.equal(scores[name], expected)


def test_taylor_of_weights(draw: Calibration) -> None:
    scores = taylor(_view("weight"), draw, None)
    plain = _resnet20()
    F.cross_entropy(plain(draw.images), draw.labels).backward()
    for name, score in scores.items():
        weight = plain.get_submodule(name).weight
        expected = (weight.grad * weight).abs().double().detach()
        # float32 sums in another order: small beside the layer's largest score
        torch.testing.assert_close(score, expected, rtol=1e-3, atol=1e-5 * float(expected.max()))


def test_taylor_of_channels(draw: Calibration) -> None:
    scores = taylor(_view("channel"), draw, None)
    plain = _resnet20()
    squares = dict.fromkeys(scores, 0.0)
    for part in (slice(0, 32), slice(32, 64), slice(64, 80)):
        plain.zero_grad()
        F.cross_entropy(plain(draw.images[part]), draw.labels[part]).backward()
        for name in scores:
            batchnorm = plain.get_submodule(name.replace("conv", "bn").replace("downsample.0", "downsample.1"))
            gate = batchnorm.weight.grad * batchnorm.weight + batchnorm.bias.grad * batchnorm.bias
            squares[name] = squares[name] + gate.detach().double() ** 2
    for name, score in scores.items():
        expected = squares[name] / 3
        torch.testing.assert_close(score, expected, rtol=1e-2, atol=1e-5 * float(expected.max()))
