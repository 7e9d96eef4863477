"""``status`` and ``show``."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing

import pytest


def test_status_and_show(finished, command):
    status = json.loads(command("status", finished, "--json").out)
    assert status["todo"] == status["failed"] == status["running"] == 0
    assert status["done"] + status["skipped"] == status["cells"]
    assert status["skips"][0]["reason"] == "scorer l2 is defined for granularity channel only"
    assert "to do, of" in command("status", finished).out
    row = json.loads(command("show", finished, "0", "--json").out)
    assert row["scorer"] == "dense"
    assert (row["units"]["accuracy"], row["units"]["n_test"]) == ("fraction", "images")
    shown = command("show", finished, row["cell"][:10])
    assert re.search(rf"^accuracy +{100 * row['accuracy']:.6g} +%", shown.out, re.MULTILINE)
    assert re.search(rf"^n_test +{row['n_test']} +images", shown.out, re.MULTILINE)
    assert f"--only cell={row['cell']}" in shown.out
    wrong = command("show", finished, "nonsense")
    assert wrong.code == 2
    assert "no cell begins with 'nonsense'" in wrong.err


def test_a_training_shows_losses_and_learning_rates(tiny, command):
    result = command("run", tiny, "--profile", "one")
    assert re.search(r"training digits_cnn, seed 0: epoch 1/3, loss \d\.\d{3}, learning rate 0\.\d+", result.out)
    assert re.search(r"training digits_cnn, seed 0: epoch 3/3, loss \d\.\d{3}, learning rate ", result.out)
    assert "learned almost nothing" not in result.out
    shown = command("show", tiny, "0")
    assert re.search(r"epoch +training loss \(nats\) +learning rate", shown.out)
    history = json.loads(command("show", tiny, "0", "--json").out)["history"]
    assert [len(history[name]) for name in ("loss", "lr")] == [3, 3]
    assert f"{history['loss'][2]:.4g}" in shown.out
    assert "training loss" not in command("show", tiny, "2").out  # a pruned cell


@pytest.mark.parametrize("text", ["[1]", '{"loss": 3}', '{"loss": ["x"]}', '{"loss": [1.0], "lr": []}', "{"])
def test_a_damaged_history_is_one_line(finished, command, text):
    with closing(sqlite3.connect(finished / "results.db")) as connection:
        connection.execute("UPDATE dense SET history = ?", (text,))
        connection.commit()
    result = command("show", finished, "0")
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert "damaged" in result.err
