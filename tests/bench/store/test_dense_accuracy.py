"""Warnings about dense models: at chance level, or below what the study expects."""

from __future__ import annotations

import json
import math

import pytest
import torch

from bench.models.digits import digits_cnn
from bench.store.dense_accuracy import dense_warnings, is_chance

DIGITS = {"datasets": {"digits": {"num_classes": 10}}}


def row(accuracy, seed=0, model="net", dataset="digits", images=400):
    return {"dataset": dataset, "model": model, "train_seed": seed, "accuracy": accuracy, "n_test": images}


@pytest.mark.parametrize(("images", "classes"), [(1, 2), (20, 2), (100, 3), (400, 10), (1000, 100)])
def test_chance_is_the_tail_of_the_binomial_distribution(images, classes):
    p = 1 / classes
    mass = [math.comb(images, k) * p**k * (1 - p) ** (images - k) for k in range(images + 1)]
    for correct in range(0, images + 1, max(1, images // 100)):
        assert is_chance(correct / images, images, 1 / classes) == (math.fsum(mass[correct:]) > 0.01), correct


def test_random_guessing_is_found_in_99_of_100_cases():
    generator = torch.Generator().manual_seed(0)
    hits = (torch.rand(2000, 400, generator=generator) < 0.1).double().mean(dim=1)
    share = sum(is_chance(accuracy, 400, 0.1) for accuracy in hits.tolist()) / 2000
    assert 0.985 < share <= 1


def test_one_line_per_model_with_all_seeds():
    rows = [row(0.1, 0), row(0.95, 1), row(0.05, 2), row(0.11, 0, "other"), row(0.9, 1, "other")]
    lines = dense_warnings(rows, {"models": []}, DIGITS)
    assert [line.partition(" (share")[0] for line in lines] == [
        "digits, net: the dense accuracies of 5.0 % to 10.0 % (seeds 0, 2) are at chance level, 10.0 %",
        "digits, other: the dense accuracy of 11.0 % (seed 0) is at chance level, 10.0 %",
    ]


@pytest.mark.parametrize(
    ("accuracy", "expected", "warned"),
    [
        (0.90, 91, False),
        (0.8999, 91, True),
        (0.95, 91, False),
        (0.90, 92, True),
        (0.90, 0.91, False),  # a store of an earlier version has a fraction
        (0.90, 0.92, True),
        (0.5, None, False),
    ],
)
def test_more_than_a_point_below_what_is_expected(accuracy, expected, warned):
    study = {"models": [{"name": "digits_cnn", "label": "net", "expected_accuracy": expected}]}
    lines = dense_warnings([row(accuracy)], study, DIGITS)
    assert bool(lines) == warned
    if warned:
        goal = expected if expected > 1 else 100 * expected
        assert f"{goal - 100 * accuracy:.1f} points below `expected_accuracy`, {goal:.1f} %" in lines[0]


def test_chance_level_is_not_reported_twice():
    study = {"models": [{"name": "net", "label": None, "expected_accuracy": 90}]}
    lines = dense_warnings([row(0.1, 0), row(0.8, 1)], study, DIGITS)
    assert len(lines) == 2
    assert "(seed 0) is at chance level" in lines[0]
    assert "(seed 1) is 10.0 points below" in lines[1]


def test_a_model_without_seed_and_a_data_set_of_unknown_classes():
    study = {"models": [{"name": "net", "expected_accuracy": 90}]}
    assert "the dense accuracy of 10.0 % is at chance" in dense_warnings([row(0.1, None)], study, DIGITS)[0]
    assert "the dense accuracy of 10.0 % is 80.0 points below" in dense_warnings([row(0.1, None)], study, {})[0]
    assert dense_warnings([], study, DIGITS) == []


# ---------------------------------------------------------------- where a user looks


@pytest.fixture
def study(tmp_path):
    """A study of a given checkpoint with random weights, and of a network that is trained."""
    torch.manual_seed(0)
    torch.save(digits_cnn().state_dict(), tmp_path / "net.pth")

    def write(given="", trained=""):
        (tmp_path / "study.yaml").write_text(
            "name: s\ndata: [digits]\nmodels:\n"
            f"  - {{name: digits_cnn, label: given, checkpoint: net.pth, normalisation: dataset{given}}}\n"
            f"  - {{name: digits_cnn, label: trained, recipe: {{epochs: 3}}{trained}}}\n"
            "train_seeds: 1\nscorers: [magnitude]\nsparsities: [0.5]\n"
        )
        return tmp_path

    return write


def test_run_status_and_report_show_the_warnings(study, command):
    folder = study(trained=", expected_accuracy: 99.9")
    ran = command("run", folder)
    assert ran.code == 0, ran.err
    warned = [line for line in ran.out.splitlines() if line.startswith("warning: ")]
    assert len(warned) == 2
    assert warned[0].startswith("warning: digits, given: the dense accuracy of ")
    assert " at chance level, 10.2 % (share of the largest test class; binomial test, 1 %)" in warned[0]
    assert warned[1].startswith("warning: digits, trained: the dense accuracy of ")
    assert "points below `expected_accuracy`, 99.9 %" in warned[1]
    status = command("status", folder)
    assert all(line in status.out.splitlines() for line in warned)
    assert [f"warning: {line}" for line in json.loads(command("status", folder, "--json").out)["warnings"]] == warned
    assert command("report", folder).code == 0
    report = (folder / "report" / "report.md").read_text().replace("\\", "")
    for line in warned:
        assert report.count(line.replace("warning:", "Warning:") + ".") == 2  # with the verdicts, and the dense models


def test_the_expected_accuracy_changes_no_cell_and_may_be_changed(study, command):
    folder = study()
    assert command("run", folder).code == 0
    assert "trained" not in "".join(json.loads(command("status", folder, "--json").out)["warnings"])
    before = json.loads(command("plan", folder, "--json").out)
    study(trained=", expected_accuracy: 99.9")
    after = json.loads(command("plan", folder, "--json").out)
    assert (after["todo"], after["study_hash"]) == (0, before["study_hash"])
    again = command("run", folder)
    assert "0 cells done" in again.out
    assert "points below `expected_accuracy`, 99.9 %" in again.out
    assert "points below" in command("status", folder).out
    study(trained=", expected_accuracy: 20")
    assert "points below" not in command("run", folder).out
    assert "points below" not in command("status", folder).out


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("0.926", "models.0.expected_accuracy: 0.926 is a fraction; write 92.6, in percentage points"),
        ("1", "1 is a fraction; write 100, in percentage points"),
        ("0", "0 is not an accuracy above 1 and up to 100, in percentage points; write 92.6"),
        ("926", "926 is not an accuracy"),
        ("high", "valid number"),
    ],
)
def test_an_expected_accuracy_is_in_percentage_points(study, command, value, message):
    result = command("plan", study(given=f", expected_accuracy: {value}"))
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert "line 4, column " in result.err
    assert message in result.err
    assert result.err.count("0.926") <= 1


def test_always_predicting_a_dominant_class_is_chance():
    row = {"dataset": "photos", "model": "net", "train_seed": None, "accuracy": 0.9, "n_test": 200}
    facts = {"num_classes": 3, "chance": 0.9}
    assert "90.0 % is at chance level, 90.0 %" in dense_warnings([row], {}, {"datasets": {"photos": facts}})[0]
    assert not dense_warnings([row], {}, {"datasets": {"photos": {"num_classes": 3}}})  # an older store
