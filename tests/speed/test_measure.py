"""``prunebench bench-speed`` on the digits and a tiny grid: what is counted is asserted, what is timed is not."""

from __future__ import annotations

import json
import re

import pytest
import torch

from bench.core.errors import UserError
from bench.speed import measure as under_test
from bench.speed.loops import forward_seconds
from bench.speed.measure import measure
from bench.speed.words import TIMED

TINY = {
    "SCORERS": ("magnitude", "exp_magnitude", "random", "snip"), "SPARSITIES": (0.5, 0.8),
    "CANDIDATES": {"digits": 4, "cifar10": 4},
    "PROCESSES": 1,
    "MODELS": {
        **under_test.MODELS,
        "digits": {"data": [{"name": "digits"}], "models": [{"name": "digits_cnn", "recipe": {"epochs": 2}}]},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def found():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in TINY.items():
            patch.setattr(under_test, name, value)
        threads = torch.get_num_threads()
        yield measure("digits", "cpu", repetitions=1, images=200)
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
    assert (sweep["cells"], sweep["shared"], sweep["score_passes"], sweep["sorts"]) == (9, 2, 4, 5)
    assert sweep["forward_passes"] == 7 * 200
    assert (corrected["cells"], corrected["dense_statistics"]) == (2 * 2, 1)
    assert search["search_evaluations"] <= 4 + 1  # equal weights beside the candidates
    met = {goal["goal"]: goal["met"] for goal in found["goals"]}
    assert (met["F3"], met["F5"]) == (True, True)


def test_every_goal_has_a_ratio_and_its_spread(found):
    assert [goal["goal"] for goal in found["goals"]] == ["F1", "F2", "F2", "F3", "F3", "F3", "F4", "F5"]
    for goal in found["goals"]:
        assert 0 < goal["low"] <= goal["median"] <= goal["high"]
        asked = goal["most"] if goal["most"] is not None else goal["least"]
        assert goal["met"] == (goal["median"] <= asked if goal["most"] is not None else goal["median"] >= asked)
    seconds = found["seconds"]
    assert found["goals"][0]["median"] == seconds["engine"][0] / seconds["forward"][0]
    assert found["goals"][2]["median"] == 9 * seconds["process"][0] / seconds["engine"][0]


def test_machine_and_memory_are_described(found):
    assert found["machine"]["processor"]
    assert found["settings"]["precision"] == "float32"
    assert found["memory_mib"]["process"] > 100
    json.dumps(found)


def test_the_command_prints_it_for_people_and_programs(found, command, monkeypatch):
    asked = []
    monkeypatch.setattr(under_test, "measure", lambda *arguments: asked.append(arguments) or found)
    told = command("bench-speed", "--repetitions", "1", "--images", "200")
    assert told.code == 0, told.err
    for words in ("digits_cnn on digits: 9 cells, 7 unique masks", "equal in 9 of 9 cells", *TIMED.values()):
        assert words in told.out
    assert len(re.findall(r" (?:met|missed) *$", told.out, re.MULTILINE)) == len(found["goals"])
    assert json.loads(command("bench-speed", "--on", "cifar10", "--json").out) == found
    assert asked == [("digits", "auto", 1, 200), ("cifar10", "auto", 3, None)]


def test_a_difference_is_explained(found, command, monkeypatch):
    agreement = {**found["agreement"], "equal": 8, "largest_points": 0.5}
    other = {**found, "agreement": agreement, "settings": {**found["settings"], "precision": "bfloat16"}}
    monkeypatch.setattr(under_test, "measure", lambda *_: other)
    out = command("bench-speed").out
    assert "largest difference 0.50 points" in out
    assert "from the engine's bfloat16" in out


def test_data_that_are_absent_are_one_clear_line(command, monkeypatch):
    monkeypatch.delenv("PRUNEBENCH_DATA", raising=False)
    done = command("bench-speed", "--on", "cifar10")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert "PRUNEBENCH_DATA is not set" in done.err
    with pytest.raises(UserError, match="digits"):
        measure("digit")


def test_forward_passes_are_timed_for_every_state():
    network, seen = torch.nn.Linear(2, 2), []
    network.register_forward_hook(lambda module, *_: seen.append(float(module.weight.sum())))
    states = [{name: torch.full_like(t, value) for name, t in network.state_dict().items()} for value in (1.0, 2.0)]
    assert forward_seconds(network, states, torch.ones(6, 2).split(3)) > 0
    assert seen == [4.0, 4.0, 8.0, 8.0]
