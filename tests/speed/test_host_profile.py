"""The profile of the host's work names functions of the engine."""

from __future__ import annotations

import pytest

from tests.speed.host_profile import host_profile, profile_lines
from tests.speed.measure import Grid

GRID = Grid(
    {"data": [{"name": "digits"}], "models": [{"name": "digits_cnn", "recipe": {"epochs": 1}}]}, 4,
    scorers=("magnitude", "random"), sparsities=(0.5, 0.8), processes=1,
)  # fmt: skip


@pytest.mark.trains
def test_functions_are_counted_and_the_longest_come_first():
    found = host_profile("digits", "cpu", images=50, grid=GRID)
    calls = {name: count for name, count, _ in found}
    assert found[0][0] == "bench/measure/pipeline.py: run"
    assert calls["bench/measure/alignment.py: measure"] == 2 * 2
    milliseconds = [each for _, _, each in found]
    assert milliseconds == sorted(milliseconds, reverse=True)
    assert len(profile_lines(found)) == 2 + len(found)
