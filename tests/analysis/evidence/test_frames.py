"""Frames by hand: pairing inside blocks only, draws averaged, failures in the denominator."""

import numpy as np
import pandas as pd
import pytest

from analysis.comparisons import SAME_MASK, escapes, repair_gains
from analysis.evidence import frames
from analysis.stats.intervals import bca_bounds, t_interval
from tests.rows_alone import evidence_of


def test_escape_is_the_difference_from_magnitude_in_the_same_block(study):
    rows = study(draws=2, seeds=3).rows
    found = frames.escape(rows)
    one = found.iloc[17]
    own = rows[np.logical_and.reduce([rows[key].eq(one[key]) for key in (*frames.SETTING, "checkpoint")])]
    by_draw = own.pivot_table(index="calibration_draw", columns="scorer", values="accuracy")
    assert one["difference"] == pytest.approx((by_draw[one["scorer"]] - by_draw["magnitude"]).mean())
    assert one["draws"] == 2


@pytest.mark.parametrize("column", ["precision", "device_class", "checkpoint", "calibration_draw", "sparsity"])
def test_rows_of_different_blocks_are_never_compared(study, column):
    rows = study(seeds=2, models=("cnn",)).rows
    other = rows["scorer"].eq("taylor")
    value = {"calibration_draw": 9, "sparsity": 0.123}.get(column, "other")
    rows[column] = rows[column].where(~other, value)
    assert "taylor" not in set(frames.contrast(rows, "scorer", "magnitude")["scorer"])
    assert "wanda" in set(frames.contrast(rows, "scorer", "magnitude")["scorer"])


def test_a_missing_draw_is_left_out_of_both_sides(study):
    rows = study(draws=2, seeds=2).rows
    lost = rows.index[rows["scorer"].eq("magnitude") & rows["calibration_draw"].eq(1)]
    found = frames.escape(rows.drop(lost))
    assert set(found["draws"]) == {1}


def test_states_add_up_to_the_plan(study):
    rows = study(seeds=4).rows
    rows.loc[rows.index[:50], "state"] = "failed"
    rows.loc[rows.index[50:80], "state"] = None
    rows.loc[rows.index[80:90], "state"] = "running"
    counted = frames.count_states(rows)
    assert counted["planned"].sum() == len(rows)
    assert (counted[["done", "failed", "skipped", "to_do"]].sum(axis=1) == counted["planned"]).all()
    assert counted["to_do"].sum() == 40


def test_summary_equals_the_intervals_one_by_one(study):
    values = frames.per_model(study(seeds=5).rows)
    summary = frames.summarise(values, bca=True)
    for number in (0, 7, len(summary) - 1):
        row = summary.iloc[number]
        mask = np.logical_and.reduce(
            [
                values[key].eq(row[key]) | (values[key].isna() & pd.isna(row[key]))
                for key in (*frames.SETTING, *frames.METHOD)
            ]
        )
        sample = values.loc[mask.astype(bool), "accuracy"].to_numpy()
        interval = t_interval(sample)
        assert (row["n"], row["mean"], row["low"]) == pytest.approx((5, interval.mean, interval.low))
        low, high = bca_bounds([sample])
        assert (row["bca_low"], row["bca_high"]) == pytest.approx((low[0], high[0]))


def test_monotone_scorers_are_not_tested_but_named(study):
    compared = escapes(evidence_of(study().rows))
    same = compared[compared["category"].eq(SAME_MASK)]
    assert set(same["scorer"]) == {"log_magnitude", "sqrt_magnitude", "square_magnitude", "exp_magnitude", "rank"}
    assert same["p_t"].isna().all()
    tested = compared[compared["p_t"].notna()]
    assert (tested["p_holm"] >= tested["p_t"]).all()
    assert set(compared["correction"]) == set(compared["recalibration"]) == {"none"}


def test_repairs_are_compared_with_none_under_the_same_recalibration(study):
    gains = repair_gains(evidence_of(study().rows))
    means = gains.groupby(["recalibration", "correction"])["difference"].mean()
    assert means["none", "asr"] == pytest.approx(0.03)
    assert means["none", "channelwise"] == pytest.approx(-0.02)
    assert means["cumulative", "asr"] == pytest.approx(0)
    assert set(gains.loc[gains["recalibration"].eq("none"), "category"]) == {"constant"}


def test_a_sweep_over_calibration_sizes_does_not_count_a_model_twice(study):
    rows = study(seeds=2).rows
    larger = rows.assign(calibration_images=pd.array([512] * len(rows), dtype="Int64"))
    both = pd.concat([rows, larger], ignore_index=True)
    assert len(frames.main_rows(both)) == len(frames.main_rows(rows))


def test_a_searched_scorer_is_compared_with_magnitude_which_has_no_search(fused):
    found = frames.escape(fused().rows)
    assert {"v1 + equal", "v1 + dbo", "taylor"} <= set(found["method"])
    means = found.groupby("method")["difference"].mean()
    assert means["v1 + dbo"] - means["v1 + equal"] == pytest.approx(0.03)


def test_searched_scorers_are_compared_under_the_same_search(fused):
    paired = frames.contrast(fused().rows, "scorer", "v1")
    a5 = paired[paired["scorer"].eq("a5")]
    assert set(a5["search"]) == {"equal", "dbo"}
    means = a5.groupby("search")["difference"].mean()
    assert means.to_dict() == pytest.approx({"equal": -0.03, "dbo": -0.03})
    # a scorer without a search has no partner among them
    assert set(paired["scorer"]) == {"a5"}


def test_searches_are_compared_for_the_same_scorer(fused):
    rows = fused().rows
    paired = frames.contrast(rows, "search", "equal")
    assert set(paired["search"]) == {"dbo"}
    partners = rows.set_index("cell").loc[paired["reference_cell"]]
    assert partners["scorer"].tolist() == paired["scorer"].tolist()
    assert set(partners["search"]) == {"equal"}


def test_equal_weights_are_a_search_and_magnitude_is_none(fused):
    rows = fused().rows
    assert set(frames.searched(rows)["scorer"]) == {"v1", "a5"}
    assert not set(frames.unsearched(rows)["scorer"]) & {"v1", "a5"}
    assert len(frames.searched(rows)) + len(frames.unsearched(frames.pruned(rows))) == len(frames.pruned(rows))
