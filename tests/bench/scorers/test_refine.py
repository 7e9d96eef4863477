"""The masks that refinements start from, and the scores of refined masks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from bench.core.errors import NotApplicable
from bench.core.types import Granularity
from bench.masks.allocation import global_, per_output, uniform
from bench.masks.build import build_masks
from bench.masks.order import keep_order
from bench.models.tensors import MaskSet, ScoreMap
from bench.models.view import Calibration, ModelView
from bench.scorers.dsnot import dsnot
from bench.scorers.obc import obc
from bench.scorers.refine import mask_scores
from bench.scorers.sparse_swaps import sparse_swaps
from bench.scorers.wanda import wanda

ViewOf = Callable[[Granularity], ModelView]
REFINERS = pytest.mark.parametrize("refiner", [dsnot, sparse_swaps])


def _masks(view: ModelView, scores: ScoreMap, allocation: Callable[..., object], sparsity: float) -> MaskSet:
    budget = allocation(view.units, scores, sparsity, view)
    return build_masks(view.units, keep_order(view.units, scores, view.magnitudes()), budget)


@REFINERS
@pytest.mark.parametrize("sparsity", [0.5, 0.8])
def test_per_output_keeps_the_refined_mask_exactly(
    refiner: Callable[..., ScoreMap], sparsity: float, view_of: ViewOf, calibration: Calibration
) -> None:
    view = view_of("weight")
    scores = refiner(view, calibration, None, sparsity)
    masks = _masks(view, scores, per_output, sparsity)
    assert all(torch.equal(masks[name], scores[name] >= 1) for name in view.units.names)
    start = _masks(view, wanda(view, calibration, None), per_output, sparsity)
    assert scores.notes["exchanged"] == sum(int((masks[n] & ~start[n]).sum()) for n in view.units.names) > 0
    assert scores.notes["refined_for"] == "per_output"


@REFINERS
def test_without_an_exchange_the_start_decides_under_every_allocation(
    refiner: Callable[..., ScoreMap], view_of: ViewOf, calibration: Calibration
) -> None:
    view = view_of("weight")
    limit = {"cycles": 0} if refiner is dsnot else {"swaps": 0}
    scores, start = refiner(view, calibration, None, 0.5, **limit), wanda(view, calibration, None)
    assert scores.notes["exchanged"] == 0
    assert _masks(view, scores, per_output, 0.5).digest() == _masks(view, start, per_output, 0.5).digest()
    for allocation in (uniform, global_):
        kept = _masks(view, scores, allocation, 0.5)
        rows = _masks(view, scores, per_output, 0.5)
        assert (kept.flat & ~rows.flat).sum() == max(0, kept.kept - rows.kept)  # the refined mask, as far as it goes


@REFINERS
def test_the_start_is_a_scorer_of_choice(
    refiner: Callable[..., ScoreMap], view_of: ViewOf, calibration: Calibration
) -> None:
    view = view_of("weight")
    limit = {"cycles": 0} if refiner is dsnot else {"swaps": 0}
    scores = refiner(view, calibration, None, 0.5, start="obc", **limit)
    expected = _masks(view, obc(view, calibration, None), per_output, 0.5)
    assert _masks(view, scores, per_output, 0.5).digest() == expected.digest()


@REFINERS
def test_nothing_is_exchanged_where_nothing_is_removed(
    refiner: Callable[..., ScoreMap], view_of: ViewOf, calibration: Calibration
) -> None:
    scores = refiner(view_of("weight"), calibration, None, 0.0)
    assert all(bool((score >= 1).all()) for score in scores.values())


@REFINERS
def test_channels_and_allocations_that_set_the_sparsity_are_refused(
    refiner: Callable[..., ScoreMap], view_of: ViewOf, calibration: Calibration
) -> None:
    with pytest.raises(NotApplicable, match="exchanges weights inside an output"):
        refiner(view_of("channel"), calibration, None, 0.5)
    with pytest.raises(NotApplicable, match="depends on the target sparsity"):
        refiner(view_of("weight"), calibration, None, None)


def test_a_layer_of_zeros_has_scores() -> None:
    kept = torch.tensor([[True, False]])
    assert mask_scores(kept, torch.zeros(1, 2, dtype=torch.float64)).tolist() == [[1.0, 0.0]]
