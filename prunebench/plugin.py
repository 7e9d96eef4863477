"""The names that a plug-in may import.

A plug-in is a function of your own: a scorer, search, allocation, correction or recalibration. Import from this module
alone; other modules of `bench` may move between releases. A scorer returns one float64 score per unit, and the units
with the highest scores are kept. Save this as ``mine.py`` next to study.yaml, list ``./mine.py:small_and_quiet`` in
`scorers`, and check it with ``prunebench check ./mine.py:small_and_quiet``.

Examples
--------
>>> import torch
>>> from prunebench.plugin import Calibration, ModelView, ScoreMap
>>> def small_and_quiet(
...     view: ModelView, calibration: Calibration, generator: torch.Generator, *, power: float = 0.5
... ) -> ScoreMap:
...     '''Score abs(w) ** power.'''
...     return ScoreMap({name: magnitude**power for name, magnitude in view.magnitudes().items()})

A study calls it with a dense network, whose layer ``0`` has two units here:

>>> from prunebench.plugin import PrunableLayer, UnitSpace
>>> network = torch.nn.Sequential(torch.nn.Linear(2, 1, bias=False))
>>> network[0].weight.data = torch.tensor([[4.0, -9.0]])
>>> view = ModelView(network, UnitSpace("weight", (PrunableLayer("0", (1, 2), (1, 2)),)))
>>> draw = Calibration(images=torch.ones(1, 2), labels=torch.zeros(1, dtype=torch.int64), batch=1)
>>> small_and_quiet(view, draw, torch.Generator())["0"].tolist()
[[2.0, 3.0]]
"""

from bench.core.errors import CellError, NotApplicable, UserError
from bench.core.method import describe
from bench.masks.budget import Budget, keep_count
from bench.models.bias import bias_parts, bias_values
from bench.models.observe import Call, observe
from bench.models.tensors import FeatureMap, MaskSet, ScoreMap
from bench.models.unit_space import BiasPart, Layout, PrunableLayer, UnitSpace
from bench.models.view import Calibration, ModelView
from bench.repairs.correction import RepairContext, scale_outputs, shift_outputs
from bench.repairs.statistics import Moments, channel_moments
from bench.scorers.rank import normalised_rank, positions
from bench.scorers.search.fusion import Found, Objective, Recorder

__all__ = [
    "BiasPart",
    "Budget",
    "Calibration",
    "Call",
    "CellError",
    "FeatureMap",
    "Found",
    "Layout",
    "MaskSet",
    "ModelView",
    "Moments",
    "NotApplicable",
    "Objective",
    "PrunableLayer",
    "Recorder",
    "RepairContext",
    "ScoreMap",
    "UnitSpace",
    "UserError",
    "bias_parts",
    "bias_values",
    "channel_moments",
    "describe",
    "keep_count",
    "normalised_rank",
    "observe",
    "positions",
    "scale_outputs",
    "shift_outputs",
]
