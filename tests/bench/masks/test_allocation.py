from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from bench.core.errors import NotApplicable
from bench.masks.allocation import global_, per_output, uniform
from bench.masks.build import build_masks
from bench.masks.order import keep_order
from bench.models.tensors import ScoreMap
from bench.models.unit_space import PrunableLayer, UnitSpace

Space = Callable[..., UnitSpace]


def test_uniform_keeps_the_same_share_of_every_layer(space: Space) -> None:
    budget = uniform(space((2, 5), (4, 5, 1, 1)), None, 0.7, None)
    assert budget.keep.tolist() == [3, 6]
    assert budget.segment.bincount().tolist() == [10, 20]


def test_global_counts_once_over_the_model(space: Space) -> None:
    # per layer 0.5 of 5 and 7 would prune 2 + 4; of 12 it prunes 6
    budget = global_(space((5,), (7,)), None, 0.5, None)
    assert budget.keep.tolist() == [6]
    assert budget.segment.tolist() == [0] * 12


def test_per_output_compares_the_weights_of_one_row(space: Space) -> None:
    units = space((2, 4), (3, 2, 1, 1))
    budget = per_output(units, None, 0.5, None)
    assert budget.segment.tolist() == [0] * 4 + [1] * 4 + [2] * 2 + [3] * 2 + [4] * 2
    assert budget.keep.tolist() == [2, 2, 1, 1, 1]


def test_per_output_masks_keep_the_best_of_each_row(space: Space) -> None:
    units = space((3, 8), (2, 2, 2, 2))
    generator = torch.Generator().manual_seed(0)
    scores = ScoreMap({x.name: torch.rand(x.unit_shape, generator=generator).double() for x in units.layers})
    masks = build_masks(units, keep_order(units, scores, scores), per_output(units, scores, 0.75, None))
    for name in units.names:
        rows, kept = scores[name].flatten(1), masks[name].flatten(1)
        for row, mask in zip(rows, kept, strict=True):
            assert sorted(row[mask].tolist()) == sorted(row.tolist())[-2:]


def test_per_output_does_not_apply_to_channels() -> None:
    units = UnitSpace("channel", (PrunableLayer("conv", (4, 1, 3, 3), (4,)),))
    with pytest.raises(NotApplicable, match="channel"):
        per_output(units, None, 0.5, None)
