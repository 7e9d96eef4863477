"""The published JSON schema of claims.yaml; ``python -m analysis.claims.json_schema`` writes it anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from analysis.claims.schema import CLAIM_DEFAULTS, ClaimsFile
from bench.core.json_schema import model_schema, write_schema

#: The published file.
CLAIMS_SCHEMA = Path(__file__).with_name("claims.schema.json")


def claims_schema() -> dict[str, Any]:
    """Return the JSON schema of claims.yaml, for editors.

    Examples
    --------
    One label may stand for a list of one:

    >>> claims_schema()["properties"]["include"]["anyOf"]
    [{'items': {'type': 'string'}, 'type': 'array'}, {'type': 'string'}]
    """
    schema = model_schema(ClaimsFile)
    of_claim, of_part = (schema["$defs"][name]["properties"] for name in ("Claim", "Contrast"))
    for key in CLAIM_DEFAULTS:  # checked in the parts
        of_claim[key] = {**of_part[key], "description": of_claim[key]["description"]}
    return schema


if __name__ == "__main__":
    write_schema(claims_schema(), CLAIMS_SCHEMA)
    print(f"wrote {CLAIMS_SCHEMA}")
