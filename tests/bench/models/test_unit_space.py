"""Layouts of weights and the space of all units, by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.core.errors import NotApplicable
from bench.models.unit_space import Coupling, Layout, PrunableLayer, UnitSpace

SPACE = UnitSpace("weight", (PrunableLayer("a", (2, 3), (2, 3)), PrunableLayer("b", (4,), (4,))))


def test_flatten_and_split_undo_each_other():
    flat = torch.arange(10.0)
    split = SPACE.split(flat)
    assert {name: tuple(part.shape) for name, part in split.items()} == {"a": (2, 3), "b": (4,)}
    assert torch.equal(SPACE.flatten(split), flat)
    assert SPACE.layer_index().tolist() == [0] * 6 + [1] * 4
    assert (SPACE.total, SPACE.names) == (10, ("a", "b"))


def test_rows_of_a_transposed_convolution_are_its_output_channels():
    layer = nn.ConvTranspose2d(3, 5, 2)  # (in, out, kernel, kernel)
    layout = Layout(tuple(layer.weight.shape), (1, 0, 2, 3), channels=5)
    rows = layout.rows(layer.weight.detach())
    for channel in range(5):
        assert torch.equal(rows[channel], layer.weight[:, channel].detach().flatten())
    assert torch.equal(layout.weight(rows, tuple(layer.weight.shape)), layer.weight.detach())


@pytest.mark.parametrize("groups", [1, 2])
def test_sizes_of_a_plain_layout(groups):
    layout = Layout.plain((6, 4, 3, 3), groups)
    assert (layout.channels, layout.groups, layout.inputs, layout.weights_per_channel) == (6, groups, 4, 36)
    assert layout.moment_bytes == 8 * groups * 36**2


def test_a_layer_whose_uses_do_not_agree_has_no_channels():
    layer = PrunableLayer("a", (2, 3), (2, 3), regular=False)
    with pytest.raises(NotApplicable, match="a: its uses do not agree"):
        _ = layer.channels


def test_the_weight_of_a_layer_is_found_under_its_name_or_its_own_path():
    assert PrunableLayer("conv", (1, 1), (1,)).parameter == "conv.weight"
    assert PrunableLayer("in_proj", (1, 1), (1,), parameter="in_proj").parameter == "in_proj"


def test_members_of_coupled_units_are_named_by_layer_and_channel():
    channels = UnitSpace("group", (PrunableLayer("a", (1, 1), (1,)), PrunableLayer("b", (2, 1), (2,))))
    units = UnitSpace("group", (PrunableLayer("pair", (1, 1), (1,)),))
    coupling = Coupling(units, {"pair": torch.tensor([[0, 2]])})
    assert coupling.named(channels) == [(("a", 0), ("b", 1))]
    assert coupling.channels(torch.tensor([False]), 3).tolist() == [False, True, False]
    assert coupling.means(torch.tensor([[1.0, 9.0, 2.0], [0.0, 0.0, 1.0]]))["pair"].tolist() == [[1.5], [0.5]]


def test_the_channels_that_a_reader_reads():
    layer = PrunableLayer("qkv", (4, 1), (4,), read=(3, 2))
    assert layer.read_of(torch.arange(4)).tolist() == [3, 2]
    assert PrunableLayer("fc1", (4, 1), (4,)).read_of(torch.arange(4)).tolist() == [0, 1, 2, 3]
