from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import CellError
from bench.masks.allocation import uniform
from bench.masks.build import build_masks
from bench.masks.order import keep_order, tied_units
from bench.models.tensors import ScoreMap
from bench.models.unit_space import PrunableLayer, UnitSpace
from bench.scorers.rank import normalised_rank

few_values = st.sampled_from([0.0, -0.0, 0.25, 1.0, 1.5, 3.0])
layers = st.lists(st.integers(1, 12), min_size=1, max_size=4)


def _units(sizes: list[int]) -> UnitSpace:
    return UnitSpace("channel", tuple(PrunableLayer(f"l{i}", (n, 1), (n,)) for i, n in enumerate(sizes)))


def _draw(data: st.DataObject, units: UnitSpace) -> dict[str, torch.Tensor]:
    return {
        layer.name: torch.tensor(data.draw(st.lists(few_values, min_size=layer.size, max_size=layer.size)))
        .double()
        .abs()
        for layer in units.layers
    }


@given(sizes=layers, secondary=st.booleans(), data=st.data())
def test_order_is_numpys_lexsort(sizes: list[int], secondary: bool, data: st.DataObject) -> None:
    units = _units(sizes)
    scores, magnitudes, other = (_draw(data, units) for _ in range(3))
    key = other if secondary else magnitudes
    flat = [units.flatten(x).numpy() for x in (scores, key)]
    expected = np.lexsort((np.arange(units.total), -flat[1], -flat[0]))
    order = keep_order(units, ScoreMap(scores, secondary=other if secondary else None), magnitudes)
    assert order.tolist() == expected.tolist()


@settings(max_examples=200)
@given(sizes=layers, steps=st.lists(st.integers(0, 2), min_size=12, max_size=12), data=st.data())
def test_any_nondecreasing_function_of_rank_selects_the_units_of_rank(
    sizes: list[int], steps: list[int], data: st.DataObject
) -> None:
    """Lemma 1, held non-strictly by the tie rule: a step function of u with whole plateaus."""
    units = _units(sizes)
    magnitudes = _draw(data, units)
    rank = {name: normalised_rank(m) for name, m in magnitudes.items()}
    heights = torch.tensor(steps, dtype=torch.float64).cumsum(0)
    phi = {name: heights[((u - 0.1) / 0.9 * 11).round().long()] for name, u in rank.items()}
    budget = uniform(units, None, data.draw(st.sampled_from([0.3, 0.5, 0.9])), None)
    by_rank = build_masks(units, keep_order(units, ScoreMap(rank), magnitudes), budget)
    by_phi = build_masks(units, keep_order(units, ScoreMap(phi), magnitudes), budget)
    assert by_phi.digest() == by_rank.digest()
    by_magnitude = build_masks(units, keep_order(units, ScoreMap(magnitudes), magnitudes), budget)
    assert by_magnitude.digest() == by_rank.digest()


def test_ties_by_hand() -> None:
    units = _units([3, 3])
    scores = {"l0": torch.tensor([1.0, 2.0, 1.0]).double(), "l1": torch.tensor([1.0, 2.0, 0.0]).double()}
    magnitudes = {"l0": torch.tensor([5.0, 1.0, 6.0]), "l1": torch.tensor([6.0, 1.0, 9.0])}
    # score 2: equal magnitudes, the earlier layer first; score 1: magnitude 6 (two layers), then 5
    assert keep_order(units, ScoreMap(scores), magnitudes).tolist() == [1, 4, 2, 3, 0, 5]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_refuses_scores_that_cannot_be_ordered(bad: float) -> None:
    scores = ScoreMap({"l0": torch.tensor([1.0, bad]).double()})
    with pytest.raises(CellError, match="1 of 2 scores of l0"):
        keep_order(_units([2]), scores, scores)


@given(sizes=layers, data=st.data())
def test_tied_units_are_those_a_loop_finds(sizes: list[int], data: st.DataObject) -> None:
    units = _units(sizes)
    scores, magnitudes = _draw(data, units), _draw(data, units)
    expected = sum(
        any(scores[n][j] == scores[n][i] and magnitudes[n][j] != magnitudes[n][i] for j in range(len(scores[n])))
        for n in units.names
        for i in range(len(scores[n]))
    )
    score_map = ScoreMap(scores)
    assert tied_units(units, score_map, magnitudes, keep_order(units, score_map, magnitudes)) == expected


def test_scores_that_do_not_decrease_with_magnitude_are_not_sorted():
    units = _units([40, 30])
    generator = torch.Generator().manual_seed(0)
    magnitudes = {layer.name: torch.randint(9, layer.unit_shape, generator=generator) / 3 for layer in units.layers}
    by_magnitude = keep_order(units, ScoreMap({name: m.double() for name, m in magnitudes.items()}), magnitudes)
    for function, sorts in ((torch.square, False), (torch.floor, False), (torch.neg, True)):
        scores = ScoreMap({name: function(m).double() for name, m in magnitudes.items()})
        found = keep_order(units, scores, magnitudes, by_magnitude)
        assert torch.equal(found, keep_order(units, scores, magnitudes))
        assert (found is by_magnitude) is not sorts
    secondary = ScoreMap({name: m.double() for name, m in magnitudes.items()}, secondary={
        name: -torch.arange(m.numel()).double() for name, m in magnitudes.items()
    })  # fmt: skip
    assert torch.equal(keep_order(units, secondary, magnitudes, by_magnitude), keep_order(units, secondary, magnitudes))
