"""The cancellation identity on a published ResNet-20: CIFAR-10, 80 %, magnitude, global."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from bench.core.types import Settings
from bench.data.dataset import ImageSet, calibration_draw
from bench.data.load import load_dataset
from bench.masks.allocation import global_
from bench.masks.build import build_masks
from bench.masks.order import keep_order
from bench.measure.evaluator import Evaluator
from bench.models.cifar import cifar_resnet20
from bench.models.masking import apply_masks
from bench.models.units import find_units
from bench.models.view import Calibration, ModelView, normalise
from bench.repairs.cancellation import uncovered_layers
from bench.repairs.correction import RepairContext, asr, channelwise, layerwise, none
from bench.repairs.recalibration import cumulative, ema
from bench.repairs.statistics import channel_moments
from bench.scorers.magnitude import magnitude
from bench.study.spec import DataSpec, Normalisation

NORMALISATION = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
Correction = Callable[[RepairContext], dict[str, Tensor]]


@pytest.mark.skipif("PRUNEBENCH_DATA" not in os.environ, reason="PRUNEBENCH_DATA is not set")
@pytest.mark.parametrize(
    ("precision", "allowed"), [("float32", 0.0005), pytest.param("bfloat16", 0.003, marks=pytest.mark.slow)]
)
def test_corrections_agree_after_cumulative_and_differ_after_ema(precision: str, allowed: float) -> None:
    data = Path(os.environ["PRUNEBENCH_DATA"])
    dataset = load_dataset(DataSpec(name="cifar10", path=str(data / "cifar10")), Path())
    dense = cifar_resnet20().eval()
    dense.load_state_dict(load_file(data / "weights" / "resnet20-cifar10-akamaster.safetensors"))
    dense = dense.to(memory_format=torch.channels_last)

    units = find_units(dense, "weight", ("head",), torch.zeros(1, 3, 32, 32))
    view = ModelView(dense, units)
    draw = calibration_draw(dataset, seed=0, images=1024)
    calibration = Calibration(normalise(draw.images, NORMALISATION, torch.device("cpu")), draw.labels, 128)
    scores = magnitude(view, calibration, torch.Generator())
    masks = build_masks(units, keep_order(units, scores, scores), global_(units, scores, 0.8, view))
    moments = channel_moments(dense, units.layers, calibration)
    assert uncovered_layers(dense, units, calibration) == ()

    def corrected(correction: Correction) -> nn.Module:
        model = copy.deepcopy(dense)
        apply_masks(model, units, masks)
        correction(RepairContext(model, moments, units, masks, calibration, dense))
        return model

    models = [corrected(correction) for correction in (none, layerwise, channelwise, asr)]

    def spread(recalibration: Callable[..., None], test: ImageSet) -> float:
        repaired = [copy.deepcopy(model) for model in models]
        for model in repaired:
            recalibration(model, calibration)
        settings = Settings(precision, "channels_last", 128, "cpu", torch.get_num_threads())
        evaluator = Evaluator(dense, test, NORMALISATION, settings)
        accuracies = [evaluator.evaluate(model).accuracy for model in repaired]
        return max(accuracies) - min(accuracies)

    assert spread(cumulative, dataset.test) <= allowed
    some = dataset.test.subset(torch.arange(1000))  # enough to see accuracies from 0.52 to 0.69
    assert spread(ema, some) > 0.03
