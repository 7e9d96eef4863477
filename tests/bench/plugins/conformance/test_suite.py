"""The conformance suite over the whole catalogue, and what it reports whatever the kind of a plug-in."""

from __future__ import annotations

import pytest

from bench.core.errors import NotApplicable, UserError
from bench.models.tensors import ScoreMap
from bench.plugins.conformance import CHECKED_KINDS, check_plugins


@pytest.mark.long
def test_the_whole_catalogue_conforms(registry):
    verdicts = check_plugins(registry, "all")
    assert [v for v in verdicts if v.problem] == []
    assert {v.plugin.split()[0] for v in verdicts} == set(CHECKED_KINDS)


def raises(view, calibration, generator):
    raise ZeroDivisionError("on\npurpose")


def silent_skip(view, calibration, generator):
    raise NotApplicable("")


def never_applicable(view, calibration, generator):
    raise NotApplicable("never")


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (raises, "DigitsCNN, weight: raises ZeroDivisionError: on purpose"),  # one line
        (silent_skip, "DigitsCNN, weight: skips without a reason"),
        (never_applicable, "is not applicable to any of the networks it was tried on: nothing was checked"),
    ],
)
def test_a_rule_that_could_not_be_checked_does_not_hold(problems_of, function, problem):
    broken = problems_of("scorer", function)
    assert len(broken) == 5
    assert set(broken.values()) == {problem}


def needs_option(view, calibration, generator, *, power: float):
    return ScoreMap({name: m**power for name, m in view.magnitudes().items()})


def test_options_without_a_default_are_a_problem_of_their_own(problems_of):
    [(check, problem)] = problems_of("scorer", needs_option).items()
    assert check == "Have options that can be read, each with a default"
    assert "option 'power' of scorer 'mine': Field required" in problem


def test_a_name_means_every_kind_that_has_it(registry):
    plugins = {v.plugin for v in check_plugins(registry, "none")}
    assert plugins == {"correction none", "recalibration none"}  # there is no search to check in search none
    assert {v.plugin for v in check_plugins(registry, "none", "correction")} == {"correction none"}
    assert {v.plugin for v in check_plugins(registry, "2:4")} == {"allocation 2:4"}


def test_an_unknown_name_gets_the_nearest(registry):
    with pytest.raises(UserError, match="did you mean 'magnitude'"):
        check_plugins(registry, "magnitud")
    with pytest.raises(UserError, match="did you mean 'scorer'"):
        check_plugins(registry, "magnitude", "scorrer")
