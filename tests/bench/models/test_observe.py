"""Inputs and outputs of layers, against modules called by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.core.errors import CellError
from bench.models.observe import observe
from bench.models.unit_space import PrunableLayer
from bench.models.units import find_units


def calls_of(net: nn.Module, x: torch.Tensor):
    layers = find_units(net, "weight", (), x[:1]).layers
    found = []
    observe(net, layers, [x], found.append)
    return found


CONVOLUTIONS = {
    "plain": nn.Conv2d(3, 4, 3, stride=2, padding=1),
    "grouped": nn.Conv2d(4, 6, 3, groups=2),
    "dilated 1-D": nn.Conv1d(3, 4, 3, dilation=2),
    "transposed": nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_convolution_is_the_matrix_product_of_its_rows_and_patches(name):
    layer = CONVOLUTIONS[name]
    net = nn.Sequential(layer)
    x = torch.randn(2, layer.in_channels, *[7] * (layer.weight.dim() - 2))
    (call,) = calls_of(net, x)
    patches = call.patches(call.inputs())  # (groups, k, columns)
    rows = call.layer.rows(layer.weight.detach()).view(patches.shape[0], -1, patches.shape[1])
    output = (rows @ patches).flatten(0, 1)  # (channels, columns)
    expected = net(x).detach() - layer.bias.detach().view(-1, *[1] * (x.dim() - 2))
    torch.testing.assert_close(output, expected.transpose(0, 1).flatten(1), rtol=1e-4, atol=1e-5)


def test_outputs_have_the_bias():
    net = nn.Sequential(nn.Linear(3, 2))
    x = torch.randn(4, 3)
    (call,) = calls_of(net, x)
    torch.testing.assert_close(call.outputs(net), net(x).detach())


def test_parts_cover_the_inputs():
    net = nn.Sequential(nn.Conv2d(3, 2, 3))
    x = torch.randn(5, 3, 100, 100)
    (call,) = calls_of(net, x)
    parts = list(call.parts())
    assert len(parts) > 1
    assert torch.equal(torch.cat(parts), x)


def test_a_layer_that_a_batch_does_not_use_is_an_error():
    class Picky(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(2, 2)

        def forward(self, x):
            return self.first(x) if len(x) == 1 else x

    layer = PrunableLayer("first", (2, 2), (2, 2))
    with pytest.raises(CellError, match="did not use first"):
        observe(Picky(), [layer], [torch.ones(3, 2)], [].append)
