"""Strategies that damage valid files, and the means to run them."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML


class Raw(str):
    """YAML that is written as it is."""

    __slots__ = ()


def flow(value: object) -> str:
    """Write a value as YAML in one line."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{flow(key)}: {flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return json.dumps(value)


def laughs(levels: int) -> str:
    lines = ["l0: &l0 [ha, ha]", *(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, levels))]
    return "\n".join(lines) + "\n"


#: What a careless or hostile author writes; MARK is made if a tag is ever obeyed.
SCALARS = (
    "", " ", "none", "null", "-", "a" * 300, "../../up", "/etc/passwd", "~nobody/x", "${NO_SUCH}", "{seed}", "a:b", ":",
    "./x.py:f", "os:getcwd", "3:5", "0:0", "parquet:.", "folder:/dev", "parquet:", "digits", "resnet18", "[/red]", "%s",
    "<script>", "\u202e", "\U0001f600", "\u0663", "\x00", "\x1b[31m", "\ud800", "line\nline", "\u2028", "e\u0301",
    "$x^$",
    0, 1, -1, 2, 3, 10**4, 10**9, 10**30, -(10**30), 0.0, -0.0, 0.5, 1.0, 1e-300, 1e300, True, False, None,
    Raw(".nan"), Raw(".inf"), Raw("-.inf"), Raw("2001-01-01"), Raw("2001-12-14t21:59:43.1-05:00"),
    Raw("0x" + "f" * 5000),
    Raw("1" * 5000), Raw("!!binary aGk="), Raw("!!set {a, b}"), Raw("!!omap [a: 1]"), Raw("!!bool x"), Raw("!x y"),
    Raw("!!python/object/apply:os.system ['touch MARK']"), Raw("!!python/object/new:os.system ['touch MARK']"),
    Raw("!!python/name:os.system"), Raw("&a [*a]"), Raw("&a {b: *a}"), Raw("*absent"), Raw("&b x"), Raw("{<<: {a: 1}}"),
    Raw("[" * 70 + "]" * 70), Raw("[" * 200 + "]" * 200), Raw("{? [1, 2] : 3}"), Raw("{null: 1, 1: 2, '1': 3}"),
)  # fmt: skip


VALUES = (
    st.sampled_from(SCALARS) | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
)


#: What a valid file may well say elsewhere, or with another number.
PLAUSIBLE = (
    "lamp", "global", "erk", "ema", "cumulative", "asr", "digits_vit", "resnet10t", "v1", "dbo", "head", "*",
    "magnitude",
    "2:4", "bfloat16", "channels_last", "auto", "no", "taylor", "channel", 0, 1, 2, 3, 7, 100, 500, 10**4, 10**6,
    10**9, -1,
    0.0, 0.5, 0.9, 0.999999, 1.0, 2.5, True, [], {}, None, "", "x", {"name": "x"}, ["digits_cnn", "digits_vit"],
)  # fmt: skip


HOSTILE = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


SNIPPETS = (
    "\t", "\ufeff", "\x00", "- ", ": ", "&a ", "*a", "*one", "{", "}", "[", "]", '"', "'", "|", ">", "%YAML 1.1\n---\n",
    "...\n", "---\n", "<<: *one\n", "? ", "\u2028", "\u0660", "\r", "\n", "\n\n  ", "#",
    "!!python/object:os.system ", "!!map ",
    "a" * 5000, "[" * 200, "x: 1\n", "0x_", "1e400", "@", "`", ",", "no", "\udcff", laughs(12),
)  # fmt: skip


@st.composite
def mutated_tree(draw, tree: object) -> str:
    """A valid tree with a few values dropped, renamed, doubled or replaced, written in one line."""
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        node, key, parent = tree, None, None
        while isinstance(node, (dict, list)) and node and (parent is None or draw(st.integers(0, 3))):
            parent = node
            key = draw(st.sampled_from(list(node) if isinstance(node, dict) else range(len(node))))
            node = node[key]
        if parent is None:
            continue
        change = draw(st.sampled_from(["replace", "replace", "drop", "rename", "double", "wrap"]))
        if change == "replace":
            parent[key] = draw(st.sampled_from(PLAUSIBLE) | HOSTILE)
        elif change == "drop":
            del parent[key]
        elif change == "wrap":
            parent[key] = draw(st.sampled_from([[node], {"name": node}, [[node]], {"not": node}]))
        elif isinstance(parent, list):
            parent.insert(key, copy.deepcopy(node))
        elif change == "rename":
            parent[draw(st.sampled_from([f"{key}s", str(key)[:-1], "", 3, Raw("null"), Raw("[a]")]))] = parent.pop(key)
        else:
            parent[Raw(f"{key} ")] = copy.deepcopy(node)
    return flow(tree)


@st.composite
def mutated_text(draw, text: str) -> bytes:
    """A valid file with a few pieces put in, cut out or moved, and now and then with bytes that are no text."""
    for _ in range(draw(st.integers(1, 4))):
        start, length = draw(st.integers(0, len(text))), draw(st.sampled_from([0, 0, 1, 2, 5, 20, 200]))
        text = text[:start] + draw(st.sampled_from(("", *SNIPPETS))) + text[start + length :]
    content = text.encode("utf-8", "surrogatepass")
    return draw(
        st.sampled_from(
            [content] * 8 + [b"\xff" + content, content.decode().encode("utf-16") if "\udcff" not in text else content]
        )
    )


def mutated_files(text: str, tree: object) -> st.SearchStrategy[bytes]:
    odd = [
        b"",
        b"\x00",
        b"\xff\xfe\x00",
        b"- 1\n",
        b"3\n",
        laughs(30).encode(),
        b"k: " + b"a" * 300_000,
        b"[" * 100_000,
    ]
    trees = mutated_tree(tree).map(lambda made: made.encode("utf-8", "surrogatepass"))
    return st.one_of(trees, trees, trees, trees, mutated_text(text), st.sampled_from(odd))


def fuzz(strategy, check, examples: int) -> None:
    """Check so many examples, the same ones every time; the one that fails is left in the test's folder."""
    chosen = settings(
        max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    chosen(given(strategy)(check))()


def shares(few: int, many: int):
    return pytest.mark.parametrize("examples", [few, pytest.param(many, marks=pytest.mark.slow)])


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def tree_of(text: str) -> object:
    return YAML(typ="safe", pure=True).load(text)
