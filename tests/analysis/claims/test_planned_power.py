"""Power of a decided question at its planned effect."""

from __future__ import annotations

import pytest
from scipy import stats

from .conftest import CONTRAST, grid, records

VALUES = [0.2, 1.2, 0.5, 0.4, 0.9, 0.6, 0.7, 0.1]


@pytest.mark.parametrize(("over", "level"), [("every", 0.025), ("some", 0.0125), ("mean", 0.025)])
def test_power_is_at_the_level_of_one_question(paired, judge, over, level):
    data = paired(grid(["cnn"], [0.5, 0.8], [VALUES, VALUES]))
    found = records(judge(data, CONTRAST | {"over": over, "planned_d": 1.2}))
    power = stats.nct.sf(stats.t.isf(level, 7), 7, 1.2 * 8**0.5)
    assert [record.power for record in found] == pytest.approx([power] * len(found), abs=1e-3)


def test_power_does_not_depend_on_what_was_observed(paired, judge):
    found = [
        records(judge(paired({("cnn", 0.5): values}), CONTRAST | {"planned_d": 1.2}))[0].power
        for values in (VALUES, [-value for value in VALUES], [10 * value for value in VALUES])
    ]
    assert len(set(found)) == 1


@pytest.mark.parametrize(
    "changes", [{}, {"planned_effect": 1.0}, {"planned_d": 1.0, "margin": 0.5},
                {"planned_d": 0.5, "kind": "equivalence", "margin": 2.0}]
)  # fmt: skip
def test_power_is_not_known_without_a_standardised_effect_and_a_margin_of_zero(paired, judge, changes):
    assert records(judge(paired({("cnn", 0.5): VALUES}), CONTRAST | changes))[0].power is None
