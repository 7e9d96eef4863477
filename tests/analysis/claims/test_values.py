"""Values that a claim may be about, computed from rows and their notes."""

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


@pytest.mark.parametrize(("name", "value"), [("above_dense", 0.25), ("coexisting", 0.25), ("variance_loss", 0.125)])
def test_shares_of_channels_are_those_of_the_notes(rows, name, value):
    np.testing.assert_array_equal(with_value(rows, name), [value, np.nan, np.nan])


def test_the_change_is_from_the_dense_model(rows):
    assert with_value(rows, "accuracy").tolist() == rows["accuracy"].tolist()
    assert with_value(rows, "change").tolist() == (rows["accuracy"] - rows["dense_accuracy"]).tolist()


def test_the_overfit_is_known_of_searched_rows_alone(fused):
    rows = fused(models=("cnn",), sparsities=(0.5,)).rows
    found = with_value(rows, "overfit")
    assert found.index.equals(rows.index)
    searched = rows["search"].eq("dbo") & rows["recalibration"].eq("none")
    assert found[searched].notna().all()
    assert found[~rows["search"].isin(["dbo", "equal"])].isna().all()
    assert found[searched].mean() == pytest.approx(0.015, abs=1e-6)  # what the synthetic searches were given


def test_every_value_has_words_and_a_reason_for_its_absence():
    assert set(WORDS) == set(LACKING)
    assert all(WORDS.values())
