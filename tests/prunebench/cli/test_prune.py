"""``prune``."""

from __future__ import annotations

import pytest
from safetensors import safe_open

from bench.store.reader import read_database


def test_prune_writes_a_model_that_does_what_the_row_says(finished, tmp_path, command):
    rows = read_database(finished).rows
    row = rows[rows["correction"].eq("asr") & rows["recalibration"].eq("cumulative")].iloc[0]
    out = tmp_path / "model.safetensors"
    result = command("prune", finished, row["cell"], "-o", out)
    assert result.code == 0, result.err
    assert f"{100 * row['accuracy']:.2f} %" in result.out
    with safe_open(out, "pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    zeros = sum(int((w == 0).sum()) for n, w in weights.items() if "num_batches" not in n and "running" not in n)
    total = sum(w.numel() for n, w in weights.items() if "num_batches" not in n and "running" not in n)
    assert zeros / total == pytest.approx(row["sparsity_parameters"])
