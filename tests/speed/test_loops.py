"""The baselines that the engine is compared with."""

from __future__ import annotations

import torch

from tests.speed.loops import forward_seconds


def test_forward_passes_are_timed_for_every_state():
    network, seen = torch.nn.Linear(2, 2), []
    network.register_forward_hook(lambda module, *_: seen.append(float(module.weight.sum())))
    states = [{name: torch.full_like(t, value) for name, t in network.state_dict().items()} for value in (1.0, 2.0)]
    assert forward_seconds(network, states, torch.ones(6, 2).split(3)) > 0
    assert seen == [4.0, 4.0, 8.0, 8.0]
