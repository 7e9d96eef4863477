"""Work that does not fit is repeated with fewer calibration images at a time."""

from __future__ import annotations

import pytest

from bench.core.errors import CellError
from bench.measure.out_of_memory import in_smaller_parts


def fitting(shared, most):
    """Work that fits with at most so many images at a time; it returns that number and counts its calls."""
    calls = []

    def work():
        images = shared.part or 32
        calls.append(images)
        if images > most:
            raise MemoryError
        return images

    return work, calls


def test_what_fits_is_done_once(shared):
    work, calls = fitting(shared, 32)
    assert in_smaller_parts(work, shared, 32) == 32
    assert calls == [32]
    assert shared.part is None


def test_the_first_repetition_changes_nothing_and_each_further_one_halves(shared):
    work, calls = fitting(shared, 8)
    assert in_smaller_parts(work, shared, 32) == 8
    assert calls == [32, 32, 16, 8]
    assert shared.part == 8  # and stays so for the cells that follow


def test_not_even_one_image_fails_the_cell(shared):
    work, calls = fitting(shared, 0)
    with pytest.raises(CellError, match="out of memory, with one calibration image at a time too"):
        in_smaller_parts(work, shared, 4)
    assert calls == [32, 32, 2, 1]


def test_any_other_error_is_raised_at_once(shared):
    def work():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        in_smaller_parts(work, shared, 4)
