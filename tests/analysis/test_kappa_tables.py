"""Tables of kappa."""

from __future__ import annotations

import json

import numpy as np
from kappa_curves import U, made, with_curves

from analysis.formats import NONE
from analysis.kappa.curves import measure, over_draws
from analysis.kappa.study import fused, fused_summary
from analysis.kappa_tables import draws_table, fused_table, kappa_table, plain


def test_the_table_says_the_largest_first_and_what_was_not_found():
    table = kappa_table(measure([made("a5", u=U, fast=np.sin(200 * np.pi * U)), made("mine", u=U)]))
    assert table["Feature"].tolist() == ["largest of 2", "u", "fast", "u"]
    assert table["D"].tolist() == ["> 64", "1", "> 64", "1"]
    assert table["kappa"].tolist() == ["2", "0", "2", "0"]
    assert table["By design"].tolist() == ["2", "", "", NONE]
    assert table["Interpolation"].tolist()[1] == "1"


def test_plain_values_can_be_written_as_json():
    (result,) = measure([made("v1", u=U, wave=np.sin(6 * U))])
    written = json.loads(json.dumps(plain(result)))
    assert written["kappa"] == 1
    assert written["features"][0]["degrees"]["polynomial"] == 1


def test_the_table_of_fused_curves_shows_a_range_where_models_differ(fused_study):
    summary = fused_summary(fused(with_curves(fused_study, a=lambda u: u, b=lambda u: -u)))
    summary.loc[summary["sparsity"].eq(0.8), "most"] = 2.0
    table = fused_table(summary)
    assert set(table["50 %"]) == {"0"}
    assert set(table["80 %"]) == {"0 (0 to 2)"}
    assert set(table["Search"]) == {"equal", "dbo"}


def test_the_table_of_draws_shows_their_range():
    found = over_draws([9] * 30 + [11] * 69 + [None])
    assert draws_table({"s": found})["Range"].tolist() == ["9 to > 1,024"]
