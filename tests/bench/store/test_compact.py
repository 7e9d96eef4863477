"""Tests of `bench.store.compact`."""

from __future__ import annotations

import pytest

from bench.core.errors import UserError
from bench.store.compact import CompactNetwork, read_compact, write_compact

NETWORK = CompactNetwork(
    cell="ab", file="net.pt2", sha256="0" * 64, bytes=10, dense_parameters=8, parameters=4, dense_macs=16.0, macs=4.0,
    layers=({"layer": "conv", "before": 4, "after": 2, "zero": 1},),
    latency=({"batch": 1, "masked": 2.0, "compact": 1.0},), threads=1, device="a processor", torch="2.9",
    largest_difference=1e-8, accuracy=0.5,
)  # fmt: skip


def test_what_is_written_is_read(tmp_path):
    other = NETWORK.model_copy(update={"cell": "aa"})
    write_compact(tmp_path, NETWORK)
    write_compact(tmp_path, other)
    assert read_compact(tmp_path) == (other, NETWORK)


def test_a_second_file_of_a_cell_replaces_the_first(tmp_path):
    write_compact(tmp_path, NETWORK)
    again = NETWORK.model_copy(update={"file": "again.pt2"})
    write_compact(tmp_path, again)
    assert read_compact(tmp_path) == (again,)


@pytest.mark.parametrize("content", ["", "{", '{"cell": "ab"}', "[]"])
def test_a_damaged_file_is_one_line(tmp_path, content):
    path = write_compact(tmp_path, NETWORK)
    path.write_text(content)
    with pytest.raises(UserError, match="is damaged: ") as error:
        read_compact(tmp_path)
    assert "\n" not in str(error.value)
