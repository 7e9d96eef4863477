"""Progress: plain lines where there is no terminal."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from bench.run import progress


def test_plain_lines_name_the_stage_the_rate_and_failures(monkeypatch):
    clock = iter(range(0, 1000, 5))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    out = StringIO()
    with progress.Reporter(10, Console(file=out, width=200)) as reporter:
        reporter.stage("group 1/1")
        for number in range(6):
            reporter.cell(failed=number == 2)
    lines = out.getvalue().splitlines()
    assert lines[0] == "group 1/1"
    assert "cells/s, about" in lines[1]
    assert lines[-1].endswith("1 failed")


def test_a_terminal_gets_a_bar():
    out = StringIO()
    with progress.Reporter(2, Console(file=out, width=120, force_terminal=True)) as reporter:
        reporter.stage("group 1/1")
        reporter.cell(failed=False)
        reporter.cell(failed=True)
    assert "2/2" in out.getvalue()
    assert "1 failed" in out.getvalue()
