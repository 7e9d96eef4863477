from __future__ import annotations

import copy
import dataclasses
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from bench.core.errors import CellError, Deadline
from bench.core.types import Settings
from bench.data.dataset import ImageSet
from bench.data.load import load_dataset
from bench.measure.evaluator import STACKED_MODELS, Evaluator
from bench.models import cifar
from bench.models.view import normalise
from bench.study.spec import DataSpec, Normalisation

SETTINGS = Settings(precision="float32", memory_format="contiguous", batch=16, device="cpu", threads=1)
HALF = Normalisation(mean=(0.5, 0.4), std=(0.2, 0.3))


class Net(nn.Module):
    """Convolution, BatchNorm, head; runs out of memory above `capacity` images."""

    def __init__(self, capacity: int = 10**6) -> None:
        super().__init__()
        self.conv, self.bn, self.head = nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 4)
        self.capacity = capacity

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.capacity:
            raise torch.OutOfMemoryError("tried to allocate 2.00 GiB")
        out: Tensor = self.head(torch.relu(self.bn(self.conv(x))).mean(dim=(2, 3)))
        return out


def _net(seed: int = 0, capacity: int = 10**6) -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = Net(capacity).eval()
        net.bn.running_mean.normal_()
        net.head.weight.data.mul_(5)
    return net


@pytest.fixture
def held_out() -> ImageSet:
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(256, (50, 2, 6, 6), generator=generator, dtype=torch.uint8)
    return ImageSet(images, torch.randint(4, (50,), generator=generator))


def _logits(net: nn.Module, split: ImageSet) -> Tensor:
    with torch.no_grad():
        out: Tensor = net(normalise(split.images, HALF, torch.device("cpu")))
    return out


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_agrees_with_one_plain_forward(memory_format: str, held_out: ImageSet) -> None:
    settings = dataclasses.replace(SETTINGS, memory_format=memory_format)
    net = _net(seed=1)
    result = Evaluator(_net(seed=0), held_out, HALF, settings).evaluate(net)
    logits = _logits(net, held_out)
    correct = (logits.argmax(1) == held_out.labels).numpy()
    assert result.correct == np.packbits(correct).tobytes()
    assert (result.accuracy, result.images) == (correct.sum() / 50, 50)
    assert result.loss == pytest.approx(float(F.cross_entropy(logits, held_out.labels)), rel=1e-6)
    assert (result.batch, result.batch_halved) == (16, 0)


def test_models_in_turn_do_not_touch_each_other(held_out: ImageSet) -> None:
    template, other = _net(0), _net(1)
    before = copy.deepcopy(template.state_dict())
    evaluator = Evaluator(template, held_out, HALF, SETTINGS)
    first = evaluator.evaluate(template)
    assert evaluator.evaluate(other).loss != first.loss
    assert evaluator.evaluate(template).loss == first.loss
    assert all(torch.equal(before[name], tensor) for name, tensor in template.state_dict().items())
    assert all(p.requires_grad for p in template.parameters())


def test_bfloat16_keeps_batchnorm_in_float32(held_out: ImageSet) -> None:
    net = _net()
    full = Evaluator(net, held_out, HALF, SETTINGS).evaluate(net)
    seen: dict[str, tuple[torch.dtype, torch.dtype]] = {}

    def note(module: nn.Module, args: object, output: Tensor) -> None:
        seen[type(module).__name__] = (module.weight.dtype, output.dtype)

    for module in net.children():
        module.register_forward_hook(note)  # hooks are copied with the network
    low = Evaluator(net, held_out, HALF, dataclasses.replace(SETTINGS, precision="bfloat16")).evaluate(net)
    assert seen == {
        "Conv2d": (torch.bfloat16, torch.bfloat16),
        "BatchNorm2d": (torch.float32, torch.bfloat16),
        "Linear": (torch.bfloat16, torch.bfloat16),
    }
    assert low.loss == pytest.approx(full.loss, rel=0.02)
    assert low.loss != full.loss


def test_batch_is_halved_until_it_fits_and_stays_so(held_out: ImageSet) -> None:
    net = _net(capacity=5)
    evaluator = Evaluator(net, held_out, HALF, SETTINGS)
    expected = Evaluator(_net(), held_out, HALF, SETTINGS).evaluate(net)
    for _ in range(2):
        result = evaluator.evaluate(net)
        assert (result.batch, result.batch_halved) == (4, 2)
        assert result.correct == expected.correct
        assert result.loss == pytest.approx(expected.loss, rel=1e-6)


def test_memory_for_no_image_at_all_fails_the_cell(held_out: ImageSet) -> None:
    net = _net(capacity=0)
    with pytest.raises(CellError, match="batch of one image"):
        Evaluator(net, held_out, HALF, SETTINGS).evaluate(net)


def test_deadline(held_out: ImageSet) -> None:
    net = _net()
    evaluator = Evaluator(net, held_out, HALF, SETTINGS)
    with pytest.raises(Deadline, match="after 0 of 50 images"):
        evaluator.evaluate(net, deadline=time.monotonic() - 1)
    assert evaluator.evaluate(net, deadline=time.monotonic() + 60).batch == 16


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers_fail_the_cell(bad: float, held_out: ImageSet) -> None:
    net = _net()
    net.head.bias.data[0] = bad
    with pytest.raises(CellError, match="NaN or infinite"):
        Evaluator(net, held_out, HALF, SETTINGS).evaluate(net)


PUBLISHED = [
    (20, 0.9173),
    *(pytest.param(*known, marks=pytest.mark.slow) for known in ((32, 0.9263), (44, 0.9310), (56, 0.9339))),
]


@pytest.mark.skipif("PRUNEBENCH_DATA" not in os.environ, reason="PRUNEBENCH_DATA is not set")
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 0.0002), ("bfloat16", 0.0015)])
@pytest.mark.parametrize(("depth", "accuracy"), PUBLISHED)
def test_published_checkpoints_have_their_accuracies(
    depth: int, accuracy: float, precision: str, tolerance: float
) -> None:
    data = Path(os.environ["PRUNEBENCH_DATA"])
    dataset = load_dataset(DataSpec(name="cifar10", path=str(data / "cifar10")), Path())
    normalisation = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    settings = Settings(precision, "channels_last", 128, "cpu", torch.get_num_threads())
    net = getattr(cifar, f"cifar_resnet{depth}")().eval()
    net.load_state_dict(load_file(data / "weights" / f"resnet{depth}-cifar10-akamaster.safetensors"))
    found = Evaluator(net, dataset.test, normalisation, settings).evaluate(net).accuracy
    assert found == pytest.approx(accuracy, abs=tolerance)


@pytest.mark.parametrize("stack", [1, 3, 32])
def test_stacked_networks_have_the_accuracies_of_each_alone(held_out, stack):
    nets = [_net(seed) for seed in range(7)]
    alone = Evaluator(nets[0], held_out, HALF, SETTINGS)
    expected = [alone.evaluate(net).accuracy for net in nets]
    assert len(set(expected)) > 1
    together = Evaluator(nets[0], held_out, HALF, SETTINGS)
    together.stack = stack
    assert [found.accuracy for found in together.evaluate_all(net for net in nets)] == expected


def test_stacked_networks_are_read_one_by_one(held_out):
    """A caller may hand out one working model again and again, changed in between."""
    nets, work = [_net(seed) for seed in range(4)], _net(9)

    def working():
        for net in nets:
            work.load_state_dict(net.state_dict())
            yield work

    together = Evaluator(work, held_out, HALF, SETTINGS)
    expected = [together.evaluate(net).accuracy for net in nets]
    together.stack = 3
    assert [found.accuracy for found in together.evaluate_all(working())] == expected


def test_a_network_without_numbers_does_not_harm_the_others_of_its_stack(held_out):
    broken = _net()
    broken.head.weight.data.fill_(float("nan"))
    together = Evaluator(broken, held_out, HALF, SETTINGS)
    together.stack = 2
    good, bad = together.evaluate_all([_net(), broken])
    assert good.refuse_not_finite() == good
    with pytest.raises(CellError, match="NaN"):
        bad.refuse_not_finite()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_inputs_prepared_once_are_those_of_every_batch(precision, memory_format, held_out):
    settings = dataclasses.replace(SETTINGS, precision=precision, memory_format=memory_format)
    seen: list[list[Tensor]] = []
    for kept_input in (10**9, 0):
        seen.append([])
        net = _net()
        net.conv.register_forward_pre_hook(lambda _module, inputs, batches=seen[-1]: batches.append(inputs[0]))
        seen[-1].append(torch.tensor(Evaluator(net, held_out, HALF, settings, kept_input).evaluate(_net()).loss))
    assert len(seen[0]) == len(seen[1]) == 4 + 1  # batches, and the loss
    for ours, theirs in zip(*seen, strict=True):
        assert torch.equal(ours, theirs)
        assert ours.stride() == theirs.stride()


def test_a_model_with_other_parameters_fails_the_cell(held_out):
    net = _net()
    evaluator = Evaluator(net, held_out, HALF, SETTINGS)
    net.head.register_buffer("more", torch.zeros(1))
    with pytest.raises(CellError, match=r"other parameters or buffers than its architecture: head\.more"):
        evaluator.evaluate(net)


@pytest.mark.parametrize("fitting", [1, 4, 40])
def test_stacked_networks_that_do_not_fit_are_divided(fitting, held_out):
    """Memory for so many images at a time, whatever the number of stacked networks."""
    nets = [_net(seed) for seed in range(5)]
    alone = Evaluator(nets[0], held_out, HALF, SETTINGS)
    expected = [alone.evaluate(net).accuracy for net in nets]
    evaluator = Evaluator(_net(capacity=fitting), held_out, HALF, SETTINGS)
    evaluator.stack = 4
    assert [found.accuracy for found in evaluator.evaluate_all(nets)] == expected
    assert evaluator.stack == (1 if fitting == 1 else 4)


def test_stacked_networks_of_which_no_image_fits_are_an_error(held_out):
    evaluator = Evaluator(_net(capacity=0), held_out, HALF, SETTINGS)
    evaluator.stack = 4
    with pytest.raises(CellError, match="batch of one image"):
        evaluator.evaluate_all([_net(), _net(1)])


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-6), ("bfloat16", 0.01)])
def test_the_result_of_a_model_does_not_depend_on_the_others_of_its_stack(precision, tolerance, held_out):
    nets = [_net(seed) for seed in range(6)]
    single = dataclasses.replace(SETTINGS, precision=precision)
    stacked = Evaluator(nets[0], held_out, HALF, dataclasses.replace(single, passes="stacked"))
    together = stacked.evaluate_all(nets)
    assert stacked.stack == STACKED_MODELS  # it did not fall back to one by one
    assert [stacked.evaluate_all([net])[0] for net in nets] == together
    for net, found in zip(nets, together, strict=True):
        alone = Evaluator(net, held_out, HALF, single).evaluate(net)
        assert found.loss == pytest.approx(alone.loss, rel=tolerance)
        assert found.accuracy == pytest.approx(alone.accuracy, abs=0 if precision == "float32" else 0.021)


def test_a_network_that_cannot_be_stacked_is_evaluated_alone(held_out, caplog):
    class Reads(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if float(self.head.bias[0]) < 9 else x  # a stacked tensor has no single value

    net = Reads().eval()
    evaluator = Evaluator(net, held_out, HALF, dataclasses.replace(SETTINGS, passes="stacked"))
    alone = Evaluator(net, held_out, HALF, SETTINGS).evaluate(net)
    assert evaluator.evaluate_all([net, net]) == [alone, alone]
    assert "one by one" in caplog.text
