"""Commands that only read never load torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

READING_COMMANDS = ("--help", "status", "show", "report", "claims", "power")


@pytest.mark.parametrize("name", READING_COMMANDS)
def test_reading_commands_never_load_torch(name, finished_tiny):
    arguments = [name] + ([] if name == "--help" else [str(finished_tiny)]) + (["0"] if name == "show" else [])
    code = (
        "import sys; from prunebench.cli import main; sys.argv = ['prunebench', *sys.argv[1:]]\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "assert 'torch' not in sys.modules\n"
        "assert 'pandas' not in sys.modules or sys.argv[1] not in ('--help', 'status')\n"  # half a second
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
