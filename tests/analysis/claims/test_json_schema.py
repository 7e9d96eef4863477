"""The published JSON schema of claims.yaml."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from analysis.claims.json_schema import CLAIMS_SCHEMA, claims_schema
from analysis.claims.schema import ClaimsFile
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


PART = {"estimand": "combination", "kind": "superiority", "terms": [{"of": {"scorer": "taylor"}}]}


def file_with(part=(), **claim):
    claim = {"id": "T", "text": "t", "source": "s", **claim, "parts": [{**PART, **dict(part)}]}
    return {"version": 2, "claims": [claim]}


@pytest.mark.parametrize(
    "keys",
    [
        {"where": {"scorer": "taylor", "granularity": ["weight", "channel"]}},
        {"gate": "none"},
        {"gate": {"correction": "reconstruct"}},
        {"readings": {"granularity": ["channel", "weight"], "margin": [2, 0.5]}},
        {"readings": {"reference": {"plateau": None, "monotone": {"magnitude": {"scorer": "m4", "search": ["dbo"]}}}}},
        {"readings": {"lambda": {"median": {}, "eb": {"asr": "asr_eb"}}}},
    ],
)
def test_short_forms_are_accepted_in_claims_and_parts_and_by_the_code(keys):
    for claims in (file_with(keys), file_with(**keys)):
        assert problems(claims) == []
        ClaimsFile.model_validate(claims)


@pytest.mark.parametrize(
    "keys", [{"where": {"scorrer": "x"}}, {"gate": {"scorrer": "x"}}, {"readings": {"granularity": "weight"}}]
)
def test_unknown_columns_and_wrong_forms_are_refused_in_claims_and_parts(keys):
    assert problems(file_with(keys))
    assert problems(file_with(**keys))


def test_unknown_columns_of_settings_and_terms_are_refused():
    assert problems(file_with()) == []
    assert problems(file_with(setting={"scorrer": ["x"]}))
    assert problems(file_with({"terms": [{"of": {"sparsity": "x"}}]}))
    assert problems(file_with({"distinct": {"scorrer": 3}}))
