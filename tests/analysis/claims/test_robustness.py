"""Robustness: every reading that the study has, decided by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.claims.robustness import robustness_of

from .conftest import CONTRAST, grid

CLEAR, WEAK, WORSE = (
    [1.0, 1.2, 0.9, 1.1, 1.0, 0.8],
    [0.2, -0.6, 0.5, 0.4, -0.1, 0.0],
    [-1.0, -1.2, -0.9, -1.1, -1.0, -1.3],
)
#: Permuted among the models, so that a reading has numbers of its own.
CLEAR_TOO, WEAK_TOO = CLEAR[::-1], WEAK[::-1]
GRANULARITY = {"granularity": ["channel", "weight"]}


@pytest.fixture
def both(paired):
    """A study at two granularities."""

    def _both(channel, weight, **more):
        first, second = paired(channel), paired(weight, granularity="weight", **more)
        rows = second.rows[second.rows["scorer"].ne("dense")]
        rows = rows.assign(cell="w" + rows["cell"], position=rows["position"] + 10_000)
        return first.with_rows(pd.concat([first.rows, rows], ignore_index=True))

    return _both


@pytest.mark.parametrize(
    ("channel", "weight", "robust", "verdict"),
    [
        (CLEAR, CLEAR_TOO, True, "supported"), (CLEAR, WEAK, True, "supported"), (CLEAR, WORSE, False, "supported"),
        (WEAK, WEAK_TOO, False, "inconclusive"), (WORSE, CLEAR, False, "contradicted"),
    ],
)  # fmt: skip
def test_robust_if_none_contradicts_and_half_support(both, judge, channel, weight, robust, verdict):
    result = judge(both({("cnn", 0.5): channel}, {("cnn", 0.5): weight}), CONTRAST | {"readings": GRANULARITY})
    (part,) = result.parts
    assert result.verdict == verdict  # the first level alone decides
    assert part.robustness.robust == robust
    assert sum(part.robustness.tally().values()) == 2
    shifts = {"granularity": stats.ttest_rel(channel, weight).pvalue}
    depends = {name: pytest.approx(p) for name, p in shifts.items() if p < 0.05}
    assert part.robustness.depends_on == depends
    assert ("depends on granularity" in result.robustness) == bool(depends)
    assert result.robustness.startswith("robust: of 2 readings" if robust else "not robust: of 2 readings")


def test_readings_are_sorted_by_effect_and_the_primary_one_is_marked(both, judge):
    result = judge(both({("cnn", 0.5): CLEAR}, {("cnn", 0.5): WEAK}), CONTRAST | {"readings": GRANULARITY})
    first, second = result.parts[0].robustness.readings
    assert [one.effect for one in (first, second)] == pytest.approx([np.mean(WEAK), np.mean(CLEAR)])
    assert [one.primary for one in (first, second)] == [False, True]
    interval = stats.ttest_1samp(CLEAR, 0).confidence_interval(0.95)
    assert (second.low, second.high, second.n) == pytest.approx((interval.low, interval.high, 6))


def test_the_effect_of_a_reading_is_the_mean_over_its_settings(both, judge):
    settings = grid(["cnn"], [0.5, 0.8], [CLEAR, WEAK])
    result = judge(both(settings, settings), CONTRAST | {"readings": GRANULARITY})
    within = (np.array(CLEAR) + np.array(WEAK)) / 2
    interval = stats.ttest_1samp(within, 0).confidence_interval(0.95)
    for reading in result.parts[0].robustness.readings:
        assert (reading.effect, reading.low, reading.high) == pytest.approx(
            (within.mean(), interval.low, interval.high)
        )
        assert (reading.settings, reading.verdict) == (2, "inconclusive")


def test_contradictions_are_adjusted_by_holm_over_readings(both, part):
    weak = [-0.1, -1.4, -0.4, -0.5, -0.7, -0.6]
    q = stats.ttest_1samp(weak, 0, alternative="less").pvalue
    assert q < 0.025 / 1.5
    data = both({("cnn", 0.5): CLEAR}, {("cnn", 0.5): weak})
    found = robustness_of(part(**CONTRAST, readings=GRANULARITY), data, 1.5 * q)
    assert [one.verdict for one in found.readings] == ["contradicted", "supported"]
    assert found.robust  # 2 q is above the level


def test_a_margin_is_a_reading_without_contrast(paired, judge):
    result = judge(paired({("cnn", 0.5): CLEAR}), CONTRAST | {"margin": 0, "readings": {"margin": [0, 2]}})
    robustness = result.parts[0].robustness
    assert result.verdict == "supported"
    assert {tuple(one.levels.values()): one.verdict for one in robustness.readings} == {
        (0.0,): "supported", (2.0,): "contradicted",
    }  # fmt: skip
    assert robustness.depends_on == {}


def test_readings_that_the_study_lacks_are_planned_but_not_decided(paired, judge):
    readings = {"granularity": ["channel", "weight"], "reference": {"plateau": {}, "bump": {"magnitude": "bump"}}}
    robustness = judge(paired({("cnn", 0.5): CLEAR}), CONTRAST | {"readings": readings}).parts[0].robustness
    assert (robustness.planned, len(robustness.readings)) == (4, 1)
    absent = judge(paired({("cnn", 0.5): CLEAR}), CONTRAST | {"readings": {"granularity": ["weight", "channel"]}})
    assert absent.verdict == "not testable"  # the primary reading decides, not the one at hand


def test_a_level_that_changes_nothing_is_no_reading(paired, judge):
    readings = {"lambda": {"median": {}, "eb": {"asr": "asr_eb"}}}
    assert (
        len(judge(paired({("cnn", 0.5): CLEAR}), CONTRAST | {"readings": readings}).parts[0].robustness.readings) == 1
    )


def test_readings_by_construction_are_left_out(both, judge):
    data = both({("cnn", 0.5): CLEAR}, {("cnn", 0.5): [0.0] * 6}, same_masks=[("cnn", 0.5)])
    robustness = judge(data, CONTRAST | {"readings": GRANULARITY}).parts[0].robustness
    assert robustness.tally() == {"supported": 1, "inconclusive": 0, "contradicted": 0}
    assert robustness.robust
    assert robustness.depends_on == {}
    assert [one.by_construction for one in robustness.readings if not one.primary] == ["identical masks"]


def test_replaced_arms_are_compared(paired, judge):
    other = [{"scorer": "bump", "accuracy": 0.58}]
    data = paired({("cnn", 0.5): CLEAR}, more=other)
    rows = data.rows
    bump = rows["scorer"].eq("bump")
    data = data.with_rows(rows.assign(accuracy=rows["accuracy"].mask(bump, 0.58 + 0.002 * rows["train_seed"])))
    terms = [{"of": {"scorer": "taylor"}}, {"weight": -1, "of": {"scorer": "magnitude"}}]
    readings = {"reference": {"plateau": {}, "bump": {"magnitude": {"scorer": "bump"}}}}
    part = {"estimand": "combination", "kind": "superiority", "terms": terms, "readings": readings}
    robustness = judge(data, part).parts[0].robustness
    effects = {one.levels["reference"]: one.effect for one in robustness.readings}
    magnitude, bumps = 60 + 0.1 * np.arange(6), 58 + 0.2 * np.arange(6)
    assert effects == pytest.approx({"plateau": np.mean(CLEAR), "bump": np.mean(magnitude + CLEAR - bumps)})
    assert robustness.depends_on == pytest.approx({"reference": stats.ttest_rel(magnitude, bumps).pvalue})


def test_a_pilot_chooses_the_settings_of_every_reading(both, judge):
    settings = grid(["cnn"], [0.5, 0.8], [CLEAR, WORSE])
    informative = {("M1", "part 0"): [{"model": "cnn", "sparsity": 0.5}]}
    part = CONTRAST | {"gate": {"scorer": "magnitude"}, "readings": GRANULARITY}
    result = judge(both(settings, settings), part, informative=informative)
    assert result.verdict == "supported"
    assert [one.verdict for one in result.parts[0].robustness.readings] == ["supported", "supported"]


def test_a_part_without_open_choices_has_no_robustness(paired, judge):
    result = judge(paired({("cnn", 0.5): CLEAR}), CONTRAST)
    assert result.parts[0].robustness is None
    assert result.robustness == ""


def test_readings_with_the_same_numbers_are_counted_once(paired, judge):
    data = paired({("cnn", 0.5): [1.0, 2.0, 3.0, 2.0, 1.5, 2.5]}, more=[{"scorer": "twin"}])
    rows = data.rows
    shift = rows[rows["scorer"].eq("taylor")].set_index("train_seed")["accuracy"]
    twin = rows["scorer"].eq("twin")
    data = data.with_rows(rows.assign(accuracy=rows["accuracy"].mask(twin, rows["train_seed"].map(shift))))
    keys = {
        "estimand": "contrast", "kind": "superiority", "of": ["taylor"], "against": "magnitude", "gate": "none",
        "readings": {"scorer of the claim": {"taylor": {}, "twin": {"taylor": "twin"}}},
    }  # fmt: skip
    found = judge(data, keys).parts[0].robustness
    assert found.tally() == {"supported": 1, "inconclusive": 0, "contradicted": 0}
    (same,) = [reading for reading in found.readings if reading.same_as]
    assert same.same_as == {"scorer of the claim": "taylor"}
    assert same.levels == {"scorer of the claim": "twin"}
