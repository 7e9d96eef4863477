"""The names for plug-ins are the objects that the engine uses, and suffice to write a method."""

from __future__ import annotations

import importlib

import pytest

import prunebench.plugin
from bench.plugins.catalogue import make_registry
from bench.plugins.conformance import check_plugins

HOMES = {
    "bench.core.errors": ("CellError", "NotApplicable", "UserError"),
    "bench.masks.budget": ("Budget",),
    "bench.core.method": ("describe",),
    "bench.models.counts": ("keep_count",),
    "bench.models.bias": ("bias_parts", "bias_values"),
    "bench.models.observe": ("Call", "observe"),
    "bench.models.tensors": ("FeatureMap", "MaskSet", "ScoreMap"),
    "bench.models.unit_space": ("BiasPart", "Layout", "PrunableLayer", "UnitSpace"),
    "bench.models.view": ("Calibration", "ModelView"),
    "bench.repairs.correction": ("RepairContext", "scale_outputs", "shift_outputs"),
    "bench.repairs.statistics": ("Moments", "channel_moments"),
    "bench.scorers.rank": ("normalised_rank", "positions"),
    "bench.scorers.search.fusion": ("Found", "Objective", "Recorder"),
}  # fmt: skip
METHODS = '''\
import torch
from torch import Tensor
from prunebench.plugin import (
    Budget, Calibration, FeatureMap, Found, ModelView, NotApplicable, Objective, Recorder, RepairContext, ScoreMap,
    UnitSpace, channel_moments, keep_count, normalised_rank, observe, scale_outputs,
)

def loudness(view: ModelView, calibration: Calibration, generator: torch.Generator) -> ScoreMap:
    """Score a weight by its magnitude times the mean magnitude of its layer's outputs."""
    loud = {}
    for layer in view.units.layers:
        def note(call):
            loud.setdefault(call.layer.name, []).append(call.outputs(view.model).double().abs().mean())
        with torch.no_grad():
            observe(view.model, [layer], [x for x, _ in calibration.batches()], note)
    return ScoreMap({name: m * torch.stack(loud[name]).mean() for name, m in view.magnitudes().items()})

def features(view: ModelView, calibration: Calibration, generator: torch.Generator) -> FeatureMap:
    """Two powers of the rank."""
    ranks = {name: normalised_rank(m) for name, m in view.magnitudes().items()}
    return FeatureMap(("u", "u^2"), {name: torch.stack([u, u**2]) for name, u in ranks.items()})

def corners(objective: Objective, dimensions: int, generator, *, evaluations: int = 8) -> Found:
    """Random corners of the box."""
    record = Recorder(objective, evaluations)
    record.evaluate(generator.choice([-1.0, 1.0], size=(evaluations, dimensions)))
    return record.found()

def together(units: UnitSpace, scores: ScoreMap, sparsity: float, view: ModelView) -> Budget:
    """All layers together."""
    if not units.layers:
        raise NotApplicable("there is no layer")
    keep = torch.tensor([keep_count(units.total, sparsity)])
    return Budget(torch.zeros(units.total, dtype=torch.int64), keep)

def doubled(context: RepairContext) -> dict[str, Tensor]:
    """Double every layer."""
    moments = channel_moments(context.model, context.units.layers, context.calibration)
    factors = {layer.name: 2 * torch.ones_like(moments[layer.name].mean) for layer in context.units.layers}
    for layer in context.units.layers:
        scale_outputs(context.model, layer, factors[layer.name])
    return factors
'''


@pytest.mark.parametrize(("home", "name"), [(home, name) for home, names in HOMES.items() for name in names])
def test_a_name_is_the_engines_own_object(home, name):
    assert getattr(prunebench.plugin, name) is getattr(importlib.import_module(home), name)


def test_all_names_are_listed():
    assert sorted(prunebench.plugin.__all__) == sorted(name for names in HOMES.values() for name in names)


@pytest.mark.parametrize(
    ("kind", "function"),
    [
        ("scorer", "loudness"),
        ("scorer", "features"),
        ("search", "corners"),
        ("allocation", "together"),
        ("correction", "doubled"),
    ],
)
def test_a_method_written_with_these_names_conforms(tmp_path, kind, function):
    (tmp_path / "mine.py").write_text(METHODS)
    verdicts = check_plugins(make_registry(tmp_path), f"./mine.py:{function}", kind)
    assert verdicts
    assert [verdict for verdict in verdicts if verdict.problem is not None] == []
