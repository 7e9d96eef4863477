"""What the suite reports of broken recalibrations."""

from __future__ import annotations

import pytest
import torch


def good_recalibration(model, calibration):
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean += 0.5


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


BROKEN = [
    (changes_parameter, "Change BatchNorm statistics alone", "changes features.0.weight, which is no"),
    (infinite_statistics, "to finite numbers", "features.1.running_var is NaN or infinite"),
    (random_statistics, "same statistics twice", "different statistics: features.1.running_mean"),
    (leaves_train_mode, "Leave the draw", "leaves the model in training mode"),
    (changes_recalibration_draw, "Leave the draw", "changes the calibration draw"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "check", "problem"), BROKEN)
def test_a_broken_recalibration_is_named_with_what_it_broke(problems_of, function, check, problem):
    [how] = [how for what, how in problems_of("recalibration", function).items() if check in what]
    assert problem in how


def test_a_broken_recalibration_breaks_no_other_rule(problems_of):
    [problem] = problems_of("recalibration", random_statistics).values()
    assert "two calls give different statistics" in problem


def test_a_good_recalibration_of_a_user_passes(problems_of):
    assert problems_of("recalibration", good_recalibration) == {}
