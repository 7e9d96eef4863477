"""Canonical JSON, hashes and seeds."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.identity import canonical_json, digest, file_digest, named_seed

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(PLAIN)
def test_canonical_json_reads_back(value):
    assert json.loads(canonical_json(value)) == value


@given(st.dictionaries(st.text(), PLAIN, max_size=4))
def test_order_of_keys_does_not_matter(mapping):
    assert digest(mapping) == digest(dict(reversed(mapping.items())))


def test_digest_is_sha256_of_the_text():
    assert digest({"b": 1, "a": None}) == hashlib.sha256(b'{"a":null,"b":1}').hexdigest()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_without_json_form_are_refused(value):
    with pytest.raises(ValueError, match="JSON"):
        canonical_json([value])


def test_objects_without_json_form_are_refused():
    with pytest.raises(TypeError, match="set"):
        canonical_json({"a": {1}})


def test_file_digest(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert file_digest(tmp_path / "f") == hashlib.sha256(b"abc").hexdigest()


@given(st.lists(st.text() | st.integers(), min_size=1, max_size=4, unique_by=repr))
def test_seeds_depend_on_every_part_and_on_the_stream(parts):
    seed = named_seed("calibration", *parts)
    assert 0 <= seed < 2**63
    assert seed == named_seed("calibration", *parts)
    assert seed != named_seed("scorer", *parts)
    assert seed != named_seed("calibration", *parts, 0)
