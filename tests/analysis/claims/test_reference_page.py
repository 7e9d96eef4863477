"""docs/CLAIMS.md names every key and estimand of claims.yaml."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from analysis.claims.include import papers
from analysis.claims.schema import PARTS, Adjustment, Claim, ClaimsFile

NAMED = set(re.findall(r"`([\w.]+)[`:]", (Path(__file__).parents[3] / "docs" / "CLAIMS.md").read_text()))


@pytest.mark.parametrize("model", [ClaimsFile, Claim, Adjustment, *PARTS.values()], ids=lambda model: model.__name__)
def test_the_page_names_every_key(model):
    assert set(model.model_fields) - NAMED == set()


def test_the_page_names_every_estimand_and_shipped_paper():
    assert {*PARTS, *papers()} - NAMED == set()
