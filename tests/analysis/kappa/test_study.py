"""Kappa of a study's own curves, and of fused scores with known weights."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from kappa_curves import with_curves

from analysis.kappa.approximation import scaled
from analysis.kappa.curves import drawdown, kappa
from analysis.kappa.study import fused, fused_summary, study_curves


def test_fused_curves_are_measured_at_each_searchs_own_weights(fused_study):
    data = with_curves(fused_study, a=lambda u: u, b=lambda u: u + np.sin(60 * u))
    rows = data.rows.copy()
    notes = [json.loads(text) if isinstance(text, str) else {} for text in rows["notes"]]
    for note, search in zip(notes, rows["search"], strict=True):
        if "search" in note:
            note["search"]["weights"] = [1.0, 0.0] if search == "equal" else [0.5, -1.0]
    rows["notes"] = [json.dumps(note) for note in notes]
    found = fused(dataclasses.replace(data, rows=rows))
    u = np.linspace(0.1, 1, 512)
    other = 0.5 * scaled(u) - scaled(u + np.sin(60 * u))
    expected = {"equal": (0, 0.0), "dbo": (kappa([other])[0], float(drawdown(scaled(other))))}
    assert expected["dbo"][0] == 2
    assert len(found) == 2 * 2 * 2 * 4  # scorers, searches, sparsities, models
    for search, (class_, fall) in expected.items():
        own = found[found["search"].eq(search)]
        assert set(own["kappa"]) == {class_}
        assert own["drawdown"].to_numpy() == pytest.approx(np.full(len(own), fall))


def test_weights_belong_to_their_features_whatever_the_order(fused_study):
    first = fused(with_curves(fused_study, b=lambda u: u, a=lambda u: u**2))  # the notes name a, then b: 1, -1
    second = fused(with_curves(fused_study, a=lambda u: u**2, b=lambda u: u))
    u = np.linspace(0.1, 1, 512)
    fall = float(drawdown(scaled(scaled(u**2) - scaled(u))))
    for found in (first, second):
        assert found["drawdown"].to_numpy() == pytest.approx(np.full(len(found), fall))


def test_a_scorer_without_a_curve_is_not_measured_and_its_models_are_left_out(fused_study):
    data = with_curves(fused_study, a=lambda u: u, b=lambda u: -u)
    data = dataclasses.replace(data, curves=data.curves[data.curves["scorer"].eq("v1")])
    found = fused(data)
    assert found.loc[found["scorer"].eq("a5"), "kappa"].isna().all()
    assert found.loc[found["scorer"].eq("v1"), "kappa"].eq(0).all()
    summary = fused_summary(found)
    assert set(summary["scorer"]) == {"v1"}
    assert summary["by_design"].tolist() == [1] * len(summary)
    assert summary[["n", "median", "least", "most"]].drop_duplicates().to_numpy().tolist() == [[4, 0, 0, 0]]


def test_a_study_without_feature_scorers_has_nothing_to_measure(study):
    data = study(seeds=2)
    assert list(study_curves(data)) == []
    assert fused_summary(fused(data)).empty


def test_draws_of_random_features_are_kept_apart(fused_study):
    data = with_curves(fused_study, a=lambda u: u, b=lambda u: -u)
    other = data.curves[data.curves["scorer"].eq("v1")].assign(draw=1, value=lambda f: 1 - f["value"])
    curves = pd.concat([data.curves, other], ignore_index=True)
    found = list(study_curves(dataclasses.replace(data, curves=curves)))
    assert [(one.scorer, one.draw) for one in found] == [("v1", 0), ("a5", 0), ("v1", 1)]
    rows = data.rows.assign(calibration_draw=data.rows["calibration_draw"].where(data.rows["train_seed"].ne(0), 1))
    measured = fused(dataclasses.replace(data, rows=rows, curves=curves))
    own = measured[measured["scorer"].eq("v1")]
    assert own.groupby("train_seed")["kappa"].unique().map(list).to_dict() == {0: [1.0], 1: [0.0], 2: [0.0], 3: [0.0]}
    assert measured.loc[measured["scorer"].eq("a5"), "kappa"].eq(0).all()  # draw 1 has the curve of draw 0
