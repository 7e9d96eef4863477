"""Read claims.yaml and the files that it includes; hash what they say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from analysis.claims.include import find_included
from analysis.claims.parts import LARGEST_POINTS, Strict, Term
from analysis.claims.schema import CLAIM_DEFAULTS, PARTS, Adjustment, Claim, ClaimsFile, adjusted
from analysis.errors import AnalysisError, MistakesError, nearest
from bench.core.yaml_file import Document, DocumentError, read_document

#: Mistakes of a file that are listed; the others are counted.
MOST_MISTAKES = 20

#: Names of types in pydantic's path of a mistake, where a value may have one of several types.
_TYPES = {"Range", "str", "int", "float"}
#: Keys of free text: they name no label.
_TEXTS = {"id", "text", "source", "estimand", "margin_reason"}


@dataclass(frozen=True)
class Source:
    """Where a claim is defined.

    Attributes
    ----------
    document : Document
        The file.
    number : int
        Position among the claims of the file.
    included : bool
        Whether the study includes the file, so that its claims may be about methods that the study does not have.
    """

    document: Document
    number: int
    included: bool


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
    sources : mapping
        Claim id -> where it is defined.
    own : Document, optional
        The study's file, which adjusts included claims.
    """

    claims: tuple[Claim, ...]
    hash: str
    looks: tuple[int, int] | None = None
    sources: Mapping[str, Source] = field(default_factory=dict)
    own: Document | None = None

    def is_included(self, claim: str) -> bool:
        """Whether a claim comes from a file that the study includes."""
        return claim in self.sources and self.sources[claim].included

    def place(self, claim: str, part: str = "", key: str = "", value: Any = None) -> str:
        """Return file, line and column of a claim, a part, one of its keys, or a value below that key.

        Parameters
        ----------
        claim, part : str
            Their ids.
        key : str
            A key of the part, at any depth. Where the part does not have it, the study's adjustment of the claim and
            then the keys of the claim itself, which are the defaults of its parts, are searched.
        value : optional
            A value below the key. One that stands below another key only is found, too.

        Returns
        -------
        str
            Where a key or value cannot be found, the place of the part or claim that has it.
        """
        source = self.sources.get(claim)
        if source is None:
            return f"claim {claim!r}"
        at: tuple[Any, ...] = ("claims", source.number)
        raw = source.document.values["claims"][source.number]
        within: list[tuple[Document, tuple[Any, ...], Any]] = []
        ids = [one.get("id", "main") for one in raw["parts"]]
        if part in ids:
            number = ids.index(part)
            within.append((source.document, (*at, "parts", number), raw["parts"][number]))
        if self.own is not None and claim in self.own.values.get("adjust", {}):
            within.append((self.own, ("adjust", claim), self.own.values["adjust"][claim]))
        shared = {name: raw[name] for name in CLAIM_DEFAULTS if name in raw}
        within.append((source.document, at, shared))
        for document, path, values in within if key else ():
            found = _find(values, key, value)
            if found is not None:
                return document.place(*path, *found)
        document, path, _ = within[0]
        return document.place(*path)


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
    unknown = [name for name in adjust if name not in known]
    if unknown:
        raise MistakesError(
            f"{own.document.place('adjust', name)}: no claim {name!r} to adjust: {nearest(name, known)}"
            for name in unknown
        )
    claims = [adjusted(c, adjust[c.id]) if c.id in adjust else c for c in claims]
    contents = [parsed.document.values for parsed in (own, *included)]
    text = json.dumps(contents, sort_keys=True, separators=(",", ":"), allow_nan=False)
    sources = {claim.id: source for claim, source in placed}
    return Claims(tuple(claims), hashlib.sha256(text.encode()).hexdigest(), own.file.looks, sources, own.document)


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


def _distinct(files: list[_Parsed]) -> list[tuple[Claim, Source]]:
    """Return the claims of all files in order, the study's own last; two of one id are an error."""
    claims: list[tuple[Claim, Source]] = []
    first: dict[str, str] = {}
    for parsed in files:
        for number, claim in enumerate(parsed.file.claims):
            place = parsed.document.place("claims", number, "id")
            if claim.id in first:
                raise AnalysisError(f"{place}: two claims have the id {claim.id!r}; the other is at {first[claim.id]}")
            first[claim.id] = place
            claims.append((claim, Source(parsed.document, number, parsed is not files[-1])))
    return claims


def _parse(source: Traversable, missing: str) -> _Parsed:
    try:
        document = read_document(source, missing)
        return _Parsed(document, ClaimsFile.model_validate(document.values))
    except DocumentError as error:
        raise AnalysisError(str(error)) from error
    except ValidationError as error:
        raise MistakesError(_explain(document, error)) from error


#: Keys of the form before version 2 -> what to write now.
_FORMER = {
    "scan": "write `role: scan` for a part that is exploratory",
    "required": "write `role: supporting` for a part that does not decide",
    "without": "omit it: the report names what a study lacks",
    "per": "write the column and its labels under `readings`",
    "alpha": "omit it: every claim is decided at 0.025, one-sided",
    "family": "omit it: the primary parts of a claim are one family",
}


def _explain(document: Document, error: ValidationError) -> list[str]:
    """Return the mistakes that pydantic found, one line each."""
    errors = error.errors()
    # A misspelt key is also a missing one, and a file of the old form has other mistakes for that reason alone.
    for first in ("version", "extra_forbidden"):
        own = [one for one in errors if one["type"] == first or one["loc"] == (first,)]
        errors = own or errors
    # A list whose items have mistakes is reported as too short, too.
    paths = [tuple(one["loc"]) for one in errors]
    inner = [one for one, path in zip(errors, paths, strict=True) if not any(
        len(other) > len(path) and other[: len(path)] == path for other in paths
    )]  # fmt: skip
    lines = list(dict.fromkeys(_line(document, one) for one in inner))
    more = len(lines) - MOST_MISTAKES
    return [*lines[:MOST_MISTAKES], *([f"{document.shown}: {more} more mistakes"] if more > 0 else [])]


def _line(document: Document, error: Any) -> str:
    keys = tuple(error["loc"])
    where = document.place(*keys)
    name = next((str(key) for key in reversed(keys) if str(key).isidentifier() and key not in _TYPES), "")
    if error["type"] == "extra_forbidden":
        hint = _FORMER.get(str(keys[-1])) or nearest(str(keys[-1]), _fields(keys[:-1]))
        return f"{where}: unknown key {str(keys[-1])!r}: {hint}"
    if keys == ("version",) and not document.values:
        return f"{document.place()}: the file is empty; begin it with the lines `version: 2` and `include: [sics, asr]`"
    if keys == ("version",):
        return (
            f"{document.place()}: this file has the old form, in which margins are fractions; write `version: 2` as "
            f"its first line and multiply margins, tolerances and paper values by 100: they are percentage points"
        )
    if error["type"] == "missing":
        return f"{where}: the key {str(keys[-1])!r} is missing"
    if error["type"] == "union_tag_invalid":
        given = str(error["ctx"]["tag"])
        return f"{where}: no estimand {given!r}: {nearest(given, PARTS)}"
    if error["type"] == "union_tag_not_found":
        return f"{where}: the key 'estimand' is missing: {nearest('', PARTS)}"
    if error["type"] == "less_than_equal" and error["ctx"]["le"] == LARGEST_POINTS:
        return (
            f"{where}: {name}: {error['input']} points is larger than {LARGEST_POINTS:g}; the unit is percentage "
            f"points: write `{name}: 2` for two points"
        )
    if error["type"] == "tuple_type" and isinstance(error["input"], str | int | float):
        return f"{where}: {name}: a list is expected; write `{name}: [{error['input']}]`"
    message = error["msg"].removeprefix("Value error, ")
    return f"{where}: {name + ': ' if name else ''}{message}"


def _fields(keys: tuple[Any, ...]) -> list[str]:
    """Return the valid keys of the record that pydantic's path `keys` ends in."""
    schema: type[Strict] = ClaimsFile
    inner: dict[str, type[Strict]] = {"claims": Claim, "adjust": Adjustment, "terms": Term, **PARTS}
    for key in keys:
        schema = inner.get(str(key), schema)
    return list(schema.model_fields)


def _find(values: Any, key: str, value: Any) -> tuple[Any, ...] | None:
    """Return the path of a key, or of a value: below the key if possible, else the first one; None if there is none."""
    if value is None:
        return next((path for path, _ in _walk(values) if path[-1] == key), None)
    paths = [path for path, found in _walk(values) if found == value or path[-1] == value]
    return next((path for path in paths if key in path), paths[0] if paths else None)


def _walk(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Iterate over the paths and values of a tree, free texts left out."""
    items: Any = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for name, below in items:
        if name not in _TEXTS:
            yield (*path, name), below
            yield from _walk(below, (*path, name))
