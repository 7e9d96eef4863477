"""Common steps of identities."""

from __future__ import annotations

import pandas as pd

from analysis.claims.identities import identity_question, settings_of, unevaluated


def test_cells_that_were_not_evaluated_are_counted_by_reason():
    rows = pd.DataFrame({
        "state": ["done", "failed", "failed", None, "running", "skipped"],
        "reason": [None, "NaN scores", None, None, None, "no BatchNorm"],
    })  # fmt: skip
    assert unevaluated(rows) == {"failed: NaN scores": 1, "failed": 1, "to do": 2, "skipped: no BatchNorm": 1}


def test_rows_of_every_data_set_model_and_granularity(study):
    rows = study(seeds=2, repairs=False, scorers=("magnitude", "rank")).rows
    found = {
        (s["model"], s.get("granularity")): len(cells) for s, cells in settings_of(rows[rows["scorer"].ne("dense")])
    }
    assert set(found) == {("cnn", "weight"), ("cnn", "channel"), ("vit", "weight"), ("vit", "channel")}
    assert sum(found.values()) == int(rows["scorer"].ne("dense").sum())


def test_a_question_of_an_identity(part):
    own = part(estimand="mask_identity", scorers=["rank"], where={"allocation": "uniform", "model": ["cnn", "vit"]})
    compared = pd.DataFrame({"checkpoint": ["a", "a", "b"]})
    record = identity_question(own, {"model": "cnn"}, "masks", compared, 1, {"failed": 0, "to do": 2}, test="t").record
    assert (record.kind, record.n, record.comparisons, record.mismatches) == ("identity", 2, 3, 1)
    assert record.setting == {"model": "cnn", "allocation": "uniform"}
    assert record.counts == {"to do": 2}
    empty = identity_question(own, {"model": "cnn"}, "masks", compared.iloc[:0], 0, {"failed: x": 1})
    assert (empty.record.category, empty.void) == ("no data", False)
