"""What plug-ins are tried on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.core.registry import Plugin
from bench.models.counts import keep_count
from bench.plugins.conformance.cases import (
    DIMENSIONS,
    EVALUATIONS,
    REPAIRED_SPARSITY,
    SPARSITIES,
    BrokenRuleError,
    Hill,
    make_cases,
    takes_budget,
)


def single_search(objective, dimensions, generator): ...


def search(objective, dimensions, generator, *, evaluations: int = 600): ...


def scorer(view, calibration, generator): ...


def target_scorer(view, calibration, generator, sparsity): ...


def allocation(units, scores, sparsity, view): ...


def own_sparsity(units, scores, sparsity: None, view): ...


def test_both_networks_are_tried_at_every_granularity_of_one_layer_and_the_transformer_with_heads(benches):
    expected = [
        "DigitsCNN, weight", "DigitsCNN, channel", "VisionTransformer, weight", "VisionTransformer, channel",
        "VisionTransformer, head",
    ]  # fmt: skip
    assert [str(bench) for bench in benches] == expected
    assert {len(bench.calibration) for bench in benches} == {64}


@pytest.mark.parametrize(
    ("kind", "function", "sparsities"),
    [
        ("scorer", scorer, [None]),
        ("scorer", target_scorer, [*SPARSITIES, None]),  # without a target it may only skip
        ("allocation", allocation, [*SPARSITIES]),
        ("allocation", own_sparsity, [None]),
    ],
)
def test_a_plugin_is_tried_at_the_sparsities_that_it_takes(benches, kind, function, sparsities):
    cases = make_cases(Plugin(kind, "mine", function), benches)
    assert [case.sparsity for case in cases] == sparsities * len(benches)


def test_a_search_without_a_budget_has_one_evaluation(benches):
    one, many = Plugin("search", "mine", single_search), Plugin("search", "mine", search)
    assert (takes_budget(one), takes_budget(many)) == (False, True)
    assert {hill.evaluations for hill in make_cases(one, benches)} == {1}
    assert {hill.evaluations for hill in make_cases(many, benches)} == set(EVALUATIONS)
    assert {hill.dimensions for hill in make_cases(many, benches)} == set(DIMENSIONS)


def test_a_change_to_a_copied_bench_does_not_reach_the_original(benches):
    bench = benches[0]
    name, copied = bench.view.units.names[0], bench.copy()
    weights, images = bench.view.module(name).weight.clone(), bench.calibration.images.clone()
    scores = bench.scores[name].clone()
    copied.view.module(name).weight.data += 1
    copied.calibration.images.zero_()
    copied.scores[name].zero_()
    assert torch.equal(bench.view.module(name).weight, weights)
    assert torch.equal(bench.calibration.images, images)
    assert torch.equal(bench.scores[name], scores)


def test_repairs_are_tried_on_a_masked_copy(benches):
    bench = benches[0]
    masks, pruned = bench.masks(REPAIRED_SPARSITY), bench.pruned()
    assert masks.kept == keep_count(bench.view.units.total, REPAIRED_SPARSITY)
    for name in bench.view.units.names:
        weight = pruned.get_submodule(name).weight
        assert weight[~masks[name]].count_nonzero() == 0
        assert torch.equal(weight[masks[name]], bench.view.module(name).weight[masks[name]])


def test_a_hill_is_highest_at_its_top_and_keeps_its_candidates():
    hill = Hill(dimensions=2, evaluations=7)
    candidates = np.array([[0.3, 0.3], [0.3, -1.0], [-1.0, -1.0]])
    heights = hill.height(candidates)
    assert heights[0] == 1
    assert heights[0] > heights[1] > heights[2]
    assert np.array_equal(heights * 400, np.round(heights * 400))  # steps, as accuracies have
    assert np.array_equal(hill.evaluated, [candidates])
    assert hill.copy().evaluated == []


@pytest.mark.parametrize("shape", [(2,), (4, 3)])
def test_a_search_that_evaluates_candidates_of_another_shape_breaks_a_rule(shape):
    with pytest.raises(BrokenRuleError, match=r"expected \(n, 2\)"):
        Hill(dimensions=2, evaluations=7).height(np.zeros(shape))
