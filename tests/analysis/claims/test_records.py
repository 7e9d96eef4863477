"""Records of decisions."""

from __future__ import annotations

import json
import math

import pytest
from pydantic import ValidationError

from analysis.claims.records import Reading, Record, Robustness, number, versions

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


@pytest.mark.parametrize(
    ("p", "against", "reported"),
    [(0.01, 0.99, (0.01, 0.04)), (0.99, 0.01, (0.01, 0.02)), (None, 0.3, (0.3, 0.02)), (None, None, (None, 0.04))],
)
def test_the_p_of_the_direction_that_the_data_point_to_is_reported(p, against, reported):
    record = Record(**KNOWN, p=p, p_contradiction=against, p_adjusted=0.04, p_contradiction_adjusted=0.02)
    if p is None and against is None:
        assert record.reported_p[0] is None
    else:
        assert record.reported_p == reported


def test_readings_by_construction_are_not_tallied():
    verdicts = ["supported", "supported", "contradicted", "inconclusive"]
    readings = [Reading(levels={"x": str(n)}, primary=not n, verdict=v) for n, v in enumerate(verdicts)]
    readings.append(Reading(levels={"x": "y"}, primary=False, verdict="supported", by_construction="equal masks"))
    found = Robustness(planned=6, readings=tuple(readings), robust=False)
    assert found.tally() == {"supported": 2, "inconclusive": 1, "contradicted": 1}
