"""Read claims.yaml and the files that it includes; hash what they say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from analysis.claims.include import find_included
from analysis.claims.parts import Strict, Term
from analysis.claims.schema import PARTS, Adjustment, Claim, ClaimsFile, adjusted
from analysis.errors import AnalysisError, nearest
from bench.core.yaml_file import Document, DocumentError, read_document


@dataclass(frozen=True)
class Claims:
    """The claims of a study, inclusions resolved.

    Attributes
    ----------
    claims : tuple of Claim
        In the order of the files.
    hash : str
        SHA-256 of all files that were read.
    looks : tuple of int, optional
        Numbers of models at which the claims are decided.
    places : mapping
        Claim id -> file, line and column of its definition.
    """

    claims: tuple[Claim, ...]
    hash: str
    looks: tuple[int, int] | None = None
    places: Mapping[str, str] = field(default_factory=dict)


def read_claims(path: Path) -> Claims:
    """Read a claims file.

    Parameters
    ----------
    path : Path
        ``STUDY/claims.yaml``.

    Raises
    ------
    AnalysisError
        For anything wrong, with line and column and the nearest valid name.
    """
    missing = f"{path}: there is no such file; begin one with the lines `version: 2` and `include: [sics, asr]`"
    own = _parse(path, missing)
    included = [_include(path, own, number) for number in range(len(own.file.include))]
    placed = _distinct([*included, own])
    claims = [claim for claim, _ in placed]
    known = [claim.id for claim in claims]
    adjust = own.file.adjust
    for name in adjust:
        if name not in known:
            raise AnalysisError(
                f"{own.document.place('adjust', name)}: no claim {name!r} to adjust: {nearest(name, known)}"
            )
    claims = [adjusted(c, adjust[c.id]) if c.id in adjust else c for c in claims]
    contents = [parsed.document.values for parsed in (own, *included)]
    text = json.dumps(contents, sort_keys=True, separators=(",", ":"), allow_nan=False)
    places = {claim.id: place for claim, place in placed}
    return Claims(tuple(claims), hashlib.sha256(text.encode()).hexdigest(), own.file.looks, places)


def claims_hash(path: Path) -> str:
    """SHA-256 of the canonical JSON of a claims file and of the files that it includes.

    Comments, order of keys and layout do not change it; any word or number does.

    Raises
    ------
    AnalysisError
        As `read_claims`.
    """
    return read_claims(path).hash


@dataclass(frozen=True)
class _Parsed:
    """A claims file, validated, and as it was read."""

    document: Document
    file: ClaimsFile


def _include(path: Path, own: _Parsed, number: int) -> _Parsed:
    """Read the file that the entry `number` of `include` names."""
    name, where = own.file.include[number], own.document.place("include", number)
    try:
        source = find_included(name, path.parent)
    except AnalysisError as error:
        raise AnalysisError(f"{where}: {error}") from error
    parsed = _parse(source, f"{where}: {name!r}: there is no file {source}")
    for key in ("include", "adjust", "looks"):
        if key in parsed.document.values:
            raise AnalysisError(
                f"{parsed.document.place(key)}: {key!r} belongs into {path}; an included file has claims alone"
            )
    return parsed


def _distinct(files: list[_Parsed]) -> list[tuple[Claim, str]]:
    """Return the claims of all files in order, each with its place; two of one id are an error."""
    claims: list[tuple[Claim, str]] = []
    first: dict[str, str] = {}
    for parsed in files:
        for number, claim in enumerate(parsed.file.claims):
            place = parsed.document.place("claims", number, "id")
            if claim.id in first:
                raise AnalysisError(f"{place}: two claims have the id {claim.id!r}; the other is at {first[claim.id]}")
            first[claim.id] = place
            claims.append((claim, parsed.document.place("claims", number)))
    return claims


def _parse(source: Traversable, missing: str) -> _Parsed:
    try:
        document = read_document(source, missing)
        return _Parsed(document, ClaimsFile.model_validate(document.values))
    except DocumentError as error:
        raise AnalysisError(str(error)) from error
    except ValidationError as error:
        raise AnalysisError(_explain(document, error)) from error


def _explain(document: Document, error: ValidationError) -> str:
    errors = error.errors()
    # A misspelt key is also a missing one; the misspelling is what can be mended.
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    keys = tuple(first["loc"])
    where = document.place(*keys)
    if first["type"] == "extra_forbidden":
        return f"{where}: unknown key {str(keys[-1])!r}: {nearest(str(keys[-1]), _fields(keys[:-1]))}"
    if keys == ("version",):
        return (
            f"{document.place()}: this file has the old form, in which margins are fractions; write `version: 2` as "
            f"its first line and multiply margins, tolerances and paper values by 100: they are percentage points"
        )
    if first["type"] == "missing":
        return f"{where}: the key {str(keys[-1])!r} is missing"
    if first["type"] == "union_tag_invalid":
        given = str(first["ctx"]["tag"])
        return f"{where}: no estimand {given!r}: {nearest(given, PARTS)}"
    if first["type"] == "union_tag_not_found":
        return f"{where}: the key 'estimand' is missing: {nearest('', PARTS)}"
    name = ".".join(str(key) for key in keys)
    return f"{where}: {name + ': ' if name else ''}{first['msg'].removeprefix('Value error, ')}"


def _fields(keys: tuple[Any, ...]) -> list[str]:
    """Return the valid keys of the record that pydantic's path `keys` ends in."""
    schema: type[Strict] = ClaimsFile
    inner: dict[str, type[Strict]] = {"claims": Claim, "adjust": Adjustment, "terms": Term, **PARTS}
    for key in keys:
        schema = inner.get(str(key), schema)
    return list(schema.model_fields)
