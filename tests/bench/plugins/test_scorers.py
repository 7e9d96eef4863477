"""The scorers of the catalogue: their families, curves and complexities."""

from __future__ import annotations

import pytest

from bench.core.method import OTHER, OTHER_FEATURES
from bench.plugins.scorers import SCORERS
from bench.scorers.rank import rank

FEATURES = [plugin for plugin in SCORERS if plugin.fuses_features]
PLAIN = [plugin for plugin in SCORERS if not plugin.fuses_features]


@pytest.mark.parametrize("plugin", SCORERS, ids=lambda plugin: plugin.name)
def test_every_scorer_has_a_family_and_knows_whether_it_computes_gradients(plugin):
    assert plugin.family not in (None, OTHER, OTHER_FEATURES)
    assert plugin.gradients is not None


def test_only_the_reference_and_the_random_control_have_no_family():
    assert [plugin.name for plugin in SCORERS if plugin.family == ""] == ["random", "magnitude"]


def test_feature_scorers_and_others_share_no_family():
    assert not {plugin.family for plugin in FEATURES} & {plugin.family for plugin in PLAIN}


def test_a_function_of_the_rank_has_a_curve_and_its_complexity_is_known():
    without = {plugin.name for plugin in SCORERS if plugin.curve and plugin.complexity is None}
    # no design names one; the signs of its weights decide whether `monotone4` has 0
    assert without == {"sics_adaptive", "gaussian_bump_only", "monotone4"}
    assert {plugin.name for plugin in SCORERS if not plugin.curve and plugin.complexity is not None} == {"pure_mag4"}
    assert next(plugin for plugin in SCORERS if plugin.function is rank).complexity == 0


def test_only_the_permuted_values_are_drawn_for_each_model():
    assert [plugin.name for plugin in SCORERS if plugin.per_model] == ["a5_shuffled"]
