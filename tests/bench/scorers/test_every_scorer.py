"""What holds for all scorers: a pure function of model, draw and generator."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch

from bench.core.types import Granularity
from bench.models.tensors import ScoreMap
from bench.models.unchanged import left_behind, marks
from bench.models.view import Calibration, ModelView
from bench.scorers import (
    activation,
    dsnot,
    fisher,
    gradient,
    grasp,
    lamp,
    magnitude,
    obc,
    obs,
    random,
    rank,
    ria,
    sparse_swaps,
    synflow,
    wanda,
)  # fmt: skip


def synflow_at_half(view: ModelView, calibration: Calibration, generator: torch.Generator) -> ScoreMap:
    return synflow.synflow(view, calibration, generator, 0.5, rounds=5)


def dsnot_at_half(view: ModelView, calibration: Calibration, generator: torch.Generator) -> ScoreMap:
    return dsnot.dsnot(view, calibration, generator, 0.5)


def sparse_swaps_at_half(view: ModelView, calibration: Calibration, generator: torch.Generator) -> ScoreMap:
    return sparse_swaps.sparse_swaps(view, calibration, generator, 0.5)


SCORERS = (
    random.random, magnitude.magnitude, magnitude.log_magnitude, magnitude.sqrt_magnitude,
    magnitude.square_magnitude, magnitude.exp_magnitude, rank.rank, rank.log_rank, magnitude.l2, gradient.gradient,
    gradient.taylor, wanda.wanda, lamp.lamp, gradient.snip, grasp.grasp, fisher.fisher, obs.obs,
    activation.activation, synflow.synflow_oneshot, synflow_at_half, ria.ria, obc.obc, dsnot_at_half,
    sparse_swaps_at_half,
)  # fmt: skip
UNDEFINED = {
    ("l2", "weight"), ("activation", "weight"), ("obs", "channel"), ("obc", "channel"), ("dsnot_at_half", "channel"),
    ("sparse_swaps_at_half", "channel"),
}  # fmt: skip
CASES = [
    pytest.param(scorer, granularity, id=f"{scorer.__name__}-{granularity}")
    for scorer in SCORERS
    for granularity in ("weight", "channel")
    if (scorer.__name__, granularity) not in UNDEFINED
]


@pytest.mark.parametrize(("scorer", "granularity"), CASES)
def test_is_valid_repeatable_and_leaves_the_model_alone(
    scorer: Callable[..., object],
    granularity: Granularity,
    view_of: Callable[[Granularity], ModelView],
    calibration: Calibration,
) -> None:
    view = view_of(granularity)
    before = copy.deepcopy(view.model.state_dict())
    view.model.dropout.train()  # a flag to be kept: it must not be 'restored' to eval
    view.model.dropout.p = 0.0
    own_marks = marks(view.model)
    scores = scorer(view, calibration, torch.Generator().manual_seed(0))
    scores.validate(view.units)
    again = scorer(view, calibration, torch.Generator().manual_seed(0))
    assert all(torch.equal(scores[name], again[name]) for name in scores)
    assert all(not score.requires_grad for score in scores.values())
    assert all(torch.equal(before[name], tensor) for name, tensor in view.model.state_dict().items())
    assert all(p.requires_grad for p in view.model.parameters())
    assert left_behind(view.model, own_marks) is None
