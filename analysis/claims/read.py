"""Read claims.yaml and the files that it includes; hash what they say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from analysis.claims.include import find_included
from analysis.claims.schema import PARTS, Adjustment, Claim, ClaimsFile, Strict, Term, adjusted, expanded
from analysis.errors import AnalysisError, nearest


@dataclass(frozen=True)
class Claims:
    """The claims of a study, inclusions resolved, and the hash of all that was read."""

    claims: tuple[Claim, ...]
    hash: str


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
    missing = f"{path}: there is no such file; a line `include: [sics, asr]` is a start"
    own = _parse(str(path), _text(path, missing))
    included = [_include(path, own, number) for number in range(len(own.file.include))]
    claims = _distinct([*included, own])
    known = [claim.id for claim in claims]
    adjust = own.file.adjust
    for name in adjust:
        if name not in known:
            raise AnalysisError(f"{own.place('adjust', name)}: no claim {name!r} to adjust: {nearest(name, known)}")
    claims = [adjusted(c, adjust[c.id]) if c.id in adjust else c for c in claims]
    claims = [each for claim in claims for each in expanded(claim)]
    contents = [_plain(parsed.tree) for parsed in (own, *included)]
    text = json.dumps(contents, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return Claims(tuple(claims), hashlib.sha256(text.encode()).hexdigest())


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
    """A claims file with the name that errors call it and the place of every key."""

    shown: str
    tree: CommentedMap
    file: ClaimsFile

    def place(self, *keys: Any) -> str:
        """File, line and column of a key."""
        return f"{self.shown}: {_place(self.tree, keys)}"


def _include(path: Path, own: _Parsed, number: int) -> _Parsed:
    """Read the file that the entry `number` of `include` names."""
    name, where = own.file.include[number], own.place("include", number)
    try:
        source = find_included(name, path.parent)
    except AnalysisError as error:
        raise AnalysisError(f"{where}: {error}") from error
    parsed = _parse(str(source), _text(source, f"{where}: {name!r}: there is no file {source}"))
    for key in ("include", "adjust"):
        if key in parsed.tree:
            raise AnalysisError(f"{parsed.place(key)}: {key!r} belongs into {path}; an included file has claims alone")
    return parsed


def _distinct(files: list[_Parsed]) -> list[Claim]:
    """Return the claims of all files in order; two of one id are an error."""
    claims: list[Claim] = []
    first: dict[str, str] = {}
    for parsed in files:
        for number, claim in enumerate(parsed.file.claims):
            place = parsed.place("claims", number, "id")
            if claim.id in first:
                raise AnalysisError(f"{place}: two claims have the id {claim.id!r}; the other is at {first[claim.id]}")
            first[claim.id] = place
            claims.append(claim)
    return claims


def _text(source: Traversable, missing: str) -> str:
    try:
        return source.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise AnalysisError(missing) from error
    except (OSError, UnicodeDecodeError) as error:
        raise AnalysisError(f"{source}: cannot be read: {error}") from error


def _parse(shown: str, text: str) -> _Parsed:
    try:
        tree = YAML(typ="rt", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
        problem = " ".join((error.problem or "").split())
        raise AnalysisError(f"{shown}: {where}: not valid YAML: {problem}") from error
    except (YAMLError, ValueError) as error:
        raise AnalysisError(f"{shown}: not valid YAML: {' '.join(str(error).split())}") from error
    tree = CommentedMap() if tree is None else tree
    if not isinstance(tree, CommentedMap):
        raise AnalysisError(f"{shown}: expected keys and values at the top, found {type(tree).__name__}")
    try:
        return _Parsed(shown, tree, ClaimsFile.model_validate(_plain(tree)))
    except ValidationError as error:
        raise AnalysisError(_explain(shown, tree, error)) from error


def _plain(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_plain(value) for value in node]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def _place(tree: Any, keys: tuple[Any, ...]) -> str:
    line, column, node = 0, 0, tree
    for key in keys:
        if isinstance(node, CommentedMap) and key in node:
            line, column = node.lc.key(key)
        elif isinstance(node, CommentedSeq) and isinstance(key, int) and key < len(node):
            line, column = node.lc.item(key)
        else:
            continue  # pydantic names the kind of a part on the way; the file does not
        node = node[key]
    return f"line {line + 1}, column {column + 1}"


def _explain(shown: str, tree: CommentedMap, error: ValidationError) -> str:
    errors = error.errors()
    # A misspelt key is also a missing one; the misspelling is what can be mended.
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    keys = tuple(first["loc"])
    where = f"{shown}: {_place(tree, keys)}"
    if first["type"] == "extra_forbidden":
        return f"{where}: unknown key {str(keys[-1])!r}: {nearest(str(keys[-1]), _fields(keys[:-1]))}"
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
