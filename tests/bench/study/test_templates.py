"""The shipped templates."""

from __future__ import annotations

from difflib import ndiff
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.core.types import DataFacts
from bench.core.yaml_file import read_document
from bench.plugins.catalogue import make_registry
from bench.study.load import load_study
from bench.study.plan import make_plan
from bench.study.templates import describe_template, new_study, template_names

ROOT = Path(__file__).parents[3]
TEMPLATES = ROOT / "bench" / "study" / "templates"


def lines(folder: Path, name: str) -> list[str]:
    return (folder / name / "study.yaml").read_text().splitlines()


def quick_cells(folder: Path) -> set[str]:
    registry, facts = make_registry(folder), DataFacts("hash", (8, 8), 1, 10, 997, 150, 400, 128, 32, 250)
    study = load_study(folder, registry, "quick")
    plan = make_plan(study, registry, "float32", {"digits": facts}, lambda model, *_: {"model": model.name})
    return {cell.id for cell in plan.cells()}


@pytest.mark.parametrize("name", template_names())
def test_every_template_is_a_valid_study_with_all_its_profiles(tmp_path, name):
    new_study(tmp_path / "s", name, [], None)
    registry = make_registry(tmp_path / "s")
    study = load_study(tmp_path / "s", registry)
    for profile in study.file.profiles:
        assert load_study(tmp_path / "s", registry, profile).profile == profile
    assert len(describe_template(name)) > 40


def test_the_committed_report_is_that_of_the_template(tmp_path):
    name = "cifar10-resnet-published"
    new_study(tmp_path / name, name, [], None)
    for file in ("study.yaml", "claims.yaml"):
        assert (ROOT / "reports" / name / file).read_text() == (tmp_path / name / file).read_text()


def test_the_digits_template_only_adds_to_the_committed_study():
    """The committed report stays a part of what the template would run: its rows would be found again."""
    changes = list(ndiff(lines(ROOT / "reports", "digits"), lines(TEMPLATES, "digits")))
    longer = [line[2:-1] for line in changes if line.startswith("-")]  # lists in one line, without their bracket
    assert [line.split(":")[0].strip() for line in longer] == ["corrections", "recalibrations", "allocations"]
    assert all(any(line.startswith(f"+ {start}, ") for line in changes) for start in longer)
    assert quick_cells(ROOT / "reports" / "digits") < quick_cells(TEMPLATES / "digits")
    claims = [read_document(folder / "digits" / "claims.yaml", "").values for folder in (ROOT / "reports", TEMPLATES)]
    assert claims[0] == claims[1]


def test_the_example_claims_of_the_digits_template_can_be_used_as_they_are(tmp_path):
    """Without the leading ``# ``, the commented keys are valid YAML and a part of the file."""
    new_study(tmp_path / "s", "digits", [], None)
    path = tmp_path / "s" / "claims.yaml"
    keys = ("# looks:", "# adjust:", "# claims:", "#   ")
    path.write_text("".join(
        line[2:] if line.startswith(keys) else line for line in path.read_text().splitlines(keepends=True)
    ))  # fmt: skip
    values = read_document(path, "").values
    assert set(values) == {"version", "include", "looks", "adjust", "claims"}
    assert [len(claim["parts"]) for claim in values["claims"]] == [1, 2]
    assert set(values["claims"][1]["parts"][0]) >= {"over", "gate", "readings", "planned_effect"}


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
