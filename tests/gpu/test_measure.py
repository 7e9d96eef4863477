"""The script that runs on a GPU machine, where nobody can help it: a step that fails or hangs stops no other."""

from __future__ import annotations

import os
import time

import psutil
import pytest

from tests.gpu.measure import Step, print_summary, run_steps, steps_on

HANGS = """\
import signal, subprocess, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
open(sys.argv[1], "w").write(str(worker.pid))
worker.wait()
"""


def python(name: str, code: str, limit: float = 60, *arguments: str) -> Step:
    return Step(name, ("-c", code, *arguments), limit)


def test_steps_that_fail_or_hang_stop_no_other_step(tmp_path):
    hanging = tmp_path / "worker"
    steps = [
        python("good", "print('computed')"),
        python("bad", "import sys; sys.exit(3)"),
        python("hanging", HANGS, 8, str(hanging)),
        python("last", "import os; assert os.environ['ADDED'] == '1'"),
    ]
    found = [(result.name, result.outcome) for result in run_steps(steps, 600, {"ADDED": "1"}, grace=1)]
    assert found == [
        ("good", "passed"), ("bad", "failed (exit code 3)"), ("hanging", "stopped at its limit of 8 s"),
        ("last", "passed"),
    ]  # fmt: skip
    worker = int(hanging.read_text())
    end = time.monotonic() + 60
    while psutil.pid_exists(worker) and psutil.Process(worker).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end, "the worker of the hanging step is left behind"
        time.sleep(0.1)


def test_a_step_that_is_stopped_may_print_what_it_found(capfd):
    code = """\
import time
try:
    time.sleep(1000)
except KeyboardInterrupt:
    print("found so far")
"""
    (result,) = run_steps([python("slow", code, 8)], 600)
    assert result.outcome == "stopped at its limit of 8 s"
    assert "found so far" in capfd.readouterr().out


def test_no_step_is_started_without_time(capfd):
    results = list(run_steps([python("late", "print('computed')")], total=1))
    assert [(result.name, result.outcome) for result in results] == [("late", "not started")]
    print_summary(results)
    assert capfd.readouterr().out.split() == ["===", "summary", "late", "0.0", "s", "not", "started"]


@pytest.mark.parametrize("smoke", [True, False])
def test_the_most_important_step_comes_first_and_all_have_a_device(tmp_path, smoke):
    steps = steps_on("cpu", tmp_path / "study", smoke=smoke)
    assert steps[0].name == "tests"
    assert [step.name for step in steps if "cpu" not in step.arguments] == ["tests", "study: new"]
    assert not os.path.lexists(tmp_path / "study")
