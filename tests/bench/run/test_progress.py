"""Tests of `bench.run.progress`."""

from __future__ import annotations

import re
from io import StringIO

from rich.console import Console

from bench.run import progress


def test_plain_lines_name_the_stage_the_rate_and_failures():
    out = StringIO()
    with progress.Reporter(10, Console(file=out, width=200), interval=0) as reporter:
        reporter.stage("group 1/1")
        for number in range(6):
            reporter.cell(failed=number == 2)
    lines = out.getvalue().splitlines()
    assert lines[0] == "group 1/1"
    assert [line.partition(" cells, ")[0] for line in lines[1:]] == [f"{n}/10" for n in range(1, 7)]
    assert all(re.search(r", [0-9.]+ cells/s, about .* left, ", line) for line in lines[1:])
    assert [line.rpartition(", ")[2] for line in lines[1:]] == ["0 failed"] * 2 + ["1 failed"] * 4


def test_plain_lines_are_not_more_frequent_than_the_interval():
    out = StringIO()
    with progress.Reporter(3, Console(file=out, width=200), interval=3600) as reporter:
        for _ in range(3):
            reporter.cell(failed=False)
    assert out.getvalue() == ""


def test_a_warning_stays_on_the_screen():
    out = StringIO()
    with progress.Reporter(1, Console(file=out, width=120, force_terminal=True)) as reporter:
        reporter.warn("accuracy is low")
    assert "note: accuracy is low" in out.getvalue()


def test_a_terminal_gets_a_bar():
    out = StringIO()
    with progress.Reporter(2, Console(file=out, width=120, force_terminal=True)) as reporter:
        reporter.stage("group 1/1")
        reporter.cell(failed=False)
        reporter.cell(failed=True)
    assert "2/2" in out.getvalue()
    assert "1 failed" in out.getvalue()
