"""Allocations that set the sparsity themselves, through a whole study."""

from __future__ import annotations

import json
from pathlib import Path

from bench.store.reader import read_database

STUDY = """\
name: own
data: [digits]
models:
  - {name: digits_cnn, recipe: {epochs: 1}}
train_seeds: 1
granularities: [weight, channel]
scorers: [magnitude]
allocations: [uniform, erk, lamp, emp, {name: emp, scope: global, beta: 0.5}, 2:4, {name: n:m, n: 1, m: 8}]
sparsities: [0.5, 0.8]
"""


def test_a_study_with_them(tmp_path: Path, command) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    done = command("run", tmp_path)
    assert done.code == 0, done.err
    rows = read_database(tmp_path).rows
    pruned = rows[rows["scorer"].ne("dense")]
    own = pruned[~pruned["allocation"].isin(["uniform", "erk", "lamp"])]
    assert own["sparsity"].isna().all()
    assert pruned.drop(own.index)["sparsity"].notna().all()
    # once each, not once per sparsity of the study
    assert own.groupby(["granularity", "scorer", "allocation"]).size().eq(1).all()
    assert len(own) == 2 * 4

    patterns = own["allocation"].isin(["2:4", "n:m(n=1, m=8)"])
    skipped = own[patterns & own["granularity"].eq("channel")]
    assert skipped["state"].eq("skipped").all()
    assert skipped["reason"].str.contains("defined for granularity weight only").all()
    assert pruned.drop(skipped.index)["state"].eq("done").all()

    for row in own[own["state"].eq("done")].to_dict("records"):
        notes = json.loads(row["notes"])
        assert 0 < row["sparsity_achieved"] < 1
        if row["allocation"] == "emp":
            assert all(part["s_eff"] >= part["bound"] > 0 for part in notes["emp"].values())
            assert notes["zero_layers"] == []
        elif "emp" in row["allocation"]:
            assert notes["emp"]["all"]["no_bound"] == "beta is not 1"
        else:
            assert notes["dense_layers"] == ["features.0"]
