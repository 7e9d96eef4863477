"""Claims of one part on a synthetic study, decided."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from analysis.claims.decide import decide as decide_all
from analysis.claims.read import read_claims
from analysis.records import ClaimResult, Record
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
