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
allocations:
  [uniform, erk, lamp, emp, {name: emp, scope: layer}, {name: emp, scope: output}, {name: emp, beta: 0.5},
   {name: emp, spread: uniform}, 2:4, {name: n:m, n: 1, m: 8}]
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
    assert len(own) == 2 * 7

    patterns = own["allocation"].isin(["2:4", "n:m(n=1, m=8)"])
    skipped = own[patterns & own["granularity"].eq("channel")]
    assert skipped["state"].eq("skipped").all()
    assert skipped["reason"].str.contains("defined for granularity weight only").all()
    [rows_of_channels] = own.index[own["allocation"].eq("emp(scope=output)") & own["granularity"].eq("channel")]
    assert own.loc[rows_of_channels, "state"] == "skipped"
    assert "a channel is a whole output" in own.loc[rows_of_channels, "reason"]
    assert pruned.drop([*skipped.index, rows_of_channels])["state"].eq("done").all()

    for row in own[own["state"].eq("done")].to_dict("records"):
        notes = json.loads(row["notes"])
        assert 0 < row["sparsity_achieved"] < 1
        if row["allocation"] in ("emp", "emp(scope=layer)", "emp(scope=output)"):
            assert all(part["s_eff"] >= part["bound"] > 0 for part in notes["emp"].values())
            assert (set(notes["emp"]) == {"all"}) == (row["allocation"] == "emp")
            assert notes["zero_layers"] == []
        elif row["allocation"] == "emp(beta=0.5)":
            assert notes["emp"]["all"]["no_bound"] == "beta is not 1"
        elif row["allocation"] == "emp(spread=uniform)":
            assert notes["emp"]["all"]["no_bound"] == "spread over the layers"
        else:
            assert notes["dense_layers"] == ["features.0"]
    control = own[own["allocation"].isin(["emp", "emp(spread=uniform)"])].groupby("granularity", sort=False)
    # a contrast of both pairs rows of equal sparsities alone
    assert control["sparsity_achieved"].nunique().eq(1).all()
    assert control["mask"].nunique().eq(2).all()
