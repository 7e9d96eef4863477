"""A registered study from its pilot to its report, as a user does it: command line and Git alone."""

from __future__ import annotations

import json
import subprocess

import pytest

STUDY = """\
name: {name}
data: [digits]
models: [{{name: digits_cnn, recipe: {{epochs: 3}}}}]
train_seeds: {seeds}
scorers: [random, magnitude, taylor]
allocations: [global, uniform]
sparsities: [0.2, 0.5, 0.99]
"""

CLAIMS = """\
version: 2
claims:
  - id: T1
    text: Magnitude pruning keeps more accuracy than random pruning.
    source: a test
    readings: {allocation: [global, uniform]}
    parts:
      - id: better
        estimand: contrast
        kind: superiority
        of: [magnitude]
        against: random
        gate: {scorer: magnitude}
        planned_effect: 20
  - id: T2
    text: At 20 % sparsity, Taylor and magnitude pruning differ by less than three points.
    source: a test
    where: {allocation: global}
    parts:
      - id: same
        estimand: contrast
        kind: equivalence
        margin: 3
        margin_reason: 12 of 400 test images
        of: [taylor]
        against: magnitude
        sparsities: [0.2]
"""

pytestmark = pytest.mark.slow

LEVEL = "order claimed by the author's history"


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A Git repository with a pilot and a study, which is the current folder."""
    monkeypatch.chdir(tmp_path)
    for name, seeds in (("pilot", "[1000, 1001, 1002]"), ("study", "6")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "study.yaml").write_text(STUDY.format(name=name, seeds=seeds))
    (tmp_path / "study" / "claims.yaml").write_text(CLAIMS)
    git("init", "--quiet")
    return tmp_path


@pytest.fixture
def succeed(command):
    """Run ``prunebench ARGUMENTS`` and return what it prints."""

    def run(*arguments):
        done = command(*arguments)
        assert done.code == 0, done.err
        return done.out

    return run


def git(*arguments):
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


def verdict_row(report, claim):
    """Return the cells of a claim in the verdict table of report.md, by column."""
    rows = [line.strip("|").split("|") for line in report.splitlines() if line.startswith("|")]
    [header] = [row for row in rows if row[0].strip() == "Claim"]
    [found] = [row for row in rows if row[0].strip() == claim]
    return {name.strip(): cell.strip() for name, cell in zip(header, found, strict=True)}


def test_a_registered_study_from_pilot_to_report(repository, succeed, command):
    succeed("run", "pilot")
    registered = succeed("register", "study", "--pilot", "pilot", "--seen", "the pilot")
    assert "informative settings in the pilot, by part: T1 better: 4, T2 same: 1" in registered
    git("add", "study")
    git("commit", "--message", "Registration")
    succeed("run", "study")
    succeed("report", "study")
    git("add", "study/report")
    git("commit", "--message", "Results")

    assert f"level: {LEVEL}\n" in succeed("verify", "study")
    results = {claim["id"]: claim for claim in json.loads((repository / "study/report/records.json").read_text())}
    assert {claim["models"] for claim in results.values()} == {6}
    [better], [same] = results["T1"]["parts"], results["T2"]["parts"]
    assert [record["setting"]["sparsity"] for record in better["records"]] == [0.2, 0.5]
    assert (better["left_out"], same["left_out"]) == (1, 0)  # at 99 % sparsity all networks are at chance
    readings = {reading["levels"]["allocation"]: reading for reading in better["robustness"]["readings"]}
    assert [name for name, reading in readings.items() if reading["primary"]] == ["global"]
    assert set(readings) == {"global", "uniform"}

    report = (repository / "study/report/report.md").read_text()
    for claim in ("T1", "T2"):
        row = verdict_row(report, claim)
        assert (row["Registration"], row["Verdict"], row["Models"]) == (LEVEL, results[claim]["verdict"], "6")
    assert "Registered before data: not proved." in report
    assert "1 setting is left out: it is not informative in the pilot." in report
    assert "1 setting is left out: it is not informative in the pilot." in succeed("claims", "study")

    claims = repository / "study" / "claims.yaml"
    claims.write_text(CLAIMS.replace("margin: 3", "margin: 4"))
    refused = command("run", "study")
    assert refused.code == 2
    assert "changed since the registration: claims.yaml" in refused.err
    assert "level: not registered\nbecause: claims.yaml is not the registered one\n" in succeed("verify", "study")
    succeed("report", "study")
    report = (repository / "study/report/report.md").read_text()
    assert "this study is not registered: claims.yaml is not the registered one" in report
    assert verdict_row(report, "T2")["Registration"] == "not registered (exploratory)"
