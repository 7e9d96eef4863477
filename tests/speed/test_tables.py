"""The measurement as text: a hand-made result, since printing does not depend on how it was obtained."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tests.speed.tables import TIMED, print_result


def result(precision: str = "float32", largest_points: float = 0.0) -> dict:
    return {
        "on": "digits", "model": "digits_cnn", "repetitions": 3,
        "grid": {"cells": 9, "unique": 7, "test_images": 200, "processes": 1},
        "machine": {"processor": "a processor", "cores": 2, "memory_gib": 8, "device": "cpu", "load": 0.5,
                    "packages": {"torch": "2.5"}},
        "settings": {"precision": precision, "memory_format": "contiguous", "batch": 128, "threads": 1,
                     "measured": {"float32": 812.4}},
        "counters": {"sweep": {"evaluations": 7}},
        "memory_mib": {"process": 512.0},
        "agreement": {"equal": 8, "cells": 9, "largest_points": largest_points, "image_points": 0.5,
                      "processes_largest_points": 0.0},
        "seconds": {name: [1.0, 3.0, 2.0] for name in TIMED},
        "goals": [
            {"goal": "F1", "what": "engine / forward", "most": 1.1, "least": None, "median": 1.25, "low": 1.0,
             "high": 1.5, "met": False},
            {"goal": "F2", "what": "loop / engine", "most": None, "least": 3.0, "median": 4.0, "low": 4.0,
             "high": 4.0, "met": True},
        ],
    }  # fmt: skip


@pytest.fixture
def printed():
    def text(**changed) -> str:
        stream = io.StringIO()
        print_result(result(**changed), Console(file=stream, width=200))
        return "\n".join(" ".join(line.split()) for line in stream.getvalue().splitlines())

    return text


def test_network_agreement_seconds_and_goals_are_printed(printed):
    text = printed()
    assert "digits_cnn on digits: 9 cells, 7 unique masks, 200 test images" in text
    assert "equal in 8 of 9 cells" in text
    for what in TIMED.values():
        assert f"{what} 2 1 - 3" in text
    assert "F1 engine / forward 1.25 1 - 1.5 at most 1.1 missed" in text
    assert "F2 loop / engine 4 4 at least 3 met" in text


@pytest.mark.parametrize(("precision", "reason"), [("bfloat16", "from the engine's bfloat16"), ("float32", "rounding")])
def test_a_difference_is_explained(printed, precision, reason):
    text = printed(precision=precision, largest_points=0.5)
    assert "largest difference 0.50 points" in text
    assert reason in text


def test_equal_rows_need_no_explanation(printed):
    assert "rounding" not in printed()
