"""JSON schemas from pydantic models, with the shorthands that their validators accept."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from bench.core.json_schema import model_schema, write_schema


def listed(value):
    return value if isinstance(value, (list, tuple)) else (value,)


class Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    size: int = 1


class File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    shares: Annotated[tuple[Annotated[float, Field(ge=0, lt=1)], ...], BeforeValidator(listed)] = (0.5,)
    kinds: Annotated[tuple[Literal["a", "b"], ...] | None, BeforeValidator(listed)] = ("a",)
    entries: tuple[Entry, ...] = ()
    seeds: tuple[int, ...] = (0,)
    where: dict[str, tuple[str | int, ...]] = Field(default_factory=dict)
    plain: tuple[str, ...] = ()
    wrapped: Entry | None = None
    declared: Annotated[
        tuple[str, ...], BeforeValidator(lambda v: tuple(v.split("+")), json_schema_input_type=str)
    ] = ()

    @field_validator("entries", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return [{"name": each} if isinstance(each, str) else each for each in listed(value)]

    @field_validator("seeds", mode="before")
    @classmethod
    def _counted(cls, value: Any) -> Any:
        return tuple(range(value)) if isinstance(value, int) else value

    @field_validator("where", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return {key: listed(labels) for key, labels in value.items()}

    @field_validator("wrapped", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


ACCEPTED = [
    {},
    {"shares": 0.5},
    {"shares": [0, 0.5]},
    {"kinds": "a"},
    {"kinds": ["a", "b"]},
    {"entries": "x"},
    {"entries": {"name": "x", "size": 2}},
    {"entries": ["x", {"name": "y"}]},
    {"seeds": 3},
    {"seeds": [3, 4]},
    {"where": {"scorer": "x", "batch": 16, "other": ["x", 2]}},
    {"plain": ["x"]},
    {"wrapped": "x"},
    {"wrapped": {"name": "x"}},
    {"wrapped": None},
    {"declared": "a+b"},
]
REFUSED = [
    {"share": 0.5},
    {"shares": 1.5},
    {"shares": "half"},
    {"kinds": "c"},
    {"entries": {"nam": "x"}},
    {"entries": 3},
    {"entries": [["x"]]},
    {"seeds": "many"},
    {"where": {"scorer": {"x": 1}}},
    {"plain": "x"},
    {"wrapped": 3},
]


@pytest.mark.parametrize("value", ACCEPTED, ids=json.dumps)
def test_what_the_model_accepts_the_schema_accepts(value):
    File.model_validate(value)
    assert list(Draft202012Validator(model_schema(File)).iter_errors(value)) == []


@pytest.mark.parametrize("value", REFUSED, ids=json.dumps)
def test_what_the_model_refuses_the_schema_refuses(value):
    with pytest.raises(ValidationError):
        File.model_validate(value)
    assert list(Draft202012Validator(model_schema(File)).iter_errors(value))


def test_a_schema_is_valid_and_written_as_it_is(tmp_path):
    schema = model_schema(File)
    Draft202012Validator.check_schema(schema)
    write_schema(schema, tmp_path / "file.schema.json")
    text = (tmp_path / "file.schema.json").read_text()
    assert json.loads(text) == schema
    assert text.endswith("}\n")
