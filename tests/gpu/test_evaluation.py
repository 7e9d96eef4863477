"""Evaluation on a device: stacked networks against each alone, and what happens when memory does not suffice."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest
from torch import nn

from bench.core.types import CalibrationSpec, Cell, Outcome
from bench.data.dataset import ImageSet
from bench.measure.evaluator import STACKED_MODELS, Evaluator
from bench.models.masking import apply_masks
from tests.gpu.agreement import accuracies_agree
from tests.gpu.networks import Prepared, many, settings_of
from tests.gpu.short_memory import Peak, short_of_memory

BATCH = 64
#: Images that are evaluated in one batch, and those of a calibration batch, where memory is made scarce.
IMAGES = {"cuda": 2**16, "cpu": 2**9}
DRAWN = {"cuda": 2**13, "cpu": 2**7}
#: What is left of the memory that they need: less than half, since a convolution may find an algorithm that takes less.
LEFT = 0.35


@pytest.fixture(scope="module")
def pruned(prepared, benches, device) -> list[nn.Module]:
    """Copies of a network with other masks, on the device."""
    bench, models = benches("weight")[1], []
    for sparsity in (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9):
        models.append(copy.deepcopy(bench.view.model))
        apply_masks(models[-1], bench.view.units, bench.masks(sparsity))
    return models


def evaluator(
    prepared: Prepared, images: ImageSet, device: str, batch: int = BATCH, precision: str = "float32",
    passes: str = "single",
) -> Evaluator:  # fmt: skip
    settings = replace(settings_of(device, precision=precision, batch=batch), passes=passes)
    return Evaluator(prepared.dense.model, images, prepared.dense.normalisation, settings)


def assert_agree(found: list[float], expected: list[float], images: int) -> None:
    assert len(found) == len(expected)
    for first, second in zip(found, expected, strict=True):
        assert accuracies_agree(first, second, images)


def accuracies(evaluator: Evaluator, models: list[nn.Module]) -> list[float]:
    return [found.refuse_not_finite().accuracy for found in evaluator.evaluate_all(models)]


@pytest.mark.parametrize("stack", [2, 7])
def test_stacked_networks_have_the_accuracies_of_each_alone(prepared, pruned, device, stack):
    images = prepared.dataset.test
    alone, together = (evaluator(prepared, images, device) for _ in range(2))
    alone.stack, together.stack = 1, stack
    expected = accuracies(alone, pruned)
    assert len(set(expected)) > 1
    found = accuracies(together, pruned)
    assert_agree(found, expected, images=len(images))
    assert accuracies(together, pruned) == found


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_result_of_a_network_does_not_depend_on_its_stack(prepared, pruned, device, precision):
    """As a study evaluates the masks of a sweep: a stack that is not full is filled up."""
    images = prepared.dataset.test
    stacked = evaluator(prepared, images, device, precision=precision, passes="stacked")
    together = stacked.evaluate_all(pruned)
    assert stacked.stack == STACKED_MODELS
    assert [stacked.evaluate_all([net])[0] for net in pruned] == together
    alone = evaluator(prepared, images, device, precision=precision)
    assert_agree([found.accuracy for found in together], accuracies(alone, pruned), images=len(images))


def test_cuda_graphs_give_the_bits_of_single_passes(prepared, pruned, device):
    if device == "cpu":
        pytest.skip("there are no CUDA graphs on a CPU")
    images = prepared.dataset.test
    single, graph = (evaluator(prepared, images, device, passes=passes) for passes in ("single", "graph"))
    assert graph.evaluate_all(pruned) == single.evaluate_all(pruned)


def test_the_batch_is_halved_until_it_fits(prepared, pruned, device):
    full = IMAGES[device]
    images = many(prepared.dataset.test, full)
    with Peak(device) as peak:
        expected = evaluator(prepared, images, device, full).evaluate(pruned[0])
    assert (expected.batch, expected.batch_halved) == (full, 0)
    short = evaluator(prepared, images, device, full)
    with short_of_memory(device, LEFT, peak.bytes, images=full // 3):
        found = short.evaluate(pruned[0])
    assert found.batch_halved >= 1
    assert found.batch == full >> found.batch_halved
    assert accuracies_agree(found.accuracy, expected.accuracy, full)
    assert found.loss == pytest.approx(expected.loss, rel=1e-4)


def test_fewer_networks_are_stacked_until_they_fit(prepared, pruned, device):
    full = IMAGES[device]
    images = many(prepared.dataset.test, full)
    plenty, short = (evaluator(prepared, images, device, full) for _ in range(2))
    plenty.stack = short.stack = len(pruned)
    with Peak(device) as peak:
        expected = accuracies(plenty, pruned)
    assert (plenty.stack, plenty.batch) == (len(pruned), full)
    with short_of_memory(device, LEFT, peak.bytes, images=full // 10):
        found = accuracies(short, pruned)
    assert short.stack < len(pruned)
    assert_agree(found, expected, images=full)


def test_calibration_batches_are_cut_into_parts_that_fit(prepared, device):
    """The gradient of a large calibration batch needs far more memory than the evaluation, whose batch is small."""
    full = DRAWN[device]
    draw = CalibrationSpec(0, full, full)
    cells = [cell for cell in prepared.cells if is_taylor(cell)]
    group = replace(prepared.session.plan.groups[0], cells=tuple(replace(cell, calibration=draw) for cell in cells))
    dataset = replace(prepared.dataset, calibration=many(prepared.dataset.calibration, full))
    ids = {cell.id for cell in cells}

    def compute() -> list[Outcome]:
        settings = settings_of(device, batch=32)
        return list(prepared.pipeline(settings, group=group, dataset=dataset).run(ids))

    with Peak(device) as peak:
        expected = compute()
    with short_of_memory(device, LEFT, peak.bytes, images=full // 3):
        found = compute()
    assert len(found) == len(expected) == 1
    values, others = found[0].values, expected[0].values
    assert "calibration_part" not in json.loads(others["notes"])
    assert json.loads(values["notes"])["calibration_part"] <= full // 2
    assert accuracies_agree(values["accuracy"], others["accuracy"], values["n_test"])


def is_taylor(cell: Cell) -> bool:
    """Whether a cell is that of `taylor` for weights under global allocation, without repair."""
    plain = cell.correction.name == cell.recalibration.name == "none"
    return plain and cell.scorer.name == "taylor" and (cell.granularity, cell.allocation.name) == ("weight", "global")
