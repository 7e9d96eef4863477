"""Values that a claim may be about, in percentage points, from rows and their notes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from analysis.claims.values import LACKING, WORDS, with_value

CHANNELS = {"channels": 8, "above_after": 2, "layers": 4, "mixed_layers": 1, "loss": 0.125}


@pytest.fixture
def rows(study):
    """Two corrected cells with the variances of their channels, of which the second had none to lose."""
    found = study(seeds=2).rows
    found = found[found["correction"].eq("asr") & found["state"].eq("done")].head(3).copy()
    nothing = {**CHANNELS, "channels": 0, "layers": 0, "loss": None}
    found["notes"] = [json.dumps({"channels": CHANNELS}), json.dumps({"channels": nothing}), "{}"]
    return found


@pytest.mark.parametrize(("name", "value"), [("above_dense", 25), ("coexisting", 25), ("variance_loss", 12.5)])
def test_shares_of_channels_are_those_of_the_notes(rows, name, value):
    np.testing.assert_array_equal(with_value(rows, name), [value, np.nan, np.nan])


def test_the_change_is_from_the_dense_model(rows):
    assert with_value(rows, "accuracy").tolist() == pytest.approx((100 * rows["accuracy"]).tolist())
    change = 100 * (rows["accuracy"] - rows["dense_accuracy"])
    assert with_value(rows, "change").tolist() == pytest.approx(change.tolist())


def test_the_overfit_is_known_of_searched_rows_alone(fused):
    rows = fused(models=("cnn",), sparsities=(0.5,)).rows
    found = with_value(rows, "overfit")
    assert found.index.equals(rows.index)
    searched = rows["search"].eq("dbo") & rows["recalibration"].eq("none")
    assert found[searched].notna().all()
    assert found[~rows["search"].isin(["dbo", "equal"])].isna().all()
    assert found[searched].mean() == pytest.approx(1.5, abs=1e-6)  # what the synthetic searches were given


def test_every_value_has_words_and_a_reason_for_its_absence():
    assert set(WORDS) == set(LACKING)
    assert all(WORDS.values())
