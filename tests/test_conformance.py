"""The conformance suite over the whole catalogue, and what it says of broken plug-ins."""

from __future__ import annotations

import pytest
import torch

from bench.catalogue import make_registry
from bench.conformance import check_plugins
from bench.errors import NotApplicable, UserError
from bench.registry import Plugin
from bench.tensors import ScoreMap


@pytest.fixture(scope="module")
def registry():
    return make_registry()


def test_the_whole_catalogue_conforms(registry):
    verdicts = check_plugins(registry, "all")
    assert [v for v in verdicts if v.problem] == []
    assert {v.plugin.split()[0] for v in verdicts} == {"scorer", "allocation", "correction", "recalibration"}


def good(view, calibration, generator):
    """Score the magnitude."""
    return ScoreMap(view.magnitudes())


def wrong_shape(view, calibration, generator):
    return ScoreMap({name: m.flatten()[1:] for name, m in view.magnitudes().items()})


def not_a_number(view, calibration, generator):
    return ScoreMap({name: m / 0 * 0 for name, m in view.magnitudes().items()})


def mutates(view, calibration, generator):
    for parameter in view.model.parameters():
        parameter.data.add_(1)
    return ScoreMap(view.magnitudes())


def not_deterministic(view, calibration, generator):
    return ScoreMap({name: torch.rand(m.shape).double() for name, m in view.magnitudes().items()})


def raises(view, calibration, generator):
    raise ZeroDivisionError("on purpose")


def by_position(view, calibration, generator):
    first = calibration.images[0].double().mean()
    return ScoreMap({name: m * (1 + first) for name, m in view.magnitudes().items()})


def silent_skip(view, calibration, generator):
    raise NotApplicable("")


def never_applicable(view, calibration, generator):
    raise NotApplicable("never")


@pytest.mark.parametrize(
    ("function", "check", "problem"),
    [
        (wrong_shape, "finite float64 score", "expected"),
        (not_a_number, "finite float64 score", "NaN or infinite"),
        (mutates, "Leave weights", "changes the model"),
        (not_deterministic, "same scores for the same seed", "differ in"),
        (raises, "finite float64 score", "raises ZeroDivisionError: on purpose"),
        (by_position, "order of the images", "changes the scores"),
        (silent_skip, "finite float64 score", "without a reason"),
        (never_applicable, "finite float64 score", "nothing was checked"),
    ],
)
def test_a_broken_scorer_is_named_with_what_it_broke(function, check, problem):
    registry = make_registry()
    registry.add(Plugin("scorer", "mine", function))
    broken = [v for v in check_plugins(registry, "mine") if v.problem]
    matching = [v for v in broken if check in v.check]
    assert matching, broken
    assert problem in str(matching[0].problem)
    assert matching[0].plugin == "scorer mine"


def test_a_good_scorer_of_a_user_passes():
    registry = make_registry()
    registry.add(Plugin("scorer", "mine", good))
    assert [v.problem for v in check_plugins(registry, "mine")] == [None] * 5


def test_a_correction_that_revives_pruned_weights_is_named():
    def revive(context):
        for name in context.units.names:
            context.model.get_submodule(name).weight.data += 1
        return {}

    registry = make_registry()
    registry.add(Plugin("correction", "revive", revive))
    problems = [str(v.problem) for v in check_plugins(registry, "revive")]
    assert any("come back" in problem for problem in problems)


def test_an_unknown_name_gets_the_nearest(registry):
    with pytest.raises(UserError, match="did you mean 'magnitude'"):
        check_plugins(registry, "magnitud")
    with pytest.raises(UserError, match="did you mean 'scorer'"):
        check_plugins(registry, "magnitude", "scorrer")
