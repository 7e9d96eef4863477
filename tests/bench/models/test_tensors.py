"""Score maps and mask sets."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score

from bench.core.errors import CellError
from bench.models.tensors import FeatureMap, MaskSet, ScoreMap
from bench.models.unit_space import Coupling, PrunableLayer, UnitSpace

UNITS = UnitSpace("weight", (PrunableLayer("a", (2, 3), (2, 3)), PrunableLayer("b", (4,), (4,))))


def scores(**changes: torch.Tensor) -> ScoreMap:
    return ScoreMap({"a": torch.zeros(2, 3).double(), "b": torch.zeros(4).double(), **changes})


def masks(bits: list[bool]) -> MaskSet:
    return MaskSet(UNITS, UNITS.split(torch.tensor(bits)))


def test_flatten_and_split_undo_each_other():
    flat = torch.arange(10.0)
    split = UNITS.split(flat)
    assert {name: tuple(part.shape) for name, part in split.items()} == {"a": (2, 3), "b": (4,)}
    assert torch.equal(UNITS.flatten(split), flat)
    assert UNITS.layer_index().tolist() == [0] * 6 + [1] * 4


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"c": torch.zeros(1).double()}, "other layers than the model: c"),
        ({"b": torch.zeros(3).double()}, "b have shape (3,), expected (4,)"),
        ({"b": torch.zeros(4)}, "b are torch.float32"),
        ({"a": torch.full((2, 3), float("nan")).double()}, "6 of 6 scores of a are NaN or infinite"),
        ({"b": torch.tensor([0, 1, float("inf"), 2]).double()}, "1 of 4 scores of b are NaN or infinite"),
    ],
)
def test_a_wrong_score_map_is_named(wrong, message):
    with pytest.raises(CellError) as caught:
        scores(**wrong).validate(UNITS)
    assert message in str(caught.value)


def test_a_right_score_map_passes():
    good = scores()
    good.validate(UNITS)
    assert list(good) == ["a", "b"]


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(CellError, match="mask of a"):
        MaskSet(UNITS, {"a": torch.ones(3, dtype=torch.bool), "b": torch.ones(4, dtype=torch.bool)})


BITS = st.lists(st.booleans(), min_size=10, max_size=10)


@given(BITS, BITS)
def test_overlap_is_the_jaccard_index_and_digest_tells_masks_apart(first, second):
    ours, theirs = masks(first), masks(second)
    expected = jaccard_score(first, second, zero_division=1.0)
    assert ours.overlap(UNITS.flatten(theirs).nonzero().squeeze(1)) == pytest.approx(expected)
    assert (ours.digest() == theirs.digest()) == (first == second)
    assert ours.kept == sum(first)


#: Two units of two channels each, in two layers; the third channel of the second layer belongs to none.
PAIRS = UnitSpace(
    "group", (PrunableLayer("a", (2, 1), (2,)), PrunableLayer("b", (3, 1), (3,))),
    coupling=Coupling(UnitSpace("group", (PrunableLayer("pair", (2, 1), (2,)),)),
                      {"pair": torch.tensor([[0, 3], [1, 2]])}),
)  # fmt: skip


def test_scores_of_coupled_channels_become_means_and_those_of_units_stay():
    channels = {"a": torch.tensor([1.0, 2.0]).double(), "b": torch.tensor([6.0, 5.0, 9.0]).double()}
    found = ScoreMap(channels, secondary=channels, notes={"k": 1}).ranked(PAIRS)
    assert (found["pair"].tolist(), dict(found.notes)) == ([3.0, 4.0], {"k": 1})
    assert found.secondary is not None
    assert found.secondary["pair"].tolist() == [3.0, 4.0]
    assert found.ranked(PAIRS) is found
    plain = scores()
    assert plain.ranked(UNITS) is plain
    with pytest.raises(CellError, match="expected"):
        plain.ranked(PAIRS)


def test_features_of_coupled_channels_become_means():
    features = {"a": torch.tensor([[1.0, 2.0], [0.0, 0.0]]).double(),
                "b": torch.tensor([[6.0, 5.0, 9.0], [1.0, 2.0, 9.0]]).double()}  # fmt: skip
    found = FeatureMap(("x", "y"), features).ranked(PAIRS)
    assert found.features["pair"].tolist() == [[3.0, 4.0], [1.0, 0.5]]
    assert found.ranked(PAIRS) is found


def test_masks_of_units_are_those_of_all_their_channels():
    chosen = MaskSet.from_flat(PAIRS.ranked, torch.tensor([True, False]))
    found = chosen.members(PAIRS)
    assert found.flat.tolist() == [True, False, False, True, True]
    assert (found.counted, found.units) == (chosen, PAIRS)
    plain = masks([True] * 10)
    assert plain.members(UNITS) is plain
    assert plain.counted is plain
