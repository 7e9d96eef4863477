"""``report``, ``claims``, ``overview`` and ``power``."""

from __future__ import annotations

import json
import shutil

import pytest


def test_report_and_claims(finished, command):
    result = command("report", finished)
    assert result.code == 0
    index = finished / "report" / "index.html"
    assert str(index) in result.out
    verdicts = json.loads(command("claims", finished, "--json").out)
    assert {"P1", "P2", "C1"} <= {row["id"] for row in verdicts}
    assert {row["registration"] for row in verdicts} == {"not registered"}
    kept = json.loads((finished / "report" / "records.json").read_text())
    assert [{key: row[key] for key in kept[0]} for row in verdicts] == kept
    lines = command("claims", finished).out.splitlines()
    assert lines[0].startswith(f"Of {len(verdicts)} claims, ")
    assert lines[1].startswith("Exploratory: this study is not registered")
    named = [line.split("  ")[:2] for line in lines if line.split("  ")[0] in {row["id"] for row in verdicts}]
    assert named == [[row["id"], row["verdict"]] for row in verdicts]
    (finished / "results.db").unlink()
    before = index.read_bytes()
    assert command("report", finished).code == 0
    assert index.read_bytes() == before


@pytest.mark.parametrize("name", ["report", "claims", "power"])
def test_an_unknown_label_in_a_claim_gets_one_line(finished, command, name):
    part = "{estimand: contrast, kind: superiority, of: [randm], against: magnitude}"
    path = finished / "claims.yaml"
    path.write_text(f"version: 2\nclaims:\n  - {{id: M1, text: t, source: ours, parts: [{part}]}}\n")
    done = command(name, finished)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: {path}: line 3, column 90: no scorer is named 'randm'; did you mean 'random'?\n"


def test_the_overview_of_a_study_and_a_copy_counts_it_once(finished, tmp_path, command):
    shutil.copytree(finished, tmp_path / "copy")
    done = command("overview", tmp_path)
    assert done.code == 0
    page = (tmp_path / "overview.md").read_bytes()
    assert f"wrote {tmp_path / 'overview.md'}" in done.out
    assert "copy and finished share checkpoints: they count as one study" in done.out
    assert "The checklist is binding for the studies together" in done.out
    (tmp_path / "LEARNED.md").write_text("- The masks are equal [copy: P1 = contradicted].\n")
    again = command("overview", tmp_path, "--json")
    assert again.code == 1
    assert again.err.endswith("line 1: [copy: P1 = contradicted]: the record has the verdict supported\n")
    found = json.loads(again.out)
    assert [study["name"] for study in found["studies"]] == ["copy", "finished"]
    assert all(part["means"] == [] for part in found["parts"])
    assert command("overview", tmp_path).code == 1
    assert (tmp_path / "overview.md").read_bytes() == page


@pytest.mark.parametrize(
    ("folder", "message"), [("tiny", "no study with evidence is below it"), ("absent", "is not a folder")]
)
def test_an_overview_without_studies_gets_one_line(tiny, tmp_path, command, folder, message):
    done = command("overview", tmp_path / folder)
    assert done.code == 2
    assert done.err.startswith(f"error: {tmp_path / folder}: {message}")
    assert done.err.count("\n") == 1


def test_power_before_and_after_a_run(tiny, finished, command):
    before = command("power", tiny, "--sd", "1.5", "--models", "5", "--models", "10")
    assert before.code == 0
    assert "Spread: stated, 1.5 points" in before.out
    assert "10 models" in before.out
    assert not (tiny / "results.db").exists()
    found = json.loads(command("power", finished, "--json").out)
    assert {one["claim"] for one in found} >= {"P2", "P3", "A1"}
    assert all([chance["models"] for chance in one["others"]] == [5, 10, 20, 30] for one in found)
    assert {one["unit"] for one in found} == {"sd"}  # the study's own results are no pilot
    piloted = command("power", tiny, "--pilot", finished, "--pilot", finished)
    assert piloted.code == 0
    assert f"upper 80 % limit of the standard deviation in {finished}, {finished}" in piloted.out


def test_power_grows_with_the_models_and_the_models_needed_have_it(tiny, command):
    (one,) = [
        one for one in json.loads(command("power", tiny, "--sd", "1", "--models", "8", "--models", "16", "--json").out)
        if (one["claim"], one["part"]) == ("P2", "l2")
    ]  # fmt: skip
    powers = [chance["power"] for chance in one["others"]]
    assert powers == sorted(powers)
    assert one["others"][0]["least"] > one["others"][1]["least"]
    needed = str(one["needed"])
    again = json.loads(command("power", tiny, "--sd", "1", "--models", needed, "--json").out)
    (same,) = [two for two in again if (two["claim"], two["part"]) == ("P2", "l2")]
    assert same["others"][0]["power"] >= 0.8


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--sd", "-1"), "Invalid value for '--sd'"),
        (("--models", "1"), "Invalid value for '--models'"),
        (("--pilot", "nowhere"), "nowhere: neither results.db nor report/data.parquet is there"),
    ],
)
def test_power_mistakes_get_one_line(tiny, command, words, message):
    result = command("power", tiny, *words)
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err
