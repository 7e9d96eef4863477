"""YAML files that people write, read as JSON values with the place of every key.

They may come from anyone: no tag makes an object, and size, depth and what aliases expand to are bounded.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.scalarbool import ScalarBoolean

#: The parser reads about 40,000 characters a second.
MOST_CHARACTERS, MOST_VALUES, DEEPEST = 200_000, 100_000, 50


class DocumentError(Exception):
    """A file cannot be read as YAML; the message is one line: file, place and what is wrong."""


@dataclass(frozen=True)
class Document:
    """A YAML mapping.

    Attributes
    ----------
    shown : str
        The file, as messages name it.
    tree : CommentedMap
        What ruamel.yaml made of it, with the place of every key.
    values : dict
        The same as JSON values.
    """

    shown: str
    tree: CommentedMap
    values: dict[str, Any]

    def place(self, *keys: Any) -> str:
        """File, line and column of a key path; keys that are not in the file (a schema's own) are passed over."""
        return f"{self.shown}: {_place(self.tree, keys)}"


def read_document(source: Traversable, missing: str) -> Document:
    """Read a YAML 1.2 mapping.

    Parameters
    ----------
    source : Path or other Traversable
        The file; an empty one is an empty mapping.
    missing : str
        The message where there is no such file.

    Raises
    ------
    DocumentError
        If it is missing, too large, not YAML, no mapping, or holds what has no JSON form.
    """
    tree = _parse(source, _text(source, missing))
    if not isinstance(tree, CommentedMap):
        found = "a list" if isinstance(tree, CommentedSeq) else "a single value"
        raise DocumentError(f"{source}: line 1, column 1: expected keys and values at the top, found {found}")
    try:
        values = _plain(tree, (), iter(range(MOST_VALUES)))
    except _Unusable as error:
        raise DocumentError(f"{source}: {_place(tree, error.keys)}: {error.problem}") from error
    return Document(str(source), tree, values)


def _text(source: Traversable, missing: str) -> str:
    try:
        if not source.is_file():  # reading a pipe or a device may never end
            raise DocumentError(missing)
        with source.open("r", encoding="utf-8") as stream:
            text: str = stream.read(MOST_CHARACTERS + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(f"{source}: cannot be read: {error}") from error
    if len(text) > MOST_CHARACTERS:
        raise DocumentError(f"{source}: has more than {MOST_CHARACTERS:,} characters; divide it")
    return text


def _parse(source: Traversable, text: str) -> Any:
    yaml = YAML(typ="rt", pure=True)
    yaml.max_depth = DEEPEST
    try:
        tree = yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
        raise DocumentError(f"{source}: {where}: not valid YAML: {str(error.problem)[:200]}") from error
    except Exception as error:  # ruamel.yaml raises anything on odd tags, numbers and deep nesting
        raise DocumentError(f"{source}: not valid YAML: {error}") from error
    return CommentedMap() if tree is None else tree


class _Unusable(Exception):  # noqa: N818 - it becomes a DocumentError where the file is known
    """A value without a JSON form, at a key path."""

    def __init__(self, keys: tuple[Any, ...], problem: str) -> None:
        self.keys, self.problem = keys, problem


def _plain(node: Any, keys: tuple[Any, ...], left: Iterator[int]) -> Any:
    """Return JSON values. Aliases are followed, so a few lines may mean billions of values: `left` counts them."""
    if next(left, None) is None or len(keys) > DEEPEST:
        raise _Unusable(keys[:1], f"more than {MOST_VALUES:,} values or {DEEPEST} levels, aliases followed")
    if getattr(getattr(node, "tag", None), "value", None) is not None:
        raise _Unusable(keys, f"the tag {node.tag.value} means nothing here; remove it")
    if isinstance(node, Mapping):
        plain: dict[str, Any] = {}
        for key, value in node.items():
            name = _plain(key, (*keys, key), left)
            if name is None or isinstance(name, (list, dict)):
                raise _Unusable(keys, "a key that is no text or number")
            if str(name) in plain:
                raise _Unusable((*keys, key), f"duplicate key {str(name)!r}")
            plain[str(name)] = _plain(value, (*keys, key), left)
        return plain
    if isinstance(node, (list, tuple)):
        return [_plain(value, (*keys, number), left) for number, value in enumerate(node)]
    return _scalar(node, keys)


def _scalar(node: Any, keys: tuple[Any, ...]) -> str | bool | int | float | None:
    if node is None:
        return None
    if isinstance(node, (bool, ScalarBoolean)):
        return bool(node)
    if isinstance(node, int):
        if abs(node) >= 2**63:  # the integers of databases and Parquet
            raise _Unusable(keys, "a whole number of more than 63 bits")
        return int(node)
    if isinstance(node, float):
        if not math.isfinite(node):
            raise _Unusable(keys, f"{float(node)} is not a finite number")
        return float(node)
    if isinstance(node, str):
        # control characters command a terminal, and half a surrogate pair cannot be written anywhere
        if any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t" for c in node):
            raise _Unusable(keys, "a control character in a text; remove it")
        return str(node)
    raise _Unusable(keys, f"a {type(node).__name__} is no text or number; put it in quotes")


def _place(tree: Any, keys: tuple[Any, ...]) -> str:
    line, column, node = 0, 0, tree
    for key in keys:
        if isinstance(node, CommentedMap) and key in (node.lc.data or ()):  # a merged key (<<) has no place
            line, column = node.lc.key(key)
        elif isinstance(node, CommentedSeq) and isinstance(key, int) and key < len(node):
            line, column = node.lc.item(key)
        else:
            continue
        node = node[key]
    return f"line {line + 1}, column {column + 1}"
