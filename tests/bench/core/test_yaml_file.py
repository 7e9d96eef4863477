"""YAML files of anyone: values are plain, and what cannot be read is one line with its place."""

from __future__ import annotations

import pytest

from bench.core.yaml_file import DEEPEST, MOST_CHARACTERS, DocumentError, read_document


@pytest.fixture
def read(tmp_path):
    def read(text: str):
        (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
        return read_document(tmp_path / "a.yaml", "missing")

    return read


def test_values_are_plain_json(read):
    document = read("a: [1, 2.5, yes, on]\nb: {c: null, d: true}\n1: x\n")
    assert document.values == {"a": [1, 2.5, "yes", "on"], "b": {"c": None, "d": True}, "1": "x"}
    assert {type(value) for value in document.values["a"]} == {int, float, str}


def test_an_empty_file_is_an_empty_mapping(read):
    assert read("").values == {}


def test_places_are_those_of_keys_and_elements(read):
    document = read("a: 1\nb:\n  - x\n  - c: 2\n")
    assert document.place("b").endswith("a.yaml: line 2, column 1")
    assert document.place("b", 1, "c").endswith("line 4, column 5")
    assert document.place("b", "Branch", 0).endswith("line 3, column 5")


def test_a_missing_file_has_the_message_of_the_caller(tmp_path):
    with pytest.raises(DocumentError, match="run new first"):
        read_document(tmp_path / "none.yaml", "run new first")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1", "expected keys and values at the top"),
        ("a: [1", "line 1, column 6: not valid YAML"),
        ("a: 1\na: 2", "not valid YAML"),
        ("1: x\n'1': y", "line 2, column 1: duplicate key '1'"),
        ("a: !!python/object:os.system x", "line 1, column 1: the tag"),
        ("a: .nan", "line 1, column 1: nan is not a finite number"),
        (f"a: {2**63}", "more than 63 bits"),
        ('a: "\\e[2J"', "a control character"),
        ("? [a]\n: 1", "a key that is no text or number"),
        ("a: 2026-01-01", "put it in quotes"),
        ("a: " + "x" * MOST_CHARACTERS, "more than 200,000 characters"),
        ("a: " + "[" * (DEEPEST + 5) + "]" * (DEEPEST + 5), "not valid YAML|levels"),
        ("a: &a [1, 1, 1, 1, 1, 1, 1, 1]\n"
         + "".join(f"{n}: &{n} [{', '.join(['*' + p] * 8)}]\n" for p, n in zip("abcdef", "bcdefg", strict=True)),
         "more than 100,000 values"),
    ],
)  # fmt: skip
def test_what_has_no_json_form_is_refused_in_one_line(read, text, message):
    with pytest.raises(DocumentError, match=message) as caught:
        read(text)
    assert "\n" not in str(caught.value)
