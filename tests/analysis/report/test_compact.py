"""Tests of `analysis.report.compact`."""

from __future__ import annotations

import dataclasses

import pytest

from analysis.evidence.load import read_parquet, write_parquet
from analysis.report.compact import physical_removal
from bench.store.compact import CompactNetwork


def network(cell, **changed):
    values = {
        "cell": cell, "file": "net.pt2", "sha256": "0" * 64, "bytes": 10, "dense_parameters": 800, "parameters": 400,
        "dense_macs": 1600.0, "macs": 500.0, "layers": [{"layer": "conv", "before": 4, "after": 2, "zero": 1}],
        "latency": [{"batch": 1, "masked": 2.0, "compact": 1.6}, {"batch": 128, "masked": 9.0, "compact": 3.0}],
        "threads": 2, "device": "a processor", "torch": "2.9", "largest_difference": 1e-8, "accuracy": 0.5,
    }  # fmt: skip
    return CompactNetwork(**{**values, **changed}).model_dump(mode="json")


@pytest.fixture(scope="module")
def data(study):
    found = study(seeds=2, granularities=("channel",))
    cells = found.rows.loc[found.rows["scorer"].eq("taylor"), "cell"].tolist()
    compact = [network(cells[0]), network(cells[1], parameters=200), network("f" * 64)]
    return dataclasses.replace(found, meta={**found.meta, "compact": compact})


def test_sizes_and_latencies_are_ratios(data):
    section = physical_removal(data)
    frame = section.tables[0].frame
    assert len(frame) == 2  # the third cell is not of this study
    assert frame["Ratio of parameters"].tolist() == ["2.00", "4.00"]
    assert set(frame["Ratio of MACs"]) == {"3.20"}
    assert set(frame["Ratio of latency, batch 1"]) == {"1.25 (2.00 / 1.60 ms)"}
    assert set(frame["Ratio of latency, batch 128"]) == {"3.00 (9.00 / 3.00 ms)"}
    assert set(frame["Zero channels that stay"]) == {"1"}
    assert "a processor, 2 threads, torch 2.9" in section.text[1]


def test_a_study_without_compact_networks_has_no_section(study):
    assert physical_removal(study(seeds=2)) is None


def test_the_data_of_a_report_keeps_the_networks(data, tmp_path):
    write_parquet(data, tmp_path / "data.parquet")
    again = read_parquet(tmp_path / "data.parquet")
    assert physical_removal(again).tables[0].frame.equals(physical_removal(data).tables[0].frame)
