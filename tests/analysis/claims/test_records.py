"""Records of decisions."""

from __future__ import annotations

import json
import math

import pytest
from pydantic import ValidationError

from analysis.claims.records import Record, number, versions

KNOWN = {
    "claim": "P1", "part": "a", "kind": "identity", "estimand": "equal masks", "setting": {"model": "cnn"},
    "in_paper_setting": False, "data_hash": "0" * 64, "n": 3,
}  # fmt: skip


def test_a_record_survives_json():
    record = Record(**KNOWN, effect=number(0.1), p=number(math.nan))
    assert Record.model_validate_json(record.model_dump_json()) == record
    assert json.loads(record.model_dump_json())["p"] is None


def test_a_record_cannot_be_changed_and_has_no_unknown_field():
    with pytest.raises(ValidationError, match="frozen"):
        Record(**KNOWN).n = 4
    with pytest.raises(ValidationError, match="forbidden"):
        Record(**KNOWN, verdicts="supported")


def test_versions_are_of_the_libraries_that_decide():
    assert set(versions()) == {"python", "numpy", "pandas", "scipy", "statsmodels"}
    assert all(text[0].isdigit() for text in versions().values())
