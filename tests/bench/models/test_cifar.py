"""The CIFAR ResNets against the published numbers: parameters, accuracies of published checkpoints."""

import os
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from bench.data.parquet import ParquetSource
from bench.models import cifar
from bench.models.checkpoints import load_checkpoint
from bench.models.load_weights import load_into
from bench.models.view import normalise
from bench.study.spec import Normalisation

PUBLISHED = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@pytest.mark.parametrize(
    ("constructor", "parameters"),  # in millions, He et al. 2016, table 6
    [
        (cifar.cifar_resnet20, 0.27),
        (cifar.cifar_resnet32, 0.46),
        (cifar.cifar_resnet44, 0.66),
        (cifar.cifar_resnet56, 0.85),
        (cifar.cifar_resnet110, 1.7),
    ],
)
def test_sizes_are_those_of_the_paper(constructor, parameters):
    count = sum(p.numel() for p in constructor().parameters())
    digits = 1 if parameters == 1.7 else 2
    assert round(count / 1e6, digits) == pytest.approx(parameters, abs=0.011)


def test_depth_counts_weighted_layers():
    for depth, constructor in ((20, cifar.cifar_resnet20), (110, cifar.cifar_resnet110)):
        layers = [m for m in constructor().modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
        assert len(layers) == depth


def test_shortcut_subsamples_and_pads_with_zeros():
    block = cifar.BasicBlock(16, 32, stride=2).eval()
    torch.nn.init.zeros_(block.bn2.weight)  # silences the residual branch
    x = torch.rand(2, 16, 8, 8)
    out = block(x)
    torch.testing.assert_close(out[:, 8:24], x[:, :, ::2, ::2])
    assert not out[:, :8].any()
    assert not out[:, 24:].any()


class Calls(TorchDispatchMode):
    """Counts the operations of torch by name."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.counts[function.overloadpacket.__name__] += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(("planes", "stride", "pads"), [(16, 1, 0), (32, 2, 1)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_shortcut_is_copied_only_where_it_changes_shape(planes, stride, pads, memory_format):
    block = cifar.BasicBlock(16, planes, stride)
    x = torch.rand(2, 16, 8, 8).contiguous(memory_format=memory_format).requires_grad_()
    residual = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x)))))
    padded = F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, block.padding, block.padding))
    expected = F.relu(residual + padded)
    expected.sum().backward()
    gradient, x.grad = x.grad, None
    with Calls() as calls:
        found = block(x)
        found.sum().backward()
    assert torch.equal(found, expected)
    assert torch.equal(x.grad, gradient)
    # its gradient is cut out by padding with a negative width
    assert calls.counts["constant_pad_nd"] == 2 * pads


@pytest.mark.parametrize(
    ("depth", "accuracy"),
    [
        (20, 91.73),
        pytest.param(32, 92.63, marks=pytest.mark.slow),
        pytest.param(44, 93.10, marks=pytest.mark.slow),
        pytest.param(56, 93.39, marks=pytest.mark.slow),
    ],
)
def test_published_checkpoint_has_its_published_accuracy(depth, accuracy, cifar10_test):
    path = Path(os.environ["PRUNEBENCH_DATA"], "weights", f"resnet{depth}-cifar10-akamaster.safetensors")
    model = getattr(cifar, f"cifar_resnet{depth}")().eval()
    load_into(model, load_checkpoint(path), path)
    model = model.to(memory_format=torch.channels_last)
    x = normalise(cifar10_test.images, PUBLISHED, torch.device("cpu"))
    x = x.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        predicted = torch.cat([model(part).argmax(1) for part in x.split(500)])
    measured = 100 * (predicted == cifar10_test.labels).double().mean().item()
    assert measured == pytest.approx(accuracy, abs=0.02)


@pytest.fixture(scope="module")
def cifar10_test(tmp_path_factory):
    """The 10,000 test images, beside a train file of ten rows so that nothing else is decoded."""
    if "PRUNEBENCH_DATA" not in os.environ:
        pytest.skip("PRUNEBENCH_DATA is not set: no CIFAR-10")
    test = next(Path(os.environ["PRUNEBENCH_DATA"], "cifar10").glob("test-*.parquet"))
    folder = tmp_path_factory.mktemp("cifar10")
    (folder / test.name).symlink_to(test)
    pq.write_table(pq.read_table(test).slice(0, 10), folder / "train-00000-of-00001.parquet")
    return ParquetSource(folder).read().test
