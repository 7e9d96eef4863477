"""The published JSON schema of claims.yaml."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from analysis.claims.json_schema import CLAIMS_SCHEMA, claims_schema
from bench.core.yaml_file import read_document

ROOT = Path(__file__).parents[3]
SHIPPED = [
    *sorted((ROOT / "bench" / "study" / "templates").glob("*/claims.yaml")),
    *sorted((ROOT / "reports").glob("*/claims.yaml")),
    *sorted((ROOT / "analysis" / "claims" / "papers").glob("*.yaml")),
]


def problems(claims):
    return list(Draft202012Validator(json.loads(CLAIMS_SCHEMA.read_text())).iter_errors(claims))


def test_the_published_schema_is_that_of_the_code():
    schema = claims_schema()
    Draft202012Validator.check_schema(schema)
    assert json.loads(CLAIMS_SCHEMA.read_text()) == schema, "run: python -m analysis.claims.json_schema"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: "/".join(path.parts[-2:]))
def test_every_shipped_file_is_accepted(path):
    assert problems(read_document(path, "").values) == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: "/".join(path.parts[-2:]))
def test_a_misspelt_key_is_refused(path):
    values = read_document(path, "").values
    assert problems({**values, "claim": []})
    if values.get("claims"):
        first = values["claims"][0]
        assert problems({**values, "claims": [{**first, "sourc": "x"}]})
        assert problems({**values, "claims": [{**first, "parts": [{**first["parts"][0], "wher": {}}]}]})
        assert problems({**values, "claims": [{**first, "parts": [{**first["parts"][0], "estimand": "contrats"}]}]})
