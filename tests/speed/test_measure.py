"""The measurement on the digits and a small grid: what is counted is asserted, what is timed is not."""

from __future__ import annotations

import json

import pytest
import torch

from bench.core.errors import UserError
from tests.speed.measure import Grid, measure
from tests.speed.tables import TIMED

pytestmark = pytest.mark.trains

SMALL = Grid(
    {"data": [{"name": "digits"}], "models": [{"name": "digits_cnn", "recipe": {"epochs": 2}}]}, candidates=4,
    scorers=("magnitude", "exp_magnitude", "random", "snip"), sparsities=(0.5, 0.8), processes=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def found():
    threads = torch.get_num_threads()
    yield measure("digits", "cpu", repetitions=1, images=200, grid=SMALL)
    torch.set_num_threads(threads)


def test_the_loops_and_the_engine_have_the_same_rows(found):
    agreement = found["agreement"]
    assert (agreement["cells"], agreement["equal"]) == (1 + 4 * 2, 9)
    assert agreement["largest_points"] == agreement["processes_largest_points"] == 0


def test_everything_is_timed_once_per_repetition(found):
    assert set(found["seconds"]) == set(TIMED)
    assert all(len(values) == 1 and values[0] > 0 for values in found["seconds"].values())
    assert found["seconds"]["imports"] < found["seconds"]["process"]


def test_the_counters_are_those_of_the_grid(found):
    sweep, corrected, search = (found["counters"][part] for part in ("sweep", "corrected", "search"))
    assert found["grid"]["test_images"] == 200
    assert found["grid"]["unique"] == sweep["evaluations"] == 1 + 3 * 2  # exp_magnitude has the masks of magnitude
    assert (sweep["cells"], sweep["shared"], sweep["score_passes"], sweep["sorts"]) == (9, 2, 4, 3)
    assert sweep["forward_passes"] == 7 * 200
    assert (corrected["cells"], corrected["dense_statistics"]) == (2 * 2, 1)
    assert 4 <= search["search_evaluations"] <= 4 + 1  # the candidates, and equal weights
    met = {goal["goal"]: goal["met"] for goal in found["goals"]}
    assert (met["F3"], met["F5"]) == (True, True)


def test_every_goal_has_a_ratio_and_its_spread(found):
    assert [goal["goal"] for goal in found["goals"]] == ["F1", "F1b", "F2", "F2", "F3", "F3", "F3", "F4", "F5"]
    for goal in found["goals"]:
        assert 0 < goal["low"] <= goal["median"] <= goal["high"]
        if goal["most"] is not None:
            assert goal["met"] == (goal["median"] <= goal["most"])
        else:
            assert goal["met"] == (goal["median"] >= goal["least"])
    seconds = found["seconds"]
    assert found["goals"][0]["median"] == seconds["engine"][0] / seconds["forward"][0]
    assert found["goals"][3]["median"] == 9 * seconds["process"][0] / seconds["engine"][0]
    host = 1e3 * (seconds["known"][0] - seconds["scores"][0]) / 9
    assert found["goals"][1]["median"] == pytest.approx(host)


def test_machine_and_memory_are_described_in_plain_json(found):
    assert found["machine"]["processor"]
    assert found["settings"]["precision"] == "float32"
    assert found["memory_mib"]["process"] > 100
    assert json.loads(json.dumps(found)) == found


def test_an_unknown_network_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match="did you mean 'digits'"):
        measure("digit")
