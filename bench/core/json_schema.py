"""JSON schemas of the files that people write, made from their pydantic models, shorthand forms included.

An editor checks study.yaml and claims.yaml against these schemas while they are written.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

#: One value of each JSON type that a shorthand may have.
_SAMPLES: dict[str, Any] = {"string": "text", "integer": 1, "number": 1.5}


def model_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of everything that a model accepts.

    Parameters
    ----------
    model : type of BaseModel
        The model of a file.

    Notes
    -----
    pydantic leaves out what a "before" validator accepts and converts, such as one label that stands for a list of
    one. Such validators are called here with a text, a whole number and a decimal one, and what they convert becomes
    part of the schema. A validator that converts only certain values, or that takes pydantic's ``info``, declares its
    short form itself, by pydantic's ``json_schema_input_type``.

    Examples
    --------
    >>> from typing import Annotated
    >>> from pydantic import BeforeValidator, create_model
    >>> def listed(value):
    ...     return value if isinstance(value, list) else [value]
    >>> File = create_model("File", names=(Annotated[list[str], BeforeValidator(listed)], ...))
    >>> model_schema(File)["properties"]["names"]["anyOf"]
    [{'items': {'type': 'string'}, 'type': 'array'}, {'type': 'string'}]
    """
    return json.loads(json.dumps(model.model_json_schema(schema_generator=_WithShorthands)))  # type: ignore[no-any-return]


def write_schema(schema: dict[str, Any], path: Path) -> None:
    """Write a JSON schema in the form in which it is published: indented, keys in order."""
    path.write_text(json.dumps(schema, indent=1, sort_keys=True) + "\n", encoding="utf-8")


class _WithShorthands(GenerateJsonSchema):
    """The generator of pydantic, with the shorthands of "before" validators."""

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> dict[str, Any]:
        """Return the schema of the field, with the shorthands that the validator converts."""
        inner = super().function_before_schema(schema)
        function = schema["function"]
        if function["type"] != "no-info" or schema.get("json_schema_input_schema") is not None:
            return inner
        return _any_of([each for form in _alternatives(inner) for each in _forms(form, function["function"])])


def _forms(form: dict[str, Any], convert: Callable[[Any], Any]) -> list[dict[str, Any]]:
    """Return a form that a field accepts, and the shorthands that a validator converts to it."""
    if "items" in form:
        entry = _any_of([form["items"], *_types(lambda sample: _changes_entry(convert, sample))])
        counts = _types(lambda sample: isinstance(_converted(convert, sample), list | tuple))
        alone = [entry] if any(_is_alone(convert, sample) for sample in _SAMPLES.values()) else counts
        return [{**form, "items": entry}, *alone]
    values = form.get("additionalProperties")
    if isinstance(values, dict) and "items" in values:
        by_key = _forms(values, lambda value: convert({"key": value})["key"])
        return [{**form, "additionalProperties": _any_of(by_key)}]
    if "$ref" in form or "properties" in form:
        return [form, *_types(lambda sample: isinstance(_converted(convert, sample), dict | BaseModel))]
    return [form]


def _types(is_accepted: Callable[[Any], bool]) -> list[dict[str, Any]]:
    """Return the schemas of the JSON types whose sample is accepted."""
    return [{"type": kind} for kind, sample in _SAMPLES.items() if is_accepted(sample)]


def _is_alone(convert: Callable[[Any], Any], sample: Any) -> bool:
    """Whether a value stands for a list of one."""
    found = _converted(convert, sample)
    return isinstance(found, list | tuple) and list(found) == [sample]


def _changes_entry(convert: Callable[[Any], Any], sample: Any) -> bool:
    """Whether a value in a list stands for a mapping."""
    found = _converted(convert, [sample])
    return isinstance(found, list | tuple) and len(found) == 1 and isinstance(found[0], dict | BaseModel)


def _converted(convert: Callable[[Any], Any], value: Any) -> Any:
    """Return what a validator makes of a value, or None where it refuses it."""
    try:
        return convert(value)
    except Exception:  # a validator of any kind may meet a value that it was not made for
        return None


def _alternatives(form: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the forms of which a value has any."""
    return list(form["anyOf"]) if set(form) == {"anyOf"} else [form]


def _any_of(forms: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the schema of a value that has any of several forms."""
    different: list[dict[str, Any]] = []
    for form in forms:
        different += [each for each in _alternatives(form) if each not in different]
    return deepcopy(different[0] if len(different) == 1 else {"anyOf": different})
