from __future__ import annotations

import torch
from scipy.stats import kstest
from torch import nn

from bench.models.tensors import ScoreMap
from bench.models.units import find_units
from bench.models.view import ModelView
from bench.scorers.random import random


def _scores(seed: int) -> ScoreMap:
    net = nn.Sequential(nn.Linear(40, 50), nn.Linear(50, 4))
    view = ModelView(net, find_units(net, "weight", (), torch.zeros(1, 40)))
    return random(view, None, torch.Generator().manual_seed(seed))


def test_depends_on_the_seed_alone() -> None:
    first, again, other = _scores(1), _scores(1), _scores(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["0"], other["0"])


def test_is_uniform() -> None:
    assert kstest(_scores(3)["0"].flatten().numpy(), "uniform").pvalue > 0.01
