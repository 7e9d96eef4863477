"""The conformance suite over the whole catalogue, and what it says of broken plug-ins."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from bench.core.errors import NotApplicable, UserError
from bench.masks.allocation import global_
from bench.masks.budget import Budget
from bench.models.tensors import FeatureMap, ScoreMap
from bench.plugins.conformance import CHECKED_KINDS, check_plugins
from bench.scorers.search.baselines import random_search
from bench.scorers.search.fusion import Found


def test_the_whole_catalogue_conforms(registry):
    verdicts = check_plugins(registry, "all")
    assert [v for v in verdicts if v.problem] == []
    assert {v.plugin.split()[0] for v in verdicts} == set(CHECKED_KINDS)


# ---------------------------------------------------------------- plug-ins that are right


def good_scorer(view, calibration, generator):
    return ScoreMap(view.magnitudes())


def good_target_scorer(view, calibration, generator, sparsity):
    if sparsity is None:
        raise NotApplicable("needs a target sparsity")
    assert sparsity in (0.5, 0.9)
    return ScoreMap({name: (m / m.max() - sparsity).abs() for name, m in view.magnitudes().items()})


def good_features(view, calibration, generator, *, power: float = 2.0) -> FeatureMap:
    return FeatureMap(("m", "power"), {n: torch.stack([m, m**power]) for n, m in view.magnitudes().items()})


def good_search(objective, dimensions, generator, *, evaluations: int = 600):
    return random_search(objective, dimensions, generator, evaluations=evaluations)


def good_single_search(objective, dimensions, generator):
    return random_search(objective, dimensions, generator, evaluations=1)


def good_allocation(units, scores, sparsity, view):
    return global_(units, scores, sparsity, view)


def good_own_sparsity(units, scores, sparsity: None, view):
    assert sparsity is None
    return global_(units, scores, 0.37, view)


def good_correction(context):
    return {}


def good_recalibration(model, calibration):
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean += 0.5


@pytest.mark.parametrize(
    ("kind", "function"),
    [
        ("scorer", good_scorer),
        ("scorer", good_target_scorer),
        ("scorer", good_features),
        ("search", good_search),
        ("search", good_single_search),
        ("allocation", good_allocation),
        ("allocation", good_own_sparsity),
        ("correction", good_correction),
        ("recalibration", good_recalibration),
    ],
)
def test_a_good_plugin_of_a_user_passes(problems_of, kind, function):
    assert problems_of(kind, function) == {}


# ---------------------------------------------------------------- other kinds that are broken


def over_budget(objective, dimensions, generator, *, evaluations: int = 600):
    return random_search(objective, dimensions, generator, evaluations=max(30, evaluations))


def budget_unknown(objective, dimensions, generator):
    return random_search(objective, dimensions, generator)


def miscounts(objective, dimensions, generator, *, evaluations: int = 600):
    found = random_search(objective, dimensions, generator, evaluations=evaluations)
    return Found(found.weights, found.value, 0, found.history)


def outside_the_box(objective, dimensions, generator, *, evaluations: int = 600):
    candidates = generator.normal(size=(evaluations, dimensions)) * 3
    values = objective(candidates)
    best = int(values.argmax())
    return Found(tuple(candidates[best].tolist()), float(values[best]), evaluations, ())


def flatters_itself(objective, dimensions, generator, *, evaluations: int = 600):
    found = random_search(objective, dimensions, generator, evaluations=evaluations)
    return Found(found.weights, found.value + 0.01, found.evaluations, found.history)


def moves_on(objective, dimensions, generator, *, evaluations: int = 600):
    found = random_search(objective, dimensions, generator, evaluations=evaluations)
    return Found((0.3,) * dimensions, 1.0, found.evaluations, found.history)


def too_few_weights(objective, dimensions, generator, *, evaluations: int = 600):
    found = random_search(objective, dimensions, generator, evaluations=evaluations)
    return Found(found.weights[1:], found.value, found.evaluations, found.history)


def unstorable(objective, dimensions, generator, *, evaluations: int = 600):
    found = random_search(objective, dimensions, generator, evaluations=evaluations)
    return Found(found.weights, found.value, np.int64(found.evaluations), found.history)


def one_by_one(objective, dimensions, generator, *, evaluations: int = 600):
    return random_search(lambda W: np.array([objective(w) for w in W]), dimensions, generator, evaluations=evaluations)


def globally_random(objective, dimensions, generator, *, evaluations: int = 600):
    generator = np.random.default_rng(np.random.randint(2**31))
    return random_search(objective, dimensions, generator, evaluations=evaluations)


def returns_weights(objective, dimensions, generator):
    return np.ones(dimensions)


def keeps_too_few(units, scores, sparsity, view):
    return global_(units, scores, sparsity + 0.05, view)


def ignores_sparsity(units, scores, sparsity, view):
    return global_(units, scores, 0.5, view)


def random_allocation(units, scores, sparsity, view):
    keep = global_(units, scores, sparsity, view).keep
    return Budget((torch.rand(units.total) > 0.5).long(), torch.stack([keep[0] * 0, keep[0] * 0 + 1]) + keep * 0)


def shuffled_allocation(units, scores, sparsity, view):
    everything = global_(units, scores, sparsity, view)
    half = torch.randperm(units.total) % 2  # the best units are found elsewhere each time
    return Budget(half, torch.stack([everything.keep[0] // 2, everything.keep[0] - everything.keep[0] // 2]))


def short_segments(units, scores, sparsity, view):
    everything = global_(units, scores, sparsity, view)
    return Budget(everything.segment[1:], everything.keep)


def over_full(units, scores, sparsity, view):
    return Budget(torch.zeros(units.total, dtype=torch.int64), torch.tensor([units.total + 1]))


def normalises_scores(units, scores, sparsity, view):
    for score in scores.values():
        score /= score.max()
    return global_(units, scores, sparsity, view)


def returns_count(units, scores, sparsity, view):
    return 7


def own_and_asked(units, scores, sparsity: None, view):
    return global_(units, scores, sparsity, view)


def factors_of(context, value):
    return {
        name: torch.full((context.units.layers[i].weight_shape[0],), value)
        for i, name in enumerate(context.units.names)
    }


def nan_factor(context):
    return factors_of(context, float("nan"))


def negative_factor(context):
    return factors_of(context, -1.0)


def odd_factor(context):
    return {"head": torch.ones(10)}


def one_factor(context):
    return {context.units.names[0]: torch.tensor(1.0)}


def no_factors(context):
    return None


def revives(context):
    for name in context.units.names:
        context.model.get_submodule(name).weight.data += 1
    return {}


def revives_removed_channel(context):
    """Shift the BatchNorm after a removed channel: the channel puts out a constant again."""
    for layer in context.units.layers:
        if layer.batchnorm:
            context.model.get_submodule(layer.batchnorm).bias.data += 1
    return {}


def nan_weight(context):
    context.model.get_submodule(context.units.names[0]).weight.data[context.masks[context.units.names[0]]] *= torch.nan
    return {}


def changes_dense(context):
    context.dense_model.get_submodule(context.units.names[0]).weight.data *= 2
    return {}


def adds_a_layer(context):
    context.model.affine = torch.nn.BatchNorm2d(2)
    return {}


def random_correction(context):
    context.model.get_submodule(context.units.names[0]).weight.data *= 1 + torch.rand(())
    return {}


def leaves_training(context):
    context.model.train()
    return {}


def changes_parameter(model, calibration):
    next(model.parameters()).data *= 2


def leaves_train_mode(model, calibration):
    model.train()


def random_statistics(model, calibration):
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean += torch.rand(())


def infinite_statistics(model, calibration):
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var /= 0


def changes_recalibration_draw(model, calibration):
    calibration.images.zero_()


BUDGET, BOX, HONEST = "no more candidates than the budget", "inside the box", "one weight per feature"
EXACT, FACTORS, PRUNED = (
    "Keep the share of units that the sparsity sets",
    "finite positive factors",
    "Keep what was pruned at zero",
)
BROKEN_OTHERS = [
    ("search", over_budget, BUDGET, "2 weights, 1 evaluations: evaluates 30 candidates with a budget of 1"),
    ("search", budget_unknown, BUDGET, "evaluates 600 candidates with a budget of 1"),
    ("search", miscounts, BUDGET, "reports that it evaluated 0 candidates; they were 1"),
    ("search", outside_the_box, BOX, "leaves the box: weights from"),
    ("search", flatters_itself, HONEST, "returns the value"),
    ("search", moves_on, HONEST, "returns weights that it never evaluated"),
    ("search", too_few_weights, HONEST, "returns weights of shape (1,), expected (2,)"),
    ("search", unstorable, HONEST, "its 'evaluations' cannot be stored: int64 has no canonical JSON form"),
    ("search", one_by_one, BUDGET, "asks for an array of shape (2,), expected (n, 2)"),
    ("search", globally_random, "same weights for the same seed", "two calls with one seed differ"),
    ("search", returns_weights, BUDGET, "returns ndarray, not a Found"),
    ("allocation", keeps_too_few, EXACT, "DigitsCNN, weight, sparsity 0.5: keeps 27022 of 60048 units in 1 segments"),
    ("allocation", ignores_sparsity, EXACT, "sparsity 0.9: keeps 30024 of 60048 units in 1 segments, expected 6005"),
    ("allocation", random_allocation, EXACT, "keeps 1 of 60048 units"),
    ("allocation", shuffled_allocation, "same budget twice", "two calls give different budgets"),
    ("allocation", short_segments, EXACT, "gives segments of shape (60047,), expected (60048,)"),
    ("allocation", over_full, EXACT, "budget keeps [60049]"),
    ("allocation", normalises_scores, "Leave the scores", "changes the scores that it is given"),
    ("allocation", returns_count, EXACT, "returns int, not a Budget"),
    ("allocation", own_and_asked, EXACT, "needs a sparsity in [0, 1), not None"),
    ("correction", nan_factor, FACTORS, "a factor of features.0 is not finite and positive"),
    ("correction", negative_factor, FACTORS, "a factor of features.0 is not finite and positive"),
    ("correction", odd_factor, FACTORS, "returns factors of 'head', which is no prunable layer"),
    ("correction", one_factor, FACTORS, "factors of features.0 have shape (), expected (16,)"),
    ("correction", no_factors, FACTORS, "returns NoneType, not a Mapping of factors"),
    ("correction", revives, PRUNED, "pruned values of features.0.weight come back"),
    ("correction", revives_removed_channel, PRUNED, "DigitsCNN, channel: pruned values of features."),
    ("correction", nan_weight, PRUNED, "features.0.weight is NaN or infinite"),
    ("correction", adds_a_layer, PRUNED, "changes the layers of the model: affine.bias"),
    ("correction", changes_dense, "Leave the dense model", "changes the model: features.0.weight"),
    ("correction", leaves_training, "Leave the dense model", "leaves the model in training mode"),
    ("correction", random_correction, "same model twice", "two calls give different models: features.0.weight"),
    ("recalibration", changes_parameter, "Change BatchNorm statistics alone", "changes features.0.weight, which is no"),
    ("recalibration", infinite_statistics, "to finite numbers", "features.1.running_var is NaN or infinite"),
    ("recalibration", random_statistics, "same statistics twice", "different statistics: features.1.running_mean"),
    ("recalibration", leaves_train_mode, "Leave the draw", "leaves the model in training mode"),
    ("recalibration", changes_recalibration_draw, "Leave the draw", "changes the calibration draw"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "function", "check", "problem"), BROKEN_OTHERS)
def test_a_broken_plugin_is_named_with_what_it_broke(problems_of, kind, function, check, problem):
    broken = problems_of(kind, function)
    matching = [how for what, how in broken.items() if check in what]
    assert matching, broken
    assert problem in matching[0]
    assert "\n" not in matching[0]


@pytest.mark.parametrize(
    ("kind", "function", "checks"),
    [
        ("search", outside_the_box, 1),
        ("allocation", shuffled_allocation, 1),
        ("correction", changes_dense, 1),
        ("recalibration", random_statistics, 1),
    ],
)
def test_nothing_else_is_named(problems_of, kind, function, checks):
    assert len(problems_of(kind, function)) == checks


def test_global_random_states_are_left_as_they_were(problems_of):
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    problems_of("search", globally_random)
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states


def test_a_name_means_every_kind_that_has_it(registry):
    plugins = {v.plugin for v in check_plugins(registry, "none")}
    assert plugins == {"correction none", "recalibration none"}  # there is no search to check in search none
    assert {v.plugin for v in check_plugins(registry, "none", "correction")} == {"correction none"}
    assert {v.plugin for v in check_plugins(registry, "2:4")} == {"allocation 2:4"}


def test_an_unknown_name_gets_the_nearest(registry):
    with pytest.raises(UserError, match="did you mean 'magnitude'"):
        check_plugins(registry, "magnitud")
    with pytest.raises(UserError, match="did you mean 'scorer'"):
        check_plugins(registry, "magnitude", "scorrer")
