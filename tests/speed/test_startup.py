"""The processor time of commands is measured in processes of their own."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tests.speed.startup import Timed, measure_startup, print_startup, run


def test_a_command_takes_processor_time_and_its_exit_code_is_returned(tmp_path):
    seconds, code = run("status ABSENT", {"ABSENT": tmp_path / "absent"})
    assert code == 2
    assert seconds > 0.01  # an interpreter alone takes longer


def test_a_command_that_ends_otherwise_than_expected_is_no_measurement():
    with pytest.raises(RuntimeError, match="prunebench status ABSENT: exit code 2 instead of 0"):
        measure_startup(1, (Timed("status ABSENT", 0.5),))


def test_every_command_is_compared_with_its_goal():
    stream = io.StringIO()
    found = [(Timed("--help", 0.5), 0.3), (Timed("plan DIGITS", 5.0), 6.0), (Timed("claims SMALL", None), 2.0)]
    print_startup(found, Console(file=stream, width=100))
    lines = [line.split() for line in stream.getvalue().splitlines()]
    assert lines[1:] == [
        ["prunebench", "--help", "0.30", "0.5", "met"],
        ["prunebench", "plan", "DIGITS", "6.00", "5", "missed"],
        ["prunebench", "claims", "SMALL", "2.00", "-", "-"],
    ]
