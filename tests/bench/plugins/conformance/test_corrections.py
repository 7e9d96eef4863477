"""What the suite reports of broken corrections."""

from __future__ import annotations

import pytest
import torch


def good_correction(context):
    return {}


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


FACTORS, PRUNED = "finite positive factors", "Keep what was pruned at zero"
BROKEN = [
    (nan_factor, FACTORS, "a factor of features.0 is not finite and positive"),
    (negative_factor, FACTORS, "a factor of features.0 is not finite and positive"),
    (odd_factor, FACTORS, "returns factors of 'head', which is no prunable layer"),
    (one_factor, FACTORS, "factors of features.0 have shape (), expected (16,)"),
    (no_factors, FACTORS, "returns NoneType, not a Mapping of factors"),
    (revives, PRUNED, "pruned values of features.0.weight come back"),
    (revives_removed_channel, PRUNED, "DigitsCNN, channel: pruned values of features."),
    (nan_weight, PRUNED, "features.0.weight is NaN or infinite"),
    (adds_a_layer, PRUNED, "changes the layers of the model: affine.bias"),
    (changes_dense, "Leave the dense model", "changes the model: features.0.weight"),
    (leaves_training, "Leave the dense model", "leaves the model in training mode"),
    (random_correction, "same model twice", "two calls give different models: features.0.weight"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "check", "problem"), BROKEN)
def test_a_broken_correction_is_named_with_what_it_broke(problems_of, function, check, problem):
    [how] = [how for what, how in problems_of("correction", function).items() if check in what]
    assert problem in how


def test_a_broken_correction_breaks_no_other_rule(problems_of):
    [problem] = problems_of("correction", changes_dense).values()
    assert "changes the model" in problem


def test_a_good_correction_of_a_user_passes(problems_of):
    assert problems_of("correction", good_correction) == {}
