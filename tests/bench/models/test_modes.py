"""Eval mode inside a block."""

import pytest
from torch import nn

from bench.models.modes import evaluating


def test_every_flag_is_restored_even_after_an_error():
    net = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm1d(2), nn.Dropout())).train()
    net[1][0].eval()
    before = [module.training for module in net.modules()]
    with evaluating(net):
        assert not any(module.training for module in net.modules())
    assert [module.training for module in net.modules()] == before
    with pytest.raises(ZeroDivisionError), evaluating(net):
        raise ZeroDivisionError
    assert [module.training for module in net.modules()] == before
