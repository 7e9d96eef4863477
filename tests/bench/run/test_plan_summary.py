"""Tests of `bench.run.plan_summary`."""

from __future__ import annotations

import json

import pytest

from bench.run.open_study import open_study
from bench.run.plan_summary import describe_gain, summarise_plan


def test_numbers_are_those_of_the_plan(tiny):
    session = open_study(tiny)
    summary = summarise_plan(session)
    cells = list(session.plan.cells())
    assert summary["cells"] == summary["todo"] == len(cells) == 2 * 98
    assert summary["lines"]["excluded"] == "128: corrections only for magnitude"
    assert summary["lines"]["skipped"] == "16: scorer l2 is defined for granularity channel only"
    assert json.dumps(summary)


def test_a_finished_study_has_nothing_to_do(finished_tiny):
    summary = summarise_plan(open_study(finished_tiny))
    assert summary["todo"] == 0
    assert summary["seconds"] == 0
    assert summary["lines"]["already there"] == "180 done, 16 skipped"


def test_more_workers_are_forecast_up_to_one_per_group(tiny):
    summary = summarise_plan(open_study(tiny))
    assert summary["lines"]["on more workers"].startswith("2: ")
    assert "4: " not in summary["lines"]["on more workers"]  # two groups
    alone = summarise_plan(open_study(tiny, "one"))
    assert alone["lines"]["on more workers"] == "no shorter: a group is worked on as a whole"


def test_a_network_that_fails_in_training_mode_alone_is_found_by_plan(tiny, command):
    (tiny / "net.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.layers = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))\n\n"
        "    def forward(self, x):\n        y = self.layers(x.flatten(1))\n"
        "        return y.no_such_attribute if self.training else y\n\n\n"
        "def net(num_classes, in_chans):\n    return Net()\n"
    )
    text = (tiny / "study.yaml").read_text()
    (tiny / "study.yaml").write_text(text.replace("name: digits_cnn,", "name: './net.py:net',"))
    result = command("plan", tiny)
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert "it fails in training mode: 'Tensor' object has no attribute 'no_such_attribute'" in result.err


def test_what_is_to_be_trained_is_shown(tiny, finished_tiny, command):
    summary = summarise_plan(open_study(tiny))
    [one] = summary["training"]
    assert (one["model"], one["models"], one["epochs"]) == ("digits_cnn", 2, 3)
    assert one["model_seconds"] == pytest.approx(3 * one["epoch_seconds"])
    # images, weights with their gradients, two moments and the step, and activations: some MiB
    assert 2**20 < one["memory"] < 2**28
    line = summary["lines"]["training"]
    assert line.startswith("digits_cnn on digits: ")
    assert " s per epoch, 3 epochs, " in line
    assert " per model, 2 models, peak memory " in line
    assert summary["seconds"] > 2 * one["model_seconds"]
    finished = summarise_plan(open_study(finished_tiny))
    assert finished["training"] == []
    assert finished["lines"]["training"] == "nothing: every model is given, or trained already"


def test_the_gain_of_bfloat16_is_not_shown_where_it_is_no_alternative(tiny, finished_tiny):
    for folder in (tiny, finished_tiny):  # small inputs; a precision fixed by the first run
        summary = summarise_plan(open_study(folder))
        assert summary["bfloat16_gain"] is None
        assert "precision" not in summary["lines"]


def test_a_gain_that_is_worth_while_names_what_to_write():
    assert describe_gain(2.9).endswith("evaluate 2.9 times as fast: write `execution: {precision: bfloat16}`")
    assert describe_gain(1.05) == "float32; bfloat16 would not be faster"
