"""The published JSON schema of study.yaml."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from bench.core.yaml_file import read_document
from bench.study.json_schema import STUDY_SCHEMA, study_schema
from bench.study.templates import template_names

ROOT = Path(__file__).parents[3]
SHIPPED = [
    *(ROOT / "bench" / "study" / "templates" / name / "study.yaml" for name in template_names()),
    *sorted((ROOT / "reports").glob("*/study.yaml")),
]
GOOD = {"name": "s", "data": ["digits"], "models": ["digits_cnn"], "scorers": ["magnitude"], "sparsities": [0.5]}


def problems(study):
    return list(Draft202012Validator(json.loads(STUDY_SCHEMA.read_text())).iter_errors(study))


def test_the_published_schema_is_that_of_the_code():
    schema = study_schema()
    Draft202012Validator.check_schema(schema)
    assert json.loads(STUDY_SCHEMA.read_text()) == schema, "run: python -m bench.study.json_schema"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: "/".join(path.parts[-3:-1]))
def test_every_shipped_study_is_accepted(path):
    assert problems(read_document(path, "").values) == []


@pytest.mark.parametrize(
    "keys",
    [
        {"sparsities": 0.5, "scorers": "magnitude", "data": "digits", "train_seeds": 3},
        {"scorers": [{"name": "magnitude", "power": 2}], "calibration": {"images": 64, "batch": [16, 32]}},
        {"models": [{"name": "net", "expected_accuracy": 92.6, "recipe": {"epochs": 2}, "normalisation": "dataset"}]},
        {"exclude": [{"name": "few", "where": {"sparsity": {"not": 0.5}}}]},
        {"profiles": {"quick": {"train_seeds": 2, "scorers": "random"}}},
    ],
    ids=json.dumps,
)
def test_shorthands_are_accepted(keys):
    assert problems({**GOOD, **keys}) == []


@pytest.mark.parametrize(
    "keys",
    [
        {"sparsitys": [0.5]},
        {"sparsities": [80]},
        {"granularities": ["chanel"]},
        {"data": [{"nam": "digits"}]},
        {"models": [{"name": "net", "expectedaccuracy": 92.6}]},
        {"models": [{"name": "net", "expected_accuracy": 0.926}]},
        {"models": [{"name": "net", "recipe": {"epoch": 2}}]},
        {"calibration": {"image": 64}},
        {"execution": {"precison": "float32"}},
        {"exclude": [{"name": "few", "where": {"sparsities": 0.5}}]},
        {"profiles": {"quick": {"train_seed": 2}}},
    ],
    ids=json.dumps,
)
def test_misspelt_keys_and_wrong_units_are_refused(keys):
    assert problems({**GOOD, **keys})
