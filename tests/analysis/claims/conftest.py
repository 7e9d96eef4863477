"""Claims of one part on a synthetic study, decided; and files, modules and packages that offer claims."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

import pytest

from analysis.claims.decide import decide as decide_all
from analysis.claims.include import GROUP
from analysis.claims.read import read_claims
from analysis.claims.records import ClaimResult, Record
from bench.store.reader import StudyData


@pytest.fixture
def judge(tmp_path):
    """Decide one claim of one part: its keys, and what is not the default of `where`."""

    def _judge(data: StudyData, part: dict[str, Any], **claim: Any) -> ClaimResult:
        text = {"id": "a", "text": "it does", **part}
        path = tmp_path / "claims.yaml"
        # JSON is YAML
        path.write_text(json.dumps({"claims": [{"id": "M1", "text": "m", "source": "ours", "parts": [text], **claim}]}))
        (result,) = decide_all(data, read_claims(path))
        return result

    return _judge


@pytest.fixture
def changed():
    """Rows of a study with new values where a condition holds."""

    def _changed(data: StudyData, where: Any, **values: Any) -> StudyData:
        rows = data.rows.copy()
        for column, value in values.items():
            rows.loc[where, column] = value
        return dataclasses.replace(data, rows=rows)

    return _changed


def records(result: ClaimResult) -> list[Record]:
    return [record for part in result.parts for record in part.records]


MORE = """\
claims:
  - id: M2
    text: the masks agree
    source: ours
    parts:
      - {id: a, text: the masks agree, estimand: mask_identity, scorers: [rank]}
"""
MODULE = """\
from pathlib import Path

def claims():
    return Path(__file__).with_name("more.yaml")

def as_text():
    return str(claims())

def number():
    return 3

def raises():
    raise ZeroDivisionError("on purpose")

def absent():
    return Path("/nowhere/claims.yaml")
"""


@pytest.fixture
def own_claims(tmp_path, monkeypatch):
    """A YAML file and a module next to claims.yaml; the module's name is the test's own."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "more.yaml").write_text(MORE)
    name = f"claims_of_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("1 / 0")
    yield name
    sys.modules.pop(name, None)


@pytest.fixture
def offered(tmp_path, monkeypatch, own_claims):
    """Entry points of an installed package."""
    package = tmp_path / "installed" / "theirs-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Name: theirs\nVersion: 1.0\n")
    points = {"theirs": f"{own_claims}:claims", "sics": f"{own_claims}:claims", "broken": "no_such_module_here:claims"}
    lines = [f"[{GROUP}]", *(f"{name} = {function}" for name, function in points.items())]
    (package / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(package.parent)
    return own_claims
