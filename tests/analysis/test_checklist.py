"""The checklist of Blalock et al. (2020)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from analysis.checklist import checklist
from analysis.evidence.evidence import Evidence
from analysis.evidence.load import load

REPORTS = Path(__file__).parents[2] / "reports"
POINTS = "At least 5 operating points per pair"


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "pairs", "points", "models"),
    [
        (
            "digits",
            ("not met", "2 pairs"),
            ("met", "at least 6 requested sparsities; 5 allocations without a requested sparsity not counted"),
            ("met", "at least 10 models per pair"),
        ),
        (
            "cifar10-resnet-published",
            ("met", "4 pairs"),
            ("met", "at least 5 requested sparsities"),
            ("not met", "at least 1 model per pair"),
        ),
    ],
)
def test_the_committed_studies(name, pairs, points, models):
    table = checklist(load(REPORTS / name)).set_index("Requirement")
    found = dict(zip(table.index, zip(table["Met"], table["Here"], strict=True), strict=True))
    assert found == {
        "At least 3 pairs of data set and architecture": pairs,
        POINTS: points,
        "Both compression and theoretical speed-up": (
            "met", "every cell: zeros over all parameters, and dense over remaining multiplications",
        ),
        "Accuracy of the dense model": ("met", f"for {pairs[1][0]} of {pairs[1]}"),
        "Error bars over independently trained models": models,
        "Random and magnitude pruning as controls": ("met", "magnitude and random"),
    }  # fmt: skip


def test_an_allocation_without_a_requested_sparsity_is_no_operating_point(study):
    data = study(models=("cnn",), seeds=2)
    rows = data.rows.copy()
    least = rows.loc[rows["sparsity"].gt(0), "sparsity"].min()
    rows.loc[rows["sparsity"].eq(least), ["sparsity", "allocation"]] = [None, "emp"]
    row = checklist(Evidence.of(dataclasses.replace(data, rows=rows))).set_index("Requirement").loc[POINTS]
    assert row["Here"] == "at least 1 requested sparsity; 1 allocation without a requested sparsity not counted"
    assert row["Met"] == "not met"


def test_the_pair_with_the_fewest_points_decides(study):
    data = study(seeds=2)
    first = data.rows["model"].iloc[0]
    least = min(data.rows.loc[data.rows["sparsity"].gt(0), "sparsity"])
    rows = data.rows[data.rows["model"].ne(first) | data.rows["sparsity"].isin([0, least])]
    row = checklist(Evidence.of(dataclasses.replace(data, rows=rows))).set_index("Requirement").loc[POINTS]
    assert row["Here"] == "at least 1 requested sparsity"
