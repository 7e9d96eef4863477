"""What each command may load: a library that is slow to import is loaded only by commands that compute with it."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Libraries that take from a tenth of a second to two seconds of processor time to import.
SLOW = (
    "torch",
    "timm",
    "pandas",
    "pyarrow",
    "scipy",
    "statsmodels",
    "matplotlib",
    "cma",
    "pingouin",
    "sklearn",
    "altair",
)
#: Libraries with which claims are decided, and those with which a report is drawn as well.
DECIDES = ("pandas", "pyarrow", "scipy", "statsmodels", "pingouin", "sklearn")
DRAWS = (*DECIDES, "matplotlib", "altair")

#: Command -> libraries of `SLOW` that it may load; STUDY is a finished study.
MAY_LOAD = {
    "--help": (),
    "run --help": (),
    "list scorers": (),
    "list searches": (),
    "list models": (),
    "list recipes": (),
    "list datasets": (),
    "list templates": (),
    "new NEW": (),
    "status STUDY": (),
    "status STUDY --json": (),
    "show STUDY 0": (),
    "verify STUDY": DECIDES,
    "claims STUDY": DECIDES,
    "overview STUDY": DRAWS,
    "power STUDY": DECIDES,
    "report STUDY": DRAWS,
}

#: Commands that report a folder that does not exist, or a mistake in study.yaml (BAD).
REFUSED = (
    "plan ABSENT", "register ABSENT", "run ABSENT", "status ABSENT", "show ABSENT 0", "claims ABSENT", "power ABSENT",
    "report ABSENT", "prune ABSENT 0 -o x.safetensors", "kappa --study ABSENT", "audit ABSENT", "timestamp ABSENT",
    "plan BAD", "run BAD", "prune BAD 0 -o x.safetensors", "audit BAD",
)  # fmt: skip

#: Commands that report a mistake in claims.yaml: the kinds of claims, which validate it, compute with pandas and SciPy.
UNCLAIMED = (
    "plan UNCLAIMED", "register UNCLAIMED", "run UNCLAIMED", "claims UNCLAIMED", "power UNCLAIMED", "report UNCLAIMED",
)  # fmt: skip

CODE = """
import sys
from prunebench.cli import main

names, sys.argv = sys.argv[1].split(","), ["prunebench", *sys.argv[2:]]
try:
    main()
except SystemExit as stop:
    code = stop.code or 0
print("loaded:", *(name for name in names if name in sys.modules), file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture
def loaded(finished, tmp_path, edit_study):
    """Run a command in another process; return its exit code, its errors and the libraries of `SLOW` that it loaded."""
    places = {word: tmp_path / word.lower() for word in ("NEW", "ABSENT", "BAD", "UNCLAIMED")} | {"STUDY": finished}

    def run(command: str) -> tuple[int, str, set[str]]:
        words = [str(places.get(word, word)) for word in command.split()]
        done = subprocess.run(
            [sys.executable, "-c", CODE, ",".join(SLOW), *words], capture_output=True, text=True, check=False
        )
        errors, _, names = done.stderr.rpartition("loaded:")
        return done.returncode, errors, set(names.split())

    for word in ("BAD", "UNCLAIMED"):
        places[word].mkdir()
        for name in ("study.yaml", "claims.yaml", "results.db"):
            (places[word] / name).write_bytes((finished / name).read_bytes())
    edit_study(places["BAD"], "magnitude", "magnitud")
    (places["UNCLAIMED"] / "claims.yaml").write_text("version: 2\ninclude: [no-such-paper]\n")
    return run


@pytest.mark.parametrize("command", MAY_LOAD)
def test_a_command_loads_only_what_it_computes_with(command, loaded):
    code, errors, found = loaded(command)
    assert code == 0, errors
    assert found <= set(MAY_LOAD[command])


@pytest.mark.parametrize("command", REFUSED)
def test_a_mistake_is_reported_before_a_slow_library_is_loaded(command, loaded):
    code, errors, found = loaded(command)
    assert code == 2, errors
    assert errors.startswith("error: ")
    assert not found


@pytest.mark.parametrize("command", UNCLAIMED)
def test_a_mistake_in_the_claims_is_reported_before_torch_is_loaded(command, loaded):
    code, errors, found = loaded(command)
    assert code == 2, errors
    assert errors.startswith("error: ")
    assert found <= {"pandas", "pyarrow", "scipy", "statsmodels"}
