"""Calls of a plug-in on copies of a case, and the comparisons that the rules of several kinds share."""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from bench.core.errors import NotApplicable
from bench.core.registry import Plugin
from bench.plugins.conformance.cases import BrokenRuleError, Hill
from bench.plugins.conformance.trial import (
    Trial,
    changed_tensors,
    expect,
    expect_clean,
    expect_defined,
    expect_plain,
    expect_same_build,
    expect_untouched,
    same,
)


def search(objective, dimensions, generator, *, evaluations: int = 600, step: float = 0.5): ...


def scorer(view, calibration, generator): ...


def options_given(plugin, case, options):
    return options


def global_numbers(plugin, case, options):
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def states():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


def test_each_call_gets_its_own_copy(benches):
    trial = Trial(Plugin("scorer", "mine", scorer), benches[0], options_given)
    first, second = trial.first[0], trial.again()[0]
    assert len({id(case.view.model) for case in (benches[0], first, second)}) == 3
    assert trial.first[0] is first  # rules that need one call share it


def test_a_search_gets_the_budget_of_its_hill():
    trial = Trial(Plugin("search", "mine", search), Hill(dimensions=2, evaluations=7), options_given)
    assert trial.first[1] == {"evaluations": 7, "step": 0.5}


def test_a_plugin_that_draws_from_a_global_generator_differs_between_two_calls():
    trial = Trial(Plugin("search", "mine", search), Hill(2, 7), global_numbers)
    assert all(first != second for first, second in zip(trial.first[1], trial.again()[1], strict=True))


def test_global_random_states_are_left_as_they_were():
    before = states()
    Trial(Plugin("search", "mine", search), Hill(2, 7), global_numbers).again()
    assert states() == before


def test_a_granularity_for_which_a_plugin_is_not_defined_is_skipped(benches):
    plugin = Plugin("scorer", "mine", search, granularities=("channel",))
    expect_defined(plugin, benches[1])
    with pytest.raises(NotApplicable, match="defined for"):
        expect_defined(plugin, benches[0])


def test_a_result_of_another_type_is_named():
    expect({}, Mapping)
    with pytest.raises(BrokenRuleError, match="returns list, not a Mapping of factors"):
        expect([], Mapping, " of factors")


def test_a_value_that_no_row_can_hold_is_named():
    expect_plain({"loss": 1.0}, "the note")
    with pytest.raises(BrokenRuleError, match="the note 'loss' cannot be stored: Tensor"):
        expect_plain({"loss": torch.tensor(1.0)}, "the note")


@pytest.mark.parametrize(
    ("second", "equal"), [([1.0, np.nan], True), ([1.0, 2.0], False), ([1.0 + 1e-7, np.nan], False), ([1.0], False)]
)
def test_equal_tensors_are_equal_to_the_last_bit(second, equal):
    assert same(torch.tensor([1.0, np.nan], dtype=torch.float64), torch.tensor(second, dtype=torch.float64)) == equal


def test_parameters_and_buffers_that_differ_are_named(benches):
    before = benches[0].view.model
    after = copy.deepcopy(before)
    assert changed_tensors(before, after) == []
    after.get_submodule("features.0").weight.data += 1
    after.get_submodule("features.1").running_mean += 1
    after.extra = torch.nn.Linear(1, 1, bias=False)
    assert changed_tensors(before, after) == ["features.0.weight", "features.1.running_mean", "extra.weight"]


def scales_weights(bench):
    next(bench.view.model.parameters()).data *= 2


def freezes(bench):
    bench.view.model.requires_grad_(False)


def trains(bench):
    bench.view.model.train()


def clears_images(bench):
    bench.calibration.images.zero_()


def clears_labels(bench):
    bench.calibration.labels.zero_()


def clears_scores(bench):
    bench.scores[bench.view.units.names[0]].zero_()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (scales_weights, "changes the model: features.0.weight"),
        (freezes, "changes requires_grad"),
        (trains, "leaves the model in training mode"),
        (clears_images, "changes the calibration draw"),
        (clears_labels, "changes the calibration draw"),
        (clears_scores, "changes the scores"),
    ],
)
def test_a_change_to_what_a_plugin_was_given_is_named(benches, change, problem):
    given = benches[0].copy()
    expect_untouched(benches[0], given)
    change(given)
    with pytest.raises(BrokenRuleError, match=problem):
        expect_untouched(benches[0], given)


def test_a_hook_that_is_left_behind_is_named(benches):
    model = copy.deepcopy(benches[0].view.model)
    expect_clean(model, benches[0].view.model)
    model.get_submodule("features.0").register_forward_hook(lambda *_: None)
    with pytest.raises(BrokenRuleError, match=r"leaves a hook on features\.0"):
        expect_clean(model, benches[0].view.model)


def test_other_layers_and_values_that_are_not_finite_are_named(benches):
    before = benches[0].view.model
    after = copy.deepcopy(before)
    expect_same_build(before, after)
    after.get_submodule("features.0").weight.data[0] = torch.inf
    with pytest.raises(BrokenRuleError, match=r"features\.0\.weight is NaN or infinite"):
        expect_same_build(before, after)
    after.extra = torch.nn.Linear(1, 1, bias=False)
    with pytest.raises(BrokenRuleError, match=r"changes the layers of the model: extra\.weight"):
        expect_same_build(before, after)
