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


def good_target_scorer(view, calibration, generator, sparsity):
    if sparsity is None:
        raise NotApplicable("needs a target sparsity")
    assert sparsity in (0.5, 0.9)
    return ScoreMap({name: (m / m.max() - sparsity).abs() for name, m in view.magnitudes().items()})


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


def no_target(view, calibration, generator, sparsity):
    return changed_scores(lambda m: m * (1 - sparsity))(view, calibration, generator)


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
BROKEN = [
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
    (no_target, VALID, "raises TypeError: unsupported operand type(s) for -: 'int' and 'NoneType'"),
    (too_few_features, VALID, "features of features.0 have shape (2, 16, 1, 3, 3), expected (3, 16, 1, 3, 3)"),
    (unstacked_features, VALID, "features of features.0 have shape (16, 1, 3, 3), expected (1, 16, 1, 3, 3)"),
    (one_name_twice, VALID, "names its features ('a', 'a')"),
    (nan_feature, VALID, "144 of 288 features of features.0 are NaN or infinite"),
    (random_features, SAME, "two calls with one seed differ in features.0"),
    (not_features, VALID, "returns ScoreMap, not a FeatureMap"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "check", "problem"), BROKEN)
def test_a_broken_scorer_is_named_with_what_it_broke(problems_of, function, check, problem):
    [how] = [how for what, how in problems_of("scorer", function).items() if check in what]
    assert problem in how


@pytest.mark.parametrize(
    ("function", "rules"),
    [
        (changed_scores(lambda m: m / 0 * 0), (VALID, MASKS)),  # the same in both calls and in any order
        (changes_weights, (LEAVES,)),
        (ignores_generator, (SAME,)),
    ],
)
def test_a_broken_scorer_breaks_no_other_rule(problems_of, function, rules):
    broken = problems_of("scorer", function)
    assert len(broken) == len(rules)
    assert all(rule in what for rule, what in zip(rules, broken, strict=True))


@pytest.mark.parametrize("function", [good_scorer, good_target_scorer, good_features])
def test_a_good_scorer_of_a_user_passes(problems_of, function):
    assert problems_of("scorer", function) == {}
