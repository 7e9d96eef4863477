"""``python -m prunebench``."""

from __future__ import annotations


def test_the_module_is_the_command_line(tmp_path, run_command):
    shown = run_command("list", "allocations")
    assert shown.returncode == 0
    assert "per_output" in shown.stdout
    mistake = run_command("plan", tmp_path / "absent")
    assert mistake.returncode == 2
    assert len(mistake.stdout.splitlines()) == 1
