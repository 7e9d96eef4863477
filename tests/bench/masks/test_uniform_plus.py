"""Uniform pruning that spares the first layer and the classifier, against counts worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bench.core.errors import NotApplicable
from bench.masks.uniform_plus import uniform_plus
from bench.models.counts import keep_count
from bench.models.unit_space import PrunableLayer, UnitSpace
from bench.models.units import find_units


def _units(*sizes: int, stem: str | None = "layer0", classifier: tuple[str, ...] = ()) -> UnitSpace:
    layers = tuple(PrunableLayer(f"layer{i}", (n, 1), (n, 1)) for i, n in enumerate(sizes))
    return UnitSpace("weight", layers, stem, classifier)


def test_the_first_layer_is_dense_and_the_others_have_one_share() -> None:
    # 60 of 300 are kept: 20 of the first, 40 of 280 of the others
    budget = uniform_plus(_units(20, 70, 210), None, 0.8, None)
    assert budget.keep.tolist() == [20, 10, 30]
    assert budget.notes == {"dense_layers": ["layer0"]}
    assert budget.segment.bincount().tolist() == [20, 70, 210]


def test_the_classifier_loses_at_most_four_fifths() -> None:
    # 100 of 1000 are kept: 10 of the first, 20 of the classifier's 100, 70 of the other 890
    units = _units(10, 445, 445, 100, classifier=("layer3",))
    budget = uniform_plus(units, None, 0.9, None)
    assert budget.keep.tolist() == [10, 35, 35, 20]
    assert budget.notes == {"dense_layers": ["layer0"], "limited_layers": ["layer3"]}
    # at 0.5 the limit is out of reach: 490 of 990
    mild = uniform_plus(units, None, 0.5, None)
    assert mild.keep.tolist() == [10, 220, 220, 50]
    assert mild.notes == {"dense_layers": ["layer0"]}


def test_the_limit_is_rounded_towards_keeping() -> None:
    # 63 of 307 are kept, a fifth of the 300 after the first: 1.4 of the classifier's 7 would be 1, 86 % pruned
    budget = uniform_plus(_units(3, 297, 7, classifier=("layer2",)), None, 0.794788, None)
    assert budget.keep.tolist() == [3, 58, 2]


def test_every_part_of_a_classifier_has_the_limit() -> None:
    budget = uniform_plus(_units(5, 900, 50, 45, classifier=("layer2", "layer3")), None, 0.9, None)
    assert budget.keep.tolist() == [5, 76, 10, 9]
    assert budget.notes["limited_layers"] == ["layer2", "layer3"]


def test_layers_without_units_are_left_out() -> None:
    budget = uniform_plus(_units(100, 300, stem="excluded", classifier=("excluded, too",)), None, 0.9, None)
    assert budget.keep.tolist() == [10, 30]
    assert budget.notes == {"dense_layers": []}


def test_first_layer_and_classifier_are_those_of_the_network() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(),
        nn.Linear(32, 10),
    )  # fmt: skip
    example = torch.zeros(1, 1, 8, 8)
    whole = find_units(net, "weight", (), example)
    assert (whole.stem, whole.classifier) == ("0", ("6",))
    # 1220 units, 122 kept: 36 of the first, 64 of the classifier's 320, 22 of 288 + 576
    budget = uniform_plus(whole, None, 0.9, None)
    assert budget.keep.tolist() == [36, 7, 15, 64]
    assert budget.notes == {"dense_layers": ["0"], "limited_layers": ["6"]}
    usual = find_units(net, "weight", ("head",), example)
    assert (usual.stem, usual.classifier) == ("0", ("6",))  # known, though it has no units
    assert uniform_plus(usual, None, 0.9, None).keep.tolist() == [36, 18, 36]
    channels = find_units(net, "channel", ("head",), example)
    assert uniform_plus(channels, None, 0.5, None).keep.tolist() == [4, 3, 3]
    with pytest.raises(NotApplicable, match=r"4 of 4 units of 0.*more than the 2 units that this sparsity leaves"):
        uniform_plus(channels, None, 0.9, None)
    without = find_units(net, "weight", ("head", "stem"), example)
    assert uniform_plus(without, None, 0.75, None).keep.tolist() == [72, 144]


@pytest.mark.parametrize(
    ("units", "sparsity", "reason"),
    [
        (_units(50, 50), 0.6, r"50 of 50 units of layer0\): more than the 40 units"),
        (_units(10, 10, 80, classifier=("layer2",)), 0.8, r"10 of 10 units of layer0 and 16 of 80 units of layer2"),
        (_units(40), 0.5, "40 of 40 units of layer0"),
    ],
)
def test_a_total_that_cannot_be_reached_is_skipped_with_the_reason(
    units: UnitSpace, sparsity: float, reason: str
) -> None:
    with pytest.raises(NotApplicable, match=reason):
        uniform_plus(units, None, sparsity, None)
    assert uniform_plus(units, None, 0.0, None).keep.tolist() == [layer.size for layer in units.layers]


@given(
    sizes=st.lists(st.integers(1, 500), min_size=1, max_size=7), classifier=st.sets(st.integers(0, 6)),
    stem=st.booleans(), sparsity=st.integers(0, 999).map(lambda thousandths: thousandths / 1000),
)  # fmt: skip
def test_the_total_is_exact_and_the_rules_hold(
    sizes: list[int], classifier: set[int], stem: bool, sparsity: float
) -> None:
    units = replace(_units(*sizes), stem="layer0" if stem else None, classifier=tuple(f"layer{i}" for i in classifier))
    total = keep_count(sum(sizes), sparsity)
    least = [n if stem and i == 0 else -(-n // 5) if i in classifier else 0 for i, n in enumerate(sizes)]
    try:
        keep = uniform_plus(units, None, sparsity, None).keep.tolist()
    except NotApplicable:
        assert sum(least) > total or (stem and len(sizes) == 1)
        return
    assert sum(keep) == total
    assert all(k >= low for k, low in zip(keep, least, strict=True))
    free = [(k, n) for i, (k, n) in enumerate(zip(keep, sizes, strict=True)) if k != least[i] or i not in classifier]
    free = free[1:] if stem else free
    kept, size = sum(k for k, _ in free), sum(n for _, n in free)
    assert all(abs(k - Fraction(kept * n, size)) < 2 for k, n in free)
