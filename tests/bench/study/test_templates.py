"""The shipped templates, and the JSON schema beside them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.plugins.catalogue import make_registry
from bench.study.load import load_study
from bench.study.spec import study_schema
from bench.study.templates import describe_template, new_study, template_names

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", template_names())
def test_every_template_is_a_valid_study_with_all_its_profiles(tmp_path, name):
    new_study(tmp_path / "s", name, [], None)
    registry = make_registry(tmp_path / "s")
    study = load_study(tmp_path / "s", registry)
    for profile in study.file.profiles:
        assert load_study(tmp_path / "s", registry, profile).profile == profile
    assert len(describe_template(name)) > 40


@pytest.mark.parametrize("name", template_names())
def test_the_committed_reports_are_those_of_the_templates(tmp_path, name):
    new_study(tmp_path / name, name, [], None)
    for file in ("study.yaml", "claims.yaml"):
        assert (ROOT / "reports" / name / file).read_text() == (tmp_path / name / file).read_text()


def test_a_study_is_not_overwritten(tmp_path):
    new_study(tmp_path, "digits", [], None)
    before = (tmp_path / "study.yaml").read_text()
    with pytest.raises(UserError, match="exists already"):
        new_study(tmp_path, "digits", ["resnet18"], None)
    assert (tmp_path / "study.yaml").read_text() == before


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        new_study(tmp_path / "file" / "study", "digits", [], None)


def test_the_published_schema_is_that_of_the_code():
    published = json.loads((ROOT / "bench" / "study" / "study.schema.json").read_text())
    assert published == json.loads(json.dumps(study_schema()))
