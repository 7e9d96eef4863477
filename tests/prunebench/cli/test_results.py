"""``report``, ``claims`` and ``power``."""

from __future__ import annotations

import json

import pytest


def test_report_and_claims(finished, command):
    result = command("report", finished)
    assert result.code == 0
    index = finished / "report" / "index.html"
    assert str(index) in result.out
    verdicts = json.loads(command("claims", finished, "--json").out)
    assert {"P1", "P2", "C1"} <= {str(v) for row in verdicts for v in row.values()}
    (finished / "results.db").unlink()
    before = index.read_bytes()
    assert command("report", finished).code == 0
    assert index.read_bytes() == before


def test_power_before_and_after_a_run(tiny, finished, command):
    before = command("power", tiny, "--sd", "1.5", "--models", "5", "--models", "10")
    assert before.code == 0
    assert "Spread: stated, 1.5 points" in before.out
    assert "n = 5:" in before.out
    assert not (tiny / "results.db").exists()
    found = json.loads(command("power", finished, "--json").out)
    assert {one["claim"] for one in found} >= {"P2", "P3", "A1 (ema)"}
    assert command("power", tiny, "--pilot", finished).code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--sd", "-1"), "Invalid value for '--sd'"),
        (("--models", "1"), "Invalid value for '--models'"),
        (("--pilot", "nowhere"), "nowhere: neither results.db nor report/data.parquet is there"),
    ],
)
def test_power_mistakes_get_one_line(tiny, command, words, said):
    result = command("power", tiny, *words)
    assert result.code == 2
    assert said in result.err
    assert "Traceback" not in result.err
