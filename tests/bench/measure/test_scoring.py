"""Scores, orders and masks of cells, against the functions that they are made of."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bench.core.errors import NotApplicable
from bench.masks.build import build_masks
from bench.masks.order import keep_order
from bench.measure.scoring import Scoring
from bench.models.cifar import cifar_resnet20
from bench.models.digits import digits_cnn, digits_vit
from bench.models.tensors import FeatureMap
from bench.scorers.gradient import taylor


def cifar_grey():
    return cifar_resnet20(in_chans=1)


@pytest.fixture
def scoring(shared) -> Scoring:
    return Scoring(shared)


def pick(cells, **axes):
    def matches(cell):
        return all(
            (getattr(cell, axis).name if hasattr(getattr(cell, axis), "name") else getattr(cell, axis)) == value
            for axis, value in axes.items()
        )

    return next(cell for cell in cells if not cell.is_dense and matches(cell))


def test_masks_are_those_of_scores_order_and_budget_by_hand(scoring, shared, cells, session):
    cell = pick(cells, scorer="taylor", granularity="channel", allocation="global", sparsity=0.8)
    view, draw = shared.view("channel"), shared.calibration(cell.calibration)
    scores = taylor(view, draw, torch.Generator())
    order = keep_order(view.units, scores, view.magnitudes())
    budget = session.registry.get("allocation", "global").function(view.units, scores, 0.8, view)
    found = scoring.masked(cell, None)
    assert found.masks.digest() == build_masks(view.units, order, budget).digest()
    assert found.masks.kept == view.units.total - round(0.8 * view.units.total)


def test_magnitude_overlaps_itself_whole(scoring, cells):
    assert scoring.masked(pick(cells, scorer="magnitude"), None).overlap == 1
    assert scoring.masked(pick(cells, scorer="random"), None).overlap < 1


def test_one_pass_and_one_sort_serve_all_sparsities_and_allocations(scoring, shared, cells):
    of_taylor = [c for c in cells if c.scorer.name == "taylor" and c.granularity == "weight"]
    digests = {scoring.masked(cell, None).masks.digest() for cell in of_taylor}
    assert len(digests) == 4  # two allocations at two sparsities
    assert shared.counters["score_passes"] == 1
    assert shared.counters["sorts"] == 2  # one of them of the magnitudes


def test_forgotten_masks_are_built_again_and_equal(scoring, cells):
    cell = pick(cells, scorer="random")
    before = scoring.masked(cell, None)
    assert scoring.masked(cell, None) is before
    scoring.forget_masks()
    after = scoring.masked(cell, None)
    assert after is not before
    assert after.masks.digest() == before.masks.digest()


def test_fusion_weights_are_an_argument(shared, cells, session):

    cell = replace(pick(cells, granularity="channel"), scorer=session.registry.get("scorer", "v1").resolve({}))
    scoring = Scoring(shared)
    features = scoring.raw(cell)
    assert isinstance(features, FeatureMap)
    for weights in ((1.0, 0.0, 0.0, 0.0), (0.0, -1.0, 0.5, 0.25)):
        expected = features.fuse(weights)
        for name, scores in scoring.scores(cell, weights).items():
            assert torch.equal(scores, expected[name])
    assert shared.counters["score_passes"] == 1


COUPLED = [("head", digits_vit, 12), ("group", digits_cnn, 176), ("group", cifar_grey, 400)]


@pytest.mark.parametrize(("granularity", "make", "units"), COUPLED)
@pytest.mark.parametrize("scorer", ["random", "magnitude", "taylor"])
def test_budgets_of_coupled_units_are_exact(coupled, cells, granularity, make, units, scorer):
    shared = coupled(make())
    scoring = Scoring(shared)
    for allocation, sparsity in (("uniform", 0.5), ("global", 0.75)):
        cell = replace(
            pick(cells, scorer="magnitude"), granularity=granularity, sparsity=sparsity,
            scorer=shared.resolve("scorer", scorer), allocation=shared.resolve("allocation", allocation),
        )  # fmt: skip
        found = scoring.masked(cell, None)
        chosen = found.masks.counted
        assert chosen.units is shared.units(granularity).ranked
        assert (chosen.units.total, chosen.kept) == (units, round((1 - sparsity) * units))
        members = shared.units(granularity).coupling.named(shared.units(granularity))
        for unit, kept in zip(members, chosen.flat.tolist(), strict=True):
            assert {bool(found.masks[layer][channel]) for layer, channel in unit} == {kept}
        assert found.overlap == 1 or scorer != "magnitude"


def test_emp_counts_heads(coupled, cells):
    shared = coupled(digits_vit())
    for scorer in ("magnitude", "attention_score"):
        cell = replace(
            pick(cells, scorer="magnitude"), granularity="head", sparsity=None,
            scorer=shared.resolve("scorer", scorer), allocation=shared.resolve("allocation", "emp"),
        )  # fmt: skip
        masked = Scoring(shared).masked(cell, None)
        assert sum(part["k"] for part in masked.notes["emp"].values()) == masked.masks.counted.kept


def test_a_network_without_attention_has_no_heads_to_score(coupled, cells):
    cell = replace(pick(cells, scorer="magnitude"), granularity="head")
    with pytest.raises(NotApplicable, match="nothing to prune at granularity head"):
        Scoring(coupled(digits_cnn())).masked(cell, None)
