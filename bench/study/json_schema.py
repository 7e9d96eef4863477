"""The published JSON schema of study.yaml; ``python -m bench.study.json_schema`` writes it anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.core.json_schema import model_schema, write_schema
from bench.study.spec import Recipe, StudyFile

#: The published file.
STUDY_SCHEMA = Path(__file__).with_name("study.schema.json")


def study_schema() -> dict[str, Any]:
    """Return the JSON schema of study.yaml, for editors.

    Notes
    -----
    A profile has keys of the file, none of which is required. An entry's ``recipe`` has keys of `Recipe`, whose
    defaults are those of the network.
    """
    schema = model_schema(StudyFile)
    keys = {key: {"$ref": f"#/properties/{key}"} for key in schema["properties"] if key != "profiles"}
    schema["properties"]["profiles"]["additionalProperties"] = {
        "type": "object", "properties": keys, "additionalProperties": False,
    }  # fmt: skip
    recipe = model_schema(Recipe)
    for key in recipe["properties"].values():
        del key["default"]
    schema["$defs"]["ModelSpec"]["properties"]["recipe"] |= {
        key: recipe[key] for key in ("properties", "additionalProperties")
    }
    return schema


if __name__ == "__main__":
    write_schema(study_schema(), STUDY_SCHEMA)
    print(f"wrote {STUDY_SCHEMA}")
