"""What the suite reports of broken scorers."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from bench.core.errors import NotApplicable
from bench.models.tensors import FeatureMap, ScoreMap


def good_scorer(view, calibration, generator):
    return ScoreMap(view.magnitudes())


def good_features(view, calibration, generator, *, power: float = 2.0) -> FeatureMap:
    return FeatureMap(("m", "power"), {n: torch.stack([m, m**power]) for n, m in view.magnitudes().items()})


def changed_scores(change):
    def scorer(view, calibration, generator):
        return ScoreMap({name: change(m) for name, m in view.magnitudes().items()})

    return scorer


def returns_list(view, calibration, generator):
    return list(view.magnitudes().values())


def returns_unannotated_features(view, calibration, generator):
    return good_features(view, calibration, generator)


def other_layers(view, calibration, generator):
    return ScoreMap({f"net.{name}": m for name, m in view.magnitudes().items()})


def keeps_graph(view, calibration, generator):
    return ScoreMap({name: view.module(name).weight.double().abs() for name in view.units.names})


def odd_note(view, calibration, generator):
    return ScoreMap(view.magnitudes(), notes={"loss": torch.tensor(1.0)})


def changes_weights(view, calibration, generator):
    for parameter in view.model.parameters():
        parameter.data.add_(1)
    return good_scorer(view, calibration, generator)


def changes_buffer(view, calibration, generator):
    view.model.train()
    view.model(calibration.images)
    view.model.eval()
    return good_scorer(view, calibration, generator)


def leaves_gradients(view, calibration, generator):
    view.model(calibration.images).sum().backward()
    return good_scorer(view, calibration, generator)


def freezes(view, calibration, generator):
    view.model.requires_grad_(False)
    return good_scorer(view, calibration, generator)


def trains(view, calibration, generator):
    view.model.train()
    return good_scorer(view, calibration, generator)


def leaves_hook(view, calibration, generator):
    view.module(view.units.names[0]).register_forward_hook(lambda *_: None)
    return good_scorer(view, calibration, generator)


def changes_draw(view, calibration, generator):
    calibration.images.mul_(2)
    return good_scorer(view, calibration, generator)


def ignores_generator(view, calibration, generator):
    return changed_scores(lambda m: torch.rand(m.shape).double())(view, calibration, generator)


def uses_numpy(view, calibration, generator):
    return changed_scores(lambda m: m * np.random.rand())(view, calibration, generator)


def uses_python(view, calibration, generator):
    return changed_scores(lambda m: m * random.random())(view, calibration, generator)


def by_position(view, calibration, generator):
    first = calibration.images[0].double().mean()
    return changed_scores(lambda m: m * (1 + first))(view, calibration, generator)


def raises(view, calibration, generator):
    raise ZeroDivisionError("on\npurpose")


def silent_skip(view, calibration, generator):
    raise NotApplicable("")


def never_applicable(view, calibration, generator):
    raise NotApplicable("never")


def no_target(view, calibration, generator, sparsity):
    return changed_scores(lambda m: m * (1 - sparsity))(view, calibration, generator)


def needs_option(view, calibration, generator, *, power: float):
    return changed_scores(lambda m: m**power)(view, calibration, generator)


def too_few_features(view, calibration, generator) -> FeatureMap:
    return FeatureMap(("a", "b", "c"), good_features(view, calibration, generator).features)


def unstacked_features(view, calibration, generator) -> FeatureMap:
    return FeatureMap(("a",), view.magnitudes())


def one_name_twice(view, calibration, generator) -> FeatureMap:
    return FeatureMap(("a", "a"), good_features(view, calibration, generator).features)


def nan_feature(view, calibration, generator) -> FeatureMap:
    return good_features(view, calibration, generator, power=float("nan"))


def random_features(view, calibration, generator) -> FeatureMap:
    return good_features(view, calibration, generator, power=1 + float(torch.rand(())))


def not_features(view, calibration, generator) -> FeatureMap:
    return good_scorer(view, calibration, generator)


VALID, SAME, LEAVES, MASKS = (
    "finite float64 score",
    "same scores for the same seed",
    "Leave weights",
    "exactly the budget",
)
BROKEN_SCORERS = [
    (changed_scores(lambda m: m.flatten()[1:]), VALID, "scores of features.0 have shape"),
    (changed_scores(lambda m: m.float()), VALID, "scores of features.0 are torch.float32, expected torch.float64"),
    (changed_scores(lambda m: m / 0 * 0), VALID, "144 of 144 scores of features.0 are NaN or infinite"),
    (other_layers, VALID, "have other layers than the model"),
    (keeps_graph, VALID, "scores of features.0 still require gradients"),
    (returns_list, VALID, "returns list, not a ScoreMap"),
    (returns_unannotated_features, VALID, "returns FeatureMap, not a ScoreMap; annotate the function"),
    (odd_note, VALID, "the note 'loss' cannot be stored: Tensor has no canonical JSON form"),
    (changes_weights, LEAVES, "DigitsCNN, weight: changes the model: features.0.weight"),
    (changes_buffer, LEAVES, "changes the model: features.1.running_mean"),
    (leaves_gradients, LEAVES, "leaves gradients"),
    (freezes, LEAVES, "changes requires_grad"),
    (trains, LEAVES, "leaves the model in training mode"),
    (leaves_hook, LEAVES, "leaves a hook on features.0"),
    (changes_draw, LEAVES, "changes the calibration draw"),
    (ignores_generator, SAME, "two calls with one seed differ in features.0"),
    (uses_numpy, SAME, "two calls with one seed differ in features.0"),
    (uses_python, SAME, "two calls with one seed differ in features.0"),
    (by_position, "order of the images", "the order of images inside a batch changes the scores of features.0"),
    (raises, VALID, "raises ZeroDivisionError: on purpose"),
    (silent_skip, VALID, "skips without a reason"),
    (never_applicable, VALID, "nothing was checked"),
    (no_target, VALID, "raises TypeError: unsupported operand type(s) for -: 'int' and 'NoneType'"),
    (needs_option, "Have options", "option 'power' of scorer 'mine': Field required"),
    (too_few_features, VALID, "features of features.0 have shape (2, 16, 1, 3, 3), expected (3, 16, 1, 3, 3)"),
    (unstacked_features, VALID, "features of features.0 have shape (16, 1, 3, 3), expected (1, 16, 1, 3, 3)"),
    (one_name_twice, VALID, "names its features ('a', 'a')"),
    (nan_feature, VALID, "144 of 288 features of features.0 are NaN or infinite"),
    (random_features, SAME, "two calls with one seed differ in features.0"),
    (not_features, VALID, "returns ScoreMap, not a FeatureMap"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "check", "problem"), BROKEN_SCORERS)
def test_a_broken_scorer_is_named_with_what_it_broke(problems_of, function, check, problem):
    broken = problems_of("scorer", function)
    matching = [how for what, how in broken.items() if check in what]
    assert matching, broken
    assert problem in matching[0]
    assert "\n" not in matching[0]


@pytest.mark.parametrize(
    ("function", "checks"),
    [
        (changed_scores(lambda m: m / 0 * 0), 2),  # not finite, so no masks; no 'differ', no 'order'
        (changes_weights, 1),
        (ignores_generator, 1),
    ],
)
def test_nothing_else_is_named(problems_of, function, checks):
    assert len(problems_of("scorer", function)) == checks


def test_global_random_states_are_left_as_they_were(problems_of):
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    problems_of("scorer", uses_numpy)
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states
