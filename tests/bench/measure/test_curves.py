from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from bench.core.errors import NotApplicable, UserError
from bench.core.registry import Plugin
from bench.measure.curves import curve_table, default_curve, score_curve
from bench.measure.seeds import scorer_seed
from bench.models.unit_space import PrunableLayer, UnitSpace
from bench.models.view import ModelView
from bench.plugins.catalogue import SCORERS
from bench.run.open_study import open_study
from bench.scorers.features import controls, logistic

BY_NAME = {plugin.name: plugin for plugin in SCORERS}
DRAWN = [plugin for plugin in SCORERS if plugin.curve]
GRID = 0.1 + 0.9 * (np.arange(2048) / 2047)


def test_all_functions_of_the_rank_have_one() -> None:
    feature_scorers = {plugin.name for plugin in SCORERS if plugin.fuses_features}
    assert {plugin.name for plugin in DRAWN} == {"rank", "log_rank"} | feature_scorers - {"pure_mag4"}


@pytest.mark.parametrize("plugin", [pytest.param(plugin, id=plugin.name) for plugin in DRAWN])
def test_every_curve_spans_the_unit_interval(plugin: Plugin) -> None:
    curve = score_curve(plugin, plugin.resolve({}).options, 0, 0.7)
    np.testing.assert_array_equal(curve.u, GRID)
    assert curve.values.shape == (len(curve.names), 2048)
    assert curve.values.min(axis=1).tolist() == [0.0] * len(curve.names)
    assert curve.values.max(axis=1).tolist() == [1.0] * len(curve.names)


def test_plain_scorers_curves() -> None:
    identity = score_curve(BY_NAME["rank"], {}, 0, None)
    assert identity.names == ("rank",)
    np.testing.assert_allclose(identity.values[0], np.arange(2048) / 2047, atol=1e-15)
    logarithm = score_curve(BY_NAME["log_rank"], {}, 0, None)
    np.testing.assert_allclose(logarithm.values[0], 1 + np.log10(GRID), atol=1e-14)


def test_raw_curve_is_the_indicator_itself() -> None:
    curve = score_curve(BY_NAME["a5"], {"include_rank": False}, 0, None)
    raw = logistic.indicators(GRID, ("variance",))[0]
    np.testing.assert_allclose(curve.values[curve.names.index("variance")], (raw - raw.min()) / np.ptp(raw), atol=1e-12)


def test_seed_and_target_and_options_are_the_cells_own() -> None:
    spline = BY_NAME["random_spline"]
    drawn = controls.splines(torch.Generator().manual_seed(5))(GRID)
    low, high = drawn.min(axis=1, keepdims=True), drawn.max(axis=1, keepdims=True)
    np.testing.assert_allclose(score_curve(spline, {}, 5, None).values, (drawn - low) / (high - low), atol=1e-12)
    assert score_curve(spline, {"include_rank": True}, 5, None).names[0] == "u"
    bump = BY_NAME["gaussian_bump_only"]
    for sparsity in (0.5, 0.8):
        curve = score_curve(bump, {}, 0, sparsity)
        assert curve.u[curve.values[0].argmax()] == pytest.approx(0.1 + 0.9 * sparsity, abs=0.9 / 2047)
    with pytest.raises(NotApplicable, match="target sparsity"):
        score_curve(bump, {}, 0, None)


def test_a_layers_units_lie_on_the_curve() -> None:
    """2047 = 23 * 89: the ranks of 24 units are every 89th point of the grid."""
    plugin, layer = BY_NAME["a5_log6_smooth"], nn.Linear(24, 1)
    magnitude = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    layer.weight.data.copy_(magnitude.float())
    view = ModelView(nn.Sequential(layer), UnitSpace("weight", (PrunableLayer("0", (1, 24), (1, 24)),)))
    features = plugin.function(view, None, None).features["0"]
    curve = score_curve(plugin, {}, 0, None)
    steps = 89 * magnitude.numpy()
    np.testing.assert_allclose(features[:, 0], curve.values[:, steps], atol=1e-12)


def test_scorers_that_read_more_than_ranks_have_none() -> None:
    with pytest.raises(UserError, match="'magnitude' has no curve"):
        score_curve(BY_NAME["magnitude"], {}, 0, None)


def test_the_function_of_a_feature_scorer_is_its_curve_everywhere() -> None:
    for name in ("v1b_var", "a5", "nl_sin", "random_spline", "gaussian_bump", "log_rank"):
        curve = default_curve(BY_NAME[name], 0.8)
        rounding = 1e-15 if name == "log_rank" else 0
        assert np.abs(curve.function(curve.u) - curve.values).max() <= rounding
        between = curve.function(np.array([0.12345, 0.9]))
        assert between.shape == (len(curve.names), 2)
    sine = default_curve(BY_NAME["nl_sin"], 0.8)
    u = np.array([0.3333])
    raw = [np.sin(2 * np.pi * at + np.pi / 4) for at in (u, sine.u)]
    assert sine.function(u)[1] == pytest.approx((raw[0] - raw[1].min()) / np.ptp(raw[1]), abs=1e-12)


DRAWS_AND_SEEDS = """\
name: shuffled
data: [digits]
models: [digits_cnn]
train_seeds: 2
granularities: [weight]
scorers: [a5, a5_shuffled, random_spline]
searches: [equal]
sparsities: [0.5]
calibration: {draws: 2}
"""


def test_a_per_model_scorer_has_one_curve_for_all_draws_and_it_is_that_of_the_cells(tmp_path) -> None:
    (tmp_path / "study.yaml").write_text(DRAWS_AND_SEEDS)
    session = open_study(tmp_path, device="cpu")
    plugin, groups = BY_NAME["a5_shuffled"], session.plan.groups
    tables = [curve_table(session.study, session.registry, group.id) for group in groups]
    assert tables[0].groupby("scorer")["draw"].unique().map(list).to_dict() == {
        "a5": [0], "a5_shuffled": [0], "random_spline": [0, 1],
    }  # fmt: skip
    values = []
    for group, table in zip(groups, tables, strict=True):
        cell = next(cell for cell in group.cells if cell.scorer.name == "a5_shuffled")
        expected = score_curve(plugin, cell.scorer.options, scorer_seed(cell, plugin), None).values
        own = table[table["scorer"].eq("a5_shuffled")]
        values.append(own["value"].to_numpy().reshape(4, 2048))
        np.testing.assert_array_equal(values[-1], expected)
    assert not np.array_equal(*values)  # another model, another permutation
    np.testing.assert_array_equal(*(np.sort(each, axis=1) for each in values))


def test_the_curve_of_a_per_model_scorer_without_a_model_is_one_for_all_draws() -> None:
    first, second = (default_curve(BY_NAME["a5_shuffled"], 0.8, draw) for draw in (0, 1))
    np.testing.assert_array_equal(first.values, second.values)
    raw = default_curve(BY_NAME["a5"], 0.8).values
    np.testing.assert_array_equal(np.sort(first.values, axis=1), np.sort(raw, axis=1))
