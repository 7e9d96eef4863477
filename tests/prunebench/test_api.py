"""The Python API does what the command line does."""

from __future__ import annotations

import json
import subprocess
import sys

import pandas as pd
import pytest

import prunebench
from analysis.errors import AnalysisError
from bench.core.errors import UserError

#: Columns that measure the machine.
MEASURED = ["seconds", "written"]
SMALL_RUN = {"profile": "one", "device": "cpu"}


def comparable(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.drop(columns=MEASURED)


@pytest.fixture(scope="module")
def run_twice(tmp_path_factory, write_tiny, run_command):
    """One study, run by the command and by `prunebench.run`; the summary of the latter."""
    by_command = write_tiny(tmp_path_factory.mktemp("api") / "command")
    by_function = write_tiny(tmp_path_factory.mktemp("api") / "function")
    done = run_command("run", by_command, "--profile", "one", "--device", "cpu")
    assert done.returncode == 0, done.stdout
    return by_command, by_function, prunebench.run(by_function, **SMALL_RUN)


def test_import_loads_neither_torch_nor_pandas():
    code = "import sys, prunebench; sys.exit(', '.join({'torch', 'pandas'} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_run_gives_the_rows_of_the_command(run_twice):
    by_command, by_function, summary = run_twice
    expected = prunebench.load(by_command).rows
    found = prunebench.load(by_function).rows
    assert (summary.done, summary.failed, summary.left) == (len(expected), 0, 0)
    assert {"cell", "mask", "accuracy"} <= set(comparable(found))
    pd.testing.assert_frame_equal(comparable(found), comparable(expected), check_exact=True)


def test_run_prints_nothing_and_computes_only_what_is_missing(tiny, capsys):
    first = prunebench.run(tiny, **SMALL_RUN, only={"sparsity": 0.5}, limit=1)
    assert first.done == 1
    second = prunebench.run(tiny, **SMALL_RUN, only={"sparsity": 0.5})
    assert second.reused == 1
    assert second.done > 0
    assert set(prunebench.load(tiny).rows.query("state == 'done'")["sparsity"]) == {0.5}
    assert capsys.readouterr().out == ""


def test_run_names_the_nearest_axis(tiny):
    with pytest.raises(UserError, match="no axis is named 'sparsty': did you mean 'sparsity'"):
        prunebench.run(tiny, only={"sparsty": 0.5})


def test_plan_is_what_the_command_prints(run_twice, command):
    by_command, _, _ = run_twice
    printed = json.loads(command("plan", by_command, "--profile", "one", "--device", "cpu", "--json").out)
    found = prunebench.plan(str(by_command), **SMALL_RUN)
    for key in ("cells", "todo", "study_hash", "decidable"):
        assert found[key] == printed[key]
    assert found["todo"] == 0


def test_load_of_an_empty_folder_names_the_command_to_type(tmp_path):
    with pytest.raises(AnalysisError, match="prunebench run"):
        prunebench.load(tmp_path)
