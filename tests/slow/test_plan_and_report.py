"""The plan of the committed digits study agrees with its report, part by part (two minutes)."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.claims.read import read_claims
from analysis.evidence.load import load
from tests.analysis.claims.test_planning import disagreements

pytestmark = pytest.mark.slow
FOLDER = Path(__file__).parents[2] / "reports" / "digits"


def test_plan_and_report_agree_on_every_part_of_the_digits_study():
    assert disagreements(load(FOLDER), read_claims(FOLDER / "claims.yaml")) == []
