"""Alignment of scores with magnitude: against brute force, by hand, and what is no correlation at all."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from analysis.alignment import MEASURES, alignments, block_interval, pooled_correlations
from analysis.alignment_figures import alignment, lanes
from analysis.alignment_tables import alignment_table
from analysis.evidence import frames
from analysis.evidence.load import ADDITIONAL
from analysis.formats import NONE
from bench.store.reader import StudyData, typed

LAYERS = ("conv", "mid", "fc")
KEYS = [*frames.SETTING, *frames.METHOD]


def with_alignment(data: StudyData, sizes: dict[str, int] | None = None, rho=None) -> StudyData:
    """Give a synthetic study random correlations, or those of `rho(scorer, layer, model)`, and sampled units."""
    rng = np.random.default_rng(11)
    rows = frames.pruned(data.rows)
    columns = [
        "group",
        "calibration_draw",
        "calibration_images",
        "calibration_batch",
        "scorer",
        "search",
        "granularity",
    ]
    layers, units = [], []
    scored = rows.assign(allocation=rows["allocation"].where(rows["search"].ne("none")))
    for _, own in scored.drop_duplicates([*columns, "allocation", "sparsity"]).iterrows():
        for layer in LAYERS:
            n = (sizes or {}).get(layer, 50)
            value = rng.uniform(-1, 1) if rho is None else rho(own["scorer"], layer, int(own["train_seed"]))
            layers.append({**own[[*columns, "allocation", "sparsity"]], "layer": layer, "units": n, "rho": value,
                           "window_units": n // 3, "window_rho": np.nan if n < 6 else value / 2})  # fmt: skip
    for _, own in rows[rows["search"].eq("none")].drop_duplicates(columns).iterrows():
        for layer, unit in itertools.product(LAYERS, range(5)):
            units.append({**own[columns], "sparsity": np.nan, "layer": layer, "unit": unit, "magnitude": unit,
                          "u": 0.1 + 0.9 * unit / 4, "score": float(rng.integers(4))})  # fmt: skip
    frame = {"alignment": pd.DataFrame(layers), "units": pd.DataFrame(units)}
    return dataclasses.replace(
        data, **{name: typed(f[[c.name for c in ADDITIONAL[name]]], ADDITIONAL[name]) for name, f in frame.items()}
    )


@pytest.fixture
def data(study) -> StudyData:
    keywords = {"models": ("cnn", "vit"), "granularities": ("channel",), "scorers": ("magnitude", "taylor")}
    return with_alignment(study(seeds=4, draws=2, **keywords))


def test_means_over_draws_layers_and_models_are_those_of_loops(data):
    found = alignments(data)
    assert list(found["measure"].unique()) == list(MEASURES)
    for row in found[found["measure"].isin(["layer", "window"])].to_dict("records"):
        column = "rho" if row["measure"] == "layer" else "window_rho"
        groups = data.dense.loc[data.dense["model"].eq(row["model"]), "group"]
        models = []
        for group in groups:
            own = data.alignment[data.alignment["group"].eq(group) & data.alignment["scorer"].eq(row["scorer"])]
            own = own[own["sparsity"].eq(row["sparsity"])]
            models.append(np.mean([own.loc[own["layer"].eq(layer), column].mean() for layer in LAYERS]))
        assert row["n"] == 4
        assert row["layers"] == 3
        assert row["mean"] == pytest.approx(np.mean(models))
        assert row["high"] - row["mean"] == pytest.approx(3.182446 * np.std(models, ddof=1) / 2)
        assert row["block_low"] < row["mean"] < row["block_high"]


def test_pooled_correlations_are_scipys_and_stand_at_every_sparsity(data):
    found = alignments(data)
    pooled = found[found["measure"].eq("pooled")]
    for (model, scorer), own in pooled.groupby(["model", "scorer"]):
        expected = []
        for group in data.dense.loc[data.dense["model"].eq(model), "group"]:
            units = data.units[data.units["group"].eq(group) & data.units["scorer"].eq(scorer)]
            draws = [spearmanr(d["score"], d["u"]).statistic for _, d in units.groupby("calibration_draw")]
            expected.append(np.mean(draws))
        assert own["mean"].tolist() == pytest.approx([np.mean(expected)] * len(own))
        assert own["block_low"].isna().all()


def test_overlap_is_that_of_the_rows(data):
    found = alignments(data)
    rows = frames.done(frames.unrepaired(frames.pruned(data.rows)))
    means = rows.groupby(KEYS, sort=False, dropna=False)["magnitude_overlap"].mean().reset_index()
    own = found[found["measure"].eq("overlap")].merge(means, on=KEYS)
    assert len(own) == len(means) == len(found) / 4
    assert own["mean"].tolist() == pytest.approx(own["magnitude_overlap"].tolist())


def test_scores_without_a_search_stand_in_every_allocation_and_searched_ones_in_their_own(fused):
    data = with_alignment(fused(seeds=2, models=("cnn",), scorers=("magnitude",), allocations=("uniform", "global")))
    searched = alignments(data)
    searched = searched[searched["search"].ne("none") & searched["measure"].eq("layer")]
    assert searched["n"].eq(2).all()
    values = searched.groupby(["scorer", "search", "sparsity"])["mean"].nunique()
    assert values.eq(2).all()  # one for each allocation


@given(st.randoms(use_true_random=False))
def test_order_of_rows_and_names_of_models_make_no_difference(random):
    table = np.array([[random.uniform(-1, 1) for _ in range(5)] for _ in range(3)])
    order = random.sample(range(3), 3)
    low, high = block_interval(table)
    assert block_interval(table[order]) == pytest.approx((low, high))
    assert block_interval(-table, seed=0) == pytest.approx((-high, -low))
    assert block_interval(table + 1) == pytest.approx((low + 1, high + 1))


def test_rows_in_another_order_give_the_same_frame(data):
    shuffled = dataclasses.replace(
        data, rows=data.rows.sample(frac=1, random_state=1), alignment=data.alignment.sample(frac=1, random_state=2),
        units=data.units.sample(frac=1, random_state=3),
    )  # fmt: skip
    columns = [*KEYS, "measure"]
    ours, theirs = (alignments(d).sort_values(columns, ignore_index=True) for d in (data, shuffled))
    pd.testing.assert_frame_equal(ours, theirs)


def test_a_replicate_draws_the_same_layers_for_all_models():
    """Layers that differ alike in all models: the interval does not shrink with their number."""
    one = np.array([[0.1, 0.5, 0.9]])
    assert block_interval(np.repeat(one, 30, axis=0)) == pytest.approx(block_interval(one))


def test_block_interval_is_that_of_a_loop():
    table = np.array([[0.2, np.nan, 0.9, 0.4], [0.1, 0.6, np.nan, 0.3]])
    draws = np.random.default_rng(5).multinomial(4, [0.25] * 4, 300)
    means = []
    for times in draws:
        picked = np.repeat(table, times, axis=1)
        models = [row[np.isfinite(row)].mean() for row in picked if np.isfinite(row).any()]
        means.append(np.mean(models))
    assert block_interval(table, 0.9, 300, 5) == pytest.approx(tuple(np.quantile(means, [0.05, 0.95])))


def test_what_is_no_correlation_is_named_and_counted(study):
    base = study(seeds=3, models=("cnn",), granularities=("channel",), allocations=("uniform",), scorers=("magnitude",))
    rho = {"conv": 0.5, "mid": np.nan, "fc": 0.3}
    data = with_alignment(base, {"fc": 2}, lambda _, layer, model: rho[layer] + 0.1 * model)
    row = alignments(data).set_index("measure").loc["layer"].iloc[0]
    assert (row["n"], row["layers"], row["few"], row["constant"]) == (3, 1, 3, 3)
    assert row["mean"] == pytest.approx(0.6)
    assert np.isnan(row["block_low"])  # one layer is left
    text = alignment_table(alignments(data)).iloc[0]["Without a correlation"]
    assert text.startswith("layer: 3 under 3 units; layer: 3 constant scores; near the threshold")


def test_nothing_aligned_is_no_data(study):
    base = study(seeds=2, models=("cnn",), granularities=("channel",))
    found = alignments(base).set_index("measure")
    assert found.loc[["layer", "window", "pooled"], "category"].eq("no data").all()
    assert found.loc["overlap", "n"].eq(2).all()
    assert alignments(dataclasses.replace(base, rows=base.rows.iloc[:0])).empty


def test_one_model_and_equal_models_are_named(study):
    keywords = {
        "models": ("cnn",),
        "granularities": ("channel",),
        "allocations": ("uniform",),
        "scorers": ("magnitude",),
    }
    one = alignments(with_alignment(study(seeds=1, **keywords)))
    assert one.loc[one["measure"].eq("layer"), "category"].eq("one model").all()
    same = alignments(with_alignment(study(seeds=3, **keywords), rho=lambda *_: 1.0))
    assert same.loc[same["measure"].eq("layer"), "category"].eq("constant").all()


def test_sampled_units_without_a_correlation_are_named():
    columns = [c.name for c in ADDITIONAL["units"]]
    base = {"group": "g", "calibration_draw": 0, "calibration_images": 1, "calibration_batch": 1, "layer": "l",
            "granularity": "weight", "sparsity": np.nan, "magnitude": 0.0}  # fmt: skip
    scores = {"two": [1.0, 2.0], "equal": [3.0] * 4, "sound": [1.0, 2.0, 2.0, 5.0]}
    rows = [
        base | {"scorer": scorer, "unit": i, "u": i / 10, "score": score}
        for scorer, values in scores.items() for i, score in enumerate(values)
    ]  # fmt: skip
    found = pooled_correlations(typed(pd.DataFrame(rows)[columns], ADDITIONAL["units"])).set_index("scorer")
    assert found["category"].to_dict() == {"two": "few units", "equal": "constant scores", "sound": "regular"}
    assert found["rho"].isna().to_dict() == {"two": True, "equal": True, "sound": False}


def test_the_table_has_a_row_per_setting_and_method(data):
    found = alignments(data)
    table = alignment_table(found)
    assert len(table) == len(found) / 4
    assert "Calibration images" not in table
    row = found[found["measure"].eq("window")].iloc[0]
    assert table.iloc[0]["rho, near the threshold, 95 % over layers"].replace("\N{MINUS SIGN}", "-") == (
        f"{row['block_low']:.2f} to {row['block_high']:.2f}"
    )
    assert set(table["Without a correlation"]) == {NONE}


def test_lanes_show_the_means_of_whole_layers_and_of_the_window(data):
    found = alignments(data)
    own = found[found["model"].eq("cnn") & found["allocation"].eq("uniform") & found["sparsity"].eq(0.5)]
    axes = Figure().subplots()
    lanes(own, axes, ["magnitude", "taylor"])
    for container, measure in zip(axes.containers, ("layer", "window"), strict=True):
        mine = own[own["measure"].eq(measure)]
        assert container.lines[0].get_xdata() == pytest.approx(mine["mean"].to_numpy())
        assert np.ptp(container.lines[2][0].get_segments()[0][:, 0]) > 0
    assert [label.get_text() for label in axes.get_yticklabels()] == ["taylor", "magnitude"]


def test_the_figure_has_a_facet_per_model(data):
    figure = alignment(alignments(data), "channel", "uniform", 0.5)
    assert [axes.get_title() for axes in figure.axes] == ["cnn on digits", "vit on digits"]
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["whole layer", "near the threshold of sparsity 50 %", "95 % over models", "95 % over layers"]
