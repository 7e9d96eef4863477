"""The forecast of a device's memory against the largest number of bytes that its tensors took."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import pytest
import torch

from bench.core.types import CalibrationSpec, Cell
from bench.models.units import find_units
from bench.models.view import ModelView
from bench.run.memory import measure_sizes, memory_stages
from tests.gpu.networks import many, settings_of
from tests.gpu.short_memory import Peak

#: Images of 8x8 pixels that pass through the network at once: test images, or those of the calibration draw.
MANY = {"cuda": 2**12, "cpu": 2**11}
FEW = {"cuda": 2**8, "cpu": 2**5}
#: The forecast may be short of what is measured by this share, and exceed it by that one.
BELOW, ABOVE = 0.3, 0.5
#: Bytes by which it may be off in any case: three copies of a part of the moments (`bench.repairs.statistics`), or on a
#: GPU a part of the patches (`bench.models.observe`) and work space of libraries.
FLOOR = {"cuda": 96 * 2**20, "cpu": 6 * 2**20}
#: Scorer and correction, and what takes most: evaluation, activations for gradients, Hessians, moments of channels.
METHODS = [("magnitude", "none", "test"), ("taylor", "none", "draw"), ("obs", "none", "draw"),
           ("magnitude", "asr", "draw")]  # fmt: skip


@pytest.mark.parametrize(("scorer", "correction", "most"), METHODS)
def test_the_forecast_is_close_to_the_peak(prepared, device, scorer, correction, most):
    facts = next(iter(prepared.session.facts.values()))
    image = (facts.in_chans, *facts.image_size)
    larger = prod(facts.image_size) // 64
    tested, drawn = ((MANY if most == split else FEW)[device] // larger for split in ("test", "draw"))
    draw = CalibrationSpec(0, drawn, drawn)
    cells = [replace(cell, calibration=draw) for cell in prepared.cells if is_of(cell, scorer, correction)]
    group = replace(prepared.session.plan.groups[0], cells=tuple(cells))
    dataset = replace(
        prepared.dataset, test=many(prepared.dataset.test, tested),
        calibration=many(prepared.dataset.calibration, drawn),
    )  # fmt: skip
    facts = replace(facts, test=tested)
    exclude = prepared.session.study.file.models[0].exclude
    view = ModelView(prepared.dense.model, find_units(prepared.dense.model, "weight", exclude, torch.zeros(1, *image)))
    settings = settings_of(device, batch=tested)
    sizes = measure_sizes(view, image, settings)
    # of the device alone, also where that is the CPU: the forecast for a CPU is of the whole process
    stages = memory_stages(sizes, facts, replace(settings, device="cuda"), cells, prepared.session.registry, None)
    forecast = max(sum(parts.values()) for parts in stages.values())
    with Peak(device) as peak:
        pipeline = prepared.pipeline(settings, group=group, dataset=dataset)
        outcomes = list(pipeline.run({cell.id for cell in cells}))
    assert [outcome.state for outcome in outcomes] == ["done"] * len(cells)
    print(f"{scorer}, {correction}: forecast {forecast / 2**20:.1f} MiB, measured {peak.bytes / 2**20:.1f} MiB")
    assert peak.bytes > 0
    assert forecast >= peak.bytes - max(BELOW * peak.bytes, FLOOR[device]), stages
    assert forecast <= peak.bytes + max(ABOVE * peak.bytes, FLOOR[device]), stages


def is_of(cell: Cell, scorer: str, correction: str) -> bool:
    """Whether a cell has these methods, for weights under global allocation, without recalibration."""
    if cell.is_dense or cell.granularity != "weight" or cell.recalibration.name != "none":
        return False
    return (cell.scorer.name, cell.allocation.name, cell.correction.name) == (scorer, "global", correction)
