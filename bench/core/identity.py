"""Canonical JSON, content hashes and named random seeds.

A cell's identity is the SHA-256 of the canonical JSON of its fully resolved spec, so two
studies that ask for the same thing agree on its id, whatever order they wrote it in.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SEED_BITS = 63


def canonical_json(value: Any) -> str:
    """Serialise `value` with sorted keys, no spaces and no NaN.

    Raises
    ------
    ValueError
        If a float is NaN or infinite.
    TypeError
        If a value has no JSON form.

    Examples
    --------
    >>> canonical_json({"b": (1, 2.0), "a": None})
    '{"a":null,"b":[1,2.0]}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no canonical JSON form")


def digest(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of `value`.

    Examples
    --------
    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def named_seed(stream: str, *parts: Any) -> int:
    """Seed of one random stream, a 63-bit hash of the stream's own named parts.

    Parameters
    ----------
    stream : str
        ``"train"``, ``"calibration"``, ``"scorer"``...
    *parts
        What the stream may depend on, and nothing else (METHODS: seeds).

    Examples
    --------
    >>> named_seed("calibration", "digits", 0) == named_seed("calibration", "digits", 0)
    True
    >>> named_seed("calibration", "digits", 0) == named_seed("calibration", "digits", 1)
    False
    """
    return int(digest([stream, *parts]), 16) >> (256 - SEED_BITS)
