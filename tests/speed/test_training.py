"""The measurement of training with a small network: what is measured is asserted, how long it takes is not."""

from __future__ import annotations

import json

import pytest
import torch

from tests.speed.training import F10_LEAST, IMAGES, TOP, measure_training, training_lines


@pytest.fixture(scope="module")
def found():
    return measure_training("cpu", repetitions=2, images=8, fast_bfloat16=True)


def test_every_kind_is_timed_in_every_repetition(found):
    kinds = [(row["augmentation"], row["precision"], row["memory_format"]) for row in found["rates"]]
    assert kinds == [
        (augmentation, precision, memory_format)
        for augmentation in ("crop_flip", "none")
        for precision in ("float32", "bfloat16")
        for memory_format in ("contiguous", "channels_last")
    ]
    assert all(len(row["rates"]) == 2 and min(row["rates"]) > 0 for row in found["rates"])
    assert (found["images"], found["batch"]) == (8, 8)
    assert json.loads(json.dumps(found)) == found


def test_the_profile_names_the_largest_operations(found):
    shares = list(found["profile"]["shares"].values())
    assert len(shares) == TOP
    assert shares == sorted(shares, reverse=True)
    assert 0 < sum(shares) <= 1
    assert "aten::convolution_backward" in found["profile"]["shares"]


def test_the_goal_compares_the_median_of_bfloat16_channels_last(found):
    (row,) = (
        r for r in found["rates"]
        if (r["augmentation"], r["precision"], r["memory_format"]) == ("crop_flip", "bfloat16", "channels_last")
    )  # fmt: skip
    middle = sum(row["rates"]) / 2
    assert found["goal"]["median"] == pytest.approx(middle)
    assert found["goal"]["met"] == (middle >= F10_LEAST)


def test_without_fast_bfloat16_only_float32_is_timed_and_there_is_no_goal():
    threads = torch.get_num_threads()
    found = measure_training("cpu", repetitions=1, images=4, fast_bfloat16=False)
    assert {row["precision"] for row in found["rates"]} == {"float32"}
    assert "goal" not in found
    assert torch.get_num_threads() == threads
    assert not any(line.startswith("F10") for line in training_lines(found))


@pytest.mark.parametrize(("rate", "verdict"), [(499.0, "missed"), (520.0, "met")])
def test_rates_shares_and_goal_are_printed(rate, verdict):
    row = {"augmentation": "crop_flip", "memory_format": "channels_last"}
    lines = list(training_lines({
        "model": "net", "images": IMAGES, "batch": 128, "repetitions": 3,
        "machine": {"processor": "a processor", "device": "cpu", "load": 0.5, "packages": {"torch": "2.5"}},
        "rates": [
            {**row, "precision": "float32", "rates": [100.0, 300.0, 200.0]},
            {**row, "precision": "bfloat16", "rates": [rate]},
        ],
        "profile": {"kind": ["crop_flip", "bfloat16", "channels_last"], "shares": {"aten::add": 0.125}},
        "goal": {"goal": "F10", "median": rate, "least": F10_LEAST, "met": rate >= F10_LEAST},
    }))  # fmt: skip
    assert "| crop_flip | float32 | channels_last | 200 | 100 - 300 | 1.00 |" in lines
    assert (
        f"| crop_flip | bfloat16 | channels_last | {rate:.0f} | {rate:.0f} - {rate:.0f} | {rate / 200:.2f} |" in lines
    )
    assert "| aten::add | 12.5 |" in lines
    assert lines[-1] == f"F10: {rate:.0f} images per second and core, at least 500: {verdict}"
