"""Tests of `bench.models.channel_labels`."""

from __future__ import annotations

import torch

from bench.models.channel_labels import STAYS, Labels, along, compressed, spread


def test_joined_labels_have_one_root():
    labels = Labels()
    one, other, third = (labels.fresh(3) for _ in range(3))
    labels.join(one, other.flip(0))
    labels.join(other, third)
    roots = labels.roots()
    assert torch.equal(roots[one], roots[other.flip(0)])
    assert torch.equal(roots[other], roots[third])
    assert len(set(roots.tolist())) == 4  # three channels, and what stays


def test_shapes_are_broadcast_when_labels_are_joined():
    labels = Labels()
    channels, groups = labels.fresh(4), labels.fresh(2)
    labels.join(channels.view(2, 2), groups.unsqueeze(1))
    assert labels.roots()[channels].tolist() == [1, 1, 3, 3]


def test_labels_joined_with_one_that_stays_stay():
    labels = Labels()
    one, other = labels.fresh(2), labels.fresh(2)
    labels.join(one, other)
    labels.keep(other[1:])
    assert labels.roots()[one].tolist() == [1, STAYS]


def test_axes_without_changes_are_compressed_and_spread_again():
    vector = torch.tensor([1.0, torch.nan, 3.0])
    tensor = spread(vector, 1, (2, 3, 4)).clone()
    assert compressed(tensor).shape == (1, 3, 1)
    assert torch.equal(along(tensor, 1).nan_to_num(0), vector.nan_to_num(0))
    assert along(tensor, 2) is None
