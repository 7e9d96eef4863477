"""Seeds are named by what a random stream may depend on, and by nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.core.registry import Plugin
from bench.core.types import CalibrationSpec
from bench.measure.seeds import calibration_seed, cell_seeds, features_seed, scorer_seed, search_seed
from bench.models.tensors import FeatureMap


def plain(view, calibration, generator):
    """Return scores."""


def features(view, calibration, generator) -> FeatureMap:
    """Return features."""


PLAIN, FEATURES = Plugin("scorer", "plain", plain), Plugin("scorer", "features", features)
PER_MODEL = Plugin("scorer", "shuffled", features, per_model=True)


@pytest.fixture
def cell(cells):
    return next(cell for cell in cells if cell.scorer.name == "random")


def test_a_larger_draw_begins_with_the_same_seed():
    assert calibration_seed("g", CalibrationSpec(1, 32, 16)) == calibration_seed("g", CalibrationSpec(1, 64, 32))
    assert calibration_seed("g", CalibrationSpec(1, 32, 16)) != calibration_seed("g", CalibrationSpec(2, 32, 16))
    assert calibration_seed("g", CalibrationSpec(1, 32, 16)) != calibration_seed("h", CalibrationSpec(1, 32, 16))


def test_a_scorer_has_a_seed_per_model_and_a_feature_scorer_one_for_all(cell):
    other = replace(cell, group="another")
    assert scorer_seed(cell, PLAIN) != scorer_seed(other, PLAIN)
    assert scorer_seed(cell, FEATURES) == scorer_seed(other, FEATURES)
    assert scorer_seed(cell, FEATURES) == features_seed(cell.scorer, cell.calibration.draw)
    assert scorer_seed(replace(cell, sparsity=0.1), PLAIN) == scorer_seed(cell, PLAIN)


def test_a_per_model_scorer_has_one_seed_for_all_draws_and_options_of_a_model(cell):
    another_draw = replace(cell, calibration=replace(cell.calibration, draw=cell.calibration.draw + 1))
    another_option = replace(cell, scorer=replace(cell.scorer, options={"include_rank": True}))
    assert scorer_seed(another_draw, PER_MODEL) == scorer_seed(cell, PER_MODEL)
    assert scorer_seed(another_option, PER_MODEL) == scorer_seed(cell, PER_MODEL)
    assert scorer_seed(replace(cell, group="another"), PER_MODEL) != scorer_seed(cell, PER_MODEL)
    assert scorer_seed(another_draw, FEATURES) != scorer_seed(cell, FEATURES)


def test_all_searches_of_a_problem_have_one_seed(cell):
    assert search_seed(cell) == search_seed(replace(cell, search=cell.correction))
    assert search_seed(cell) != search_seed(replace(cell, sparsity=0.1))


def test_a_row_stores_the_seeds_of_the_streams_that_it_used(cell, cells):
    assert cells[0].is_dense
    assert set(cell_seeds(cells[0], None)) == {"calibration"}
    assert cell_seeds(cell, PLAIN) == {
        "calibration": calibration_seed(cell.group, cell.calibration), "scorer": scorer_seed(cell, PLAIN),
    }  # fmt: skip
    searched = replace(cell, search=replace(cell.search, name="dbo"))
    assert cell_seeds(searched, FEATURES)["search"] == search_seed(searched)
