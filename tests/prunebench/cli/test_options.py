"""Arguments and options that several commands share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from prunebench.cli.options import AsJson, Device, Profile, StudyFolder

app = typer.Typer()


@app.command()
def show(study: StudyFolder, profile: Profile = None, device: Device = "auto", as_json: AsJson = False) -> None:
    """Print what was given."""
    typer.echo(json.dumps([isinstance(study, Path), study.name, profile, device, as_json]))


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["a/study"], [True, "study", None, "auto", False]),
        (["study", "--profile", "quick", "--json"], [True, "study", "quick", "auto", True]),
        (["--device", "cpu", "study"], [True, "study", None, "cpu", False]),
    ],
)
def test_they_are_read_wherever_they_stand(words, found):
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert json.loads(result.output) == found


def test_the_help_names_the_study_folder():
    assert "STUDY" in CliRunner().invoke(app, ["--help"]).output


def test_the_study_folder_is_required():
    assert CliRunner().invoke(app, []).exit_code == 2
