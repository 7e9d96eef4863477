"""A package of a user's own, installed by pip: its methods and claims work as ours do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

SOURCE = Path(__file__).parent / "prunebench_example"
METHODS = "prunebench_example.methods"
STUDY = f"""\
name: theirs
data: [digits]
models:
  - {{name: digits_cnn, recipe: {{epochs: 1}}}}
train_seeds: 1
granularities: [weight]
scorers: [magnitude, row_share, '{METHODS}:row_share', {{name: row_share, power: 2.0}}, two_curves]
searches: [corners]
allocations: [per_output, first_dense, above_mean]
sparsities: [0.5]
corrections: [none, half_layerwise, '{METHODS}:half_layerwise']
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Install the example package into a folder; return how to run the command line with it."""
    folder = tmp_path_factory.mktemp("installed")
    shutil.copytree(SOURCE, folder / "source")  # a build leaves files in the source tree
    subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index",
            "--no-build-isolation", "--target", folder / "site", folder / "source",
        ],
        check=True,
    )  # fmt: skip
    return folder / "site"


@pytest.fixture(scope="module")
def run(installed):
    """Run ``prunebench ARGUMENTS`` in another process, with the installed package."""

    def _run(*arguments: object) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(installed)}
        words = [sys.executable, "-m", "prunebench", *map(str, arguments)]
        return subprocess.run(words, capture_output=True, text=True, env=environment, check=False)

    return _run


@pytest.fixture
def with_package(installed, monkeypatch):
    """Let this process find the package too; it is forgotten afterwards."""
    monkeypatch.syspath_prepend(installed)
    yield installed
    for name in [name for name in sys.modules if name.split(".")[0] == "prunebench_example"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def study(tmp_path_factory, run) -> Path:
    """A study of the package's methods, run and reported."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "study.yaml").write_text(STUDY)
    (folder / "claims.yaml").write_text("version: 2\ninclude: [row_share]\n")
    for verb in ("run", "report"):
        done = run(verb, folder)
        assert done.returncode == 0, done.stderr
    return folder


def test_its_methods_are_listed(with_package, command):
    listed = command("list", "scorers", "--json")
    assert listed.code == 0, listed.err
    entry = next(e for e in json.loads(listed.out) if e["name"] == "row_share")
    assert entry["formula"] == "Score a weight by its share of the magnitude of its row, to a power."
    assert entry["reference"].endswith("prunebench_example/methods.py")


def test_its_methods_conform(with_package, command):
    names = (
        "row_share",
        f"{METHODS}:row_share",
        "two_curves",
        "corners",
        "first_dense",
        "above_mean",
        "half_layerwise",
    )
    for name in names:
        checked = command("check", name, "--json")
        assert checked.code == 0, checked.err
        assert [v["problem"] for v in json.loads(checked.out)] == [None] * len(json.loads(checked.out))


@pytest.mark.trains
def test_a_study_runs_them(study):
    assert "E1" in (study / "report" / "report.md").read_text()
    rows = pd.read_parquet(study / "report" / "data.parquet")
    rows = rows[rows["state"].eq("done") & rows["granularity"].notna()]
    assert set(rows["allocation"]) == {"per_output", "first_dense", "above_mean"}
    assert set(rows["correction"]) == {"none", "half_layerwise", f"{METHODS}:half_layerwise"}
    assert set(rows.loc[rows["scorer"].eq("two_curves"), "search"]) == {"corners"}
    assert rows.loc[rows["allocation"].eq("above_mean"), "sparsity"].isna().all()
    masks = rows.groupby(["allocation", "scorer"])["mask"].unique()
    assert all(len(mask) == 1 for mask in masks)
    for allocation in ("per_output", "first_dense", "above_mean"):  # one function under its two names
        assert masks[allocation, "row_share"] == masks[allocation, f"{METHODS}:row_share"]
    assert masks["first_dense", "row_share"] != masks["first_dense", "magnitude"]


@pytest.mark.parametrize("include", ["row_share", "prunebench_example.claims:claims"])
def test_their_claim_is_decided(study, with_package, command, include):
    (study / "claims.yaml").write_text(f"version: 2\ninclude: ['{include}']\n")
    decided = command("claims", study, "--json")
    assert decided.code == 0, decided.err
    (claim,) = json.loads(decided.out)
    assert (claim["id"], claim["verdict"], claim["registration"]) == ("E1", "supported", "not registered")


def test_a_broken_package_is_one_line_that_names_it(installed, tmp_path, monkeypatch, command):
    site = Path(shutil.copytree(installed, tmp_path / "site"))
    (site / "prunebench_example" / "methods.py").write_text("import no_such_module\n")
    monkeypatch.syspath_prepend(site)
    listed = command("list", "scorers")
    assert listed.code == 2
    assert listed.err == (
        "error: the scorer 'row_share' of the installed package prunebench-example cannot be imported from "
        f"{METHODS}:row_share: ModuleNotFoundError: No module named 'no_such_module'; repair or uninstall that "
        "package\n"
    )
