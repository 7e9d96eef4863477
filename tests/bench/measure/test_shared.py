"""Each shared value is computed once, found again by its key, and dropped when newer ones take its place."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
import torch

from bench.core.errors import NotApplicable
from bench.measure.shared import Once, computing_order


class Counted:
    """A computation that counts its calls."""

    def __init__(self, result=None, error=None):
        self.calls, self._result, self._error = 0, result, error

    def __call__(self):
        self.calls += 1
        if self._error is not None:
            raise self._error
        return self._result


def test_a_value_is_computed_once_per_key_and_kept_as_long_as_there_is_room():
    first, second, third = Counted("a"), Counted("b"), Counted(None)
    once = Once(2)
    for _ in range(3):
        assert once.get({"key": 1}, first) == "a"  # keys need not be hashable
        assert once.get({"key": 2}, second) == "b"
    assert (first.calls, second.calls) == (1, 1)
    assert once.get({"key": 3}, third) is None
    assert once.get({"key": 3}, third) is None
    assert third.calls == 1
    once.get({"key": 2}, second)
    once.get({"key": 1}, first)
    assert (first.calls, second.calls) == (2, 1)


def test_a_failure_is_raised_again_without_a_second_attempt():
    failing = Counted(error=NotApplicable("no such layer"))
    once = Once()
    for _ in range(2):
        with pytest.raises(NotApplicable, match="no such layer"):
            once.get(1, failing)
    assert failing.calls == 1


def test_running_out_of_memory_is_attempted_again():
    failing = Counted(error=MemoryError())
    once = Once()
    for _ in range(2):
        with pytest.raises(MemoryError):
            once.get(1, failing)
    assert failing.calls == 2
    once.get(1, Counted("fits"))
    assert once.get(1, failing) == "fits"


def test_forgotten_values_are_computed_again():
    computed = Counted(7)
    once = Once()
    once.get(1, computed)
    once.forget()
    assert once.get(1, computed) == 7
    assert computed.calls == 2


def test_the_order_of_a_nested_plan_is_kept(cells):
    assert computing_order(cells) == list(cells)


@pytest.mark.parametrize("seed", range(3))
def test_cells_that_share_work_follow_each_other_in_any_plan(cells, seed):
    shuffled = list(cells)
    random.Random(seed).shuffle(shuffled)
    ordered = computing_order(shuffled)
    assert {cell.id for cell in ordered} == {cell.id for cell in cells}
    for axes in (("granularity",), ("granularity", "scorer"), ("granularity", "scorer", "allocation", "sparsity")):
        keys = [tuple(str(getattr(cell, axis)) for axis in axes) for cell in ordered if not cell.is_dense]
        changes = sum(one != other for one, other in pairwise(keys))
        assert changes == len(set(keys)) - 1  # each combination forms one run


def test_values_of_the_dense_model_are_computed_once(shared, cells):
    draw = cells[0].calibration
    moments = shared.dense_moments("weight", draw)
    assert shared.dense_moments("weight", draw) is moments
    assert shared.counters["dense_statistics"] == 1
    assert shared.counters["forward_passes"] == draw.images
    for granularity in ("weight", "channel", "weight"):
        shared.magnitudes(granularity)
    assert shared.counters["sorts"] == 2


def test_magnitudes_are_in_descending_order(shared):
    magnitudes = shared.magnitudes("channel")
    flat = shared.units("channel").flatten(magnitudes.scores)[magnitudes.order]
    assert torch.equal(flat, flat.sort(descending=True).values)


def test_a_calibration_draw_is_read_again_in_smaller_parts(shared, cells):
    whole = shared.calibration(cells[0].calibration)
    shared.part = 3
    parts = shared.calibration(cells[0].calibration)
    assert (whole.part, parts.part) == (None, 3)
    assert torch.equal(whole.images, parts.images)
    assert max(len(images) for images, _ in parts.parts()) == 3


def test_methods_of_the_catalogue_are_ours_and_those_of_a_file_are_not(shared, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def score(view, calibration, generator):\n    return None\n")
    assert shared.is_ours("scorer", "taylor")
    assert not shared.is_ours("scorer", f"{file}:score")
