"""Tests of `bench.core.errors`."""

from __future__ import annotations

from bench.core.errors import suggest


def test_a_typing_mistake_gets_the_nearest_name():
    assert suggest("magntude", ["taylor", "magnitude"]) == "did you mean 'magnitude'?"


def test_far_from_all_lists_what_is_valid():
    assert suggest("zzz", ["b", "a"]) == "valid: a, b"
    assert suggest("zzz", [f"name{i:02}" for i in range(20)]).endswith("name11, ...")
