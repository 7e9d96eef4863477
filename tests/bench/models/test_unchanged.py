"""Traces that a method left on a model."""

import pytest
import torch
from torch import nn

from bench.models.unchanged import left_behind, marks


@pytest.fixture
def net():
    return nn.Sequential(nn.Linear(1, 1), nn.Dropout()).eval()


def leave_gradient(net):
    net(torch.ones(1, 1)).sum().backward()


def leave_training_mode(net):
    net[1].train()


def leave_hook(net):
    net[0].register_forward_hook(lambda *_: None)


@pytest.mark.parametrize(
    ("leave", "message"),
    [
        (leave_gradient, "leaves gradients on the model"),
        (leave_training_mode, "leaves 1 in training mode"),
        (leave_hook, "leaves a hook on 0"),
    ],
)
def test_each_trace_is_named(net, leave, message):
    before = marks(net)
    assert left_behind(net, before) is None
    leave(net)
    assert left_behind(net, before) == message


def test_hooks_of_the_model_itself_are_no_trace(net):
    leave_hook(net)
    assert left_behind(net, marks(net)) is None
