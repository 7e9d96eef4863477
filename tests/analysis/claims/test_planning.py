"""What parts can decide before a run, against the power functions and against what the report then decides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from analysis.claims.check import shortfalls
from analysis.claims.decide import decide
from analysis.claims.gates import informative_settings
from analysis.claims.planning import plan_parts
from analysis.claims.read import read_claims
from analysis.evidence.load import load
from analysis.stats.models_needed import least_decidable, models_needed, part_power, sd_upper_limit
from bench.store import schema
from bench.store.reader import planned_rows

from .conftest import CONTRAST, grid

ROOT = Path(__file__).parents[3]
FOUR = grid(["cnn", "vit"], [0.5, 0.8], [[1.0, 1.4, 0.7, 1.2], [2.0, 1.0, 0.5, 0.1], [0.5, 0.1, 2.0, 1.4], [1.0] * 4])


def unrun(evidence):
    """The plan of a study, without any result."""
    axes = evidence.rows[[column.name for column in schema.AXES]].to_dict("records")
    rows = planned_rows(axes)
    return evidence.with_rows(rows.assign(n_test=evidence.rows["n_test"].max()))


def disagreements(evidence, claims):
    """Return the parts of which a plan does not have the questions, the test or the reason of the report."""
    plans = {(one.claim, one.part): one for one in plan_parts(evidence, claims)}
    found = []
    for result in decide(evidence, claims):
        for part in result.parts:
            one = plans[result.id, part.id]
            counted = [record for record in part.records if not record.reason.startswith("by construction")]
            tests = {record.test.removesuffix(", architectures as strata") for record in counted}
            same = one.questions == (len(counted) or (None if part.records else 0))
            same &= not counted or one.test in tests
            same &= bool(part.records) or one.reason == part.reason
            found += [] if same else [(result.id, part.id)]
    assert len(plans) == sum(len(claim.parts) for claim in claims.claims) > 0
    return found


@pytest.fixture
def planned(paired):
    return unrun(paired(FOUR))


def plan(evidence, claims, **keywords):
    (found,) = plan_parts(evidence, claims, **keywords)
    return found


def test_a_contrast_is_planned_for_its_own_test_quantifier_and_effect(planned, written):
    found = plan(planned, written(CONTRAST | {"planned_effect": 2}), sd=1.5, models=(5, 20))
    assert (found.cells, found.questions, found.margin, found.effect, found.unit) == (32, 4, 0.0, 2, "points")
    assert (found.test, found.arms, found.planned.models) == ("paired t", "taylor minus magnitude", 4)
    assert found.needed == models_needed("superiority", "t", 2, 0, 1.5, over="every", questions=4)
    for chance in (found.planned, *found.others):
        n = chance.models
        assert chance.power == part_power("superiority", "t", 2, 0, 1.5, n, over="every", questions=4)
        least = least_decidable("superiority", "t", 1.5, n, over="every", questions=4)
        assert chance.least == pytest.approx(least, abs=1e-3)
    assert [chance.models for chance in found.others] == [5, 20]


@pytest.mark.parametrize("over", ["every", "some"])
@pytest.mark.parametrize("kind", ["noninferiority", "equivalence"])
@pytest.mark.parametrize("test", ["t", "t and bootstrap-t"])
def test_the_least_margin_is_that_of_the_own_kind(planned, written, over, kind, test):
    keys = {"over": over, "kind": kind, "test": test, "margin": 2}
    found = plan(planned, written(CONTRAST | keys), sd=1.5, models=(12,))
    (chance,) = found.others
    assert found.effect == 0
    assert chance.power == part_power(kind, test, 0, 2, 1.5, 12, over=over, questions=4)
    assert chance.least == pytest.approx(least_decidable(kind, test, 1.5, 12, over=over, questions=4), abs=1e-3)


def test_a_mean_over_settings_is_one_question_on_the_models_of_all_architectures(planned, written):
    found = plan(planned, written(CONTRAST | {"over": "mean", "planned_effect": 1}), sd=2.0, models=(10,))
    assert found.questions == 1
    (chance,) = found.others
    assert chance.power == part_power("superiority", "t", 1, 0, 2.0, 19, over="mean")  # 2 x (10 - 1) degrees of freedom
    total = models_needed("superiority", "t", 1, 0, 2.0, over="mean")
    assert total <= 2 * (found.needed - 1) + 1 < total + 2


def test_without_a_spread_effects_are_in_standard_deviations(planned, written):
    found = plan(planned, written(CONTRAST | {"planned_effect": 2}), models=(10,))
    assert (found.unit, found.sd, found.effect, found.needed) == ("sd", None, None, None)
    assert found.others[0].power is None
    assert found.others[0].least == pytest.approx(least_decidable("superiority", "t", 1, 10, questions=4), abs=1e-3)
    found = plan(planned, written(CONTRAST | {"planned_d": 1.2}), models=(10,))
    assert found.effect == 1.2
    assert found.others[0].power == part_power("superiority", "t", 1.2, 0, 1, 10, questions=4)
    assert plan(planned, written(CONTRAST | {"planned_d": 1.2}), sd=2.0).effect == pytest.approx(2.4)
    equal = plan(planned, written(CONTRAST | {"kind": "equivalence", "margin": 2}), models=(10,))
    assert (equal.others[0].power, equal.effect) == (None, None)


def test_the_spread_is_the_upper_limit_of_the_pilots_pooled_over_its_settings(planned, written, paired):
    pilot = paired(FOUR)
    found = plan(planned, written(CONTRAST | {"planned_effect": 2}), pilots=[pilot])
    variances = [np.var(values, ddof=1) for values in FOUR.values()]
    assert found.sd == pytest.approx(sd_upper_limit(np.sqrt(np.mean(variances)), 4 * 3))
    assert plan(planned, written(CONTRAST), pilots=[pilot], sd=0.7).sd == 0.7
    twice = plan(planned, written(CONTRAST), pilots=[pilot, pilot])
    assert twice.sd == pytest.approx(sd_upper_limit(np.sqrt(np.mean(variances)), 8 * 3))


def test_the_spread_of_a_mean_is_that_of_the_means_of_models_within_architectures(planned, written, paired):
    found = plan(planned, written(CONTRAST | {"over": "mean"}), pilots=[paired(FOUR)])
    means = [np.mean([FOUR[model, 0.5], FOUR[model, 0.8]], axis=0) for model in ("cnn", "vit")]
    pooled = np.sqrt(np.mean([np.var(values, ddof=1) for values in means]))
    assert found.sd == pytest.approx(sd_upper_limit(pooled, 2 * 3))


def test_the_observed_effect_is_no_input(planned, written, paired):
    claims = written(CONTRAST | {"planned_effect": 2})
    shifted = {setting: [value + 9 for value in values] for setting, values in FOUR.items()}
    first, second = (plan(planned, claims, pilots=[paired(data)]) for data in (FOUR, shifted))
    assert first.sd == pytest.approx(second.sd)
    assert (first.needed, first.effect) == (second.needed, second.effect)


def test_the_spread_is_never_under_the_resolution_of_the_test_set(planned, written):
    assert plan(planned, written(CONTRAST), sd=1e-6).sd == pytest.approx(100 / 400 / np.sqrt(12))


def test_a_gate_takes_its_settings_from_the_pilot(planned, written, paired):
    gated = {key: value for key, value in CONTRAST.items() if key != "gate"}
    assert plan(planned, written(gated), pilots=[paired(FOUR)]).questions == 4
    low = {key: values for key, values in FOUR.items() if key[0] == "cnn"}
    assert plan(planned, written(gated), pilots=[paired(low)]).questions == 2


def test_the_number_of_planned_models_is_the_least_of_an_architecture(paired, written):
    rows = paired(FOUR).rows
    fewer = unrun(paired(FOUR).with_rows(rows[rows["model"].eq("cnn") | rows["train_seed"].lt(2)]))
    assert plan(fewer, written(CONTRAST)).planned.models == 2


def test_sign_flip_and_max_t_need_an_attainable_p(planned, written):
    flip = plan(planned, written(CONTRAST | {"test": "sign-flip", "planned_effect": 2}), sd=1.0, models=(5, 6))
    assert [(c.attainable, c.least is None) for c in flip.others] == [(False, True), (True, False)]
    assert flip.others[0].power == 0.0
    best = {"estimand": "any_of", "of": ["taylor"], "against": "magnitude", "gate": "none", "planned_d": 2}
    found = plan(planned, written(best), models=(8,))
    assert (found.test, found.effect, found.unit) == ("sign-flip max-T", 2, "sd")
    assert found.others[0].power == part_power("superiority", "max-t", 2, 0, 1, 8, questions=4, arms=1)


def test_a_test_whose_power_needs_more_than_a_spread_has_none(planned, written):
    terms = [{"of": {"scorer": "taylor"}}, {"weight": -1, "of": {"scorer": "magnitude"}}]
    found = plan(planned, written({"estimand": "sign_change", "terms": terms, "gate": "none"}), sd=1.0)
    assert (found.questions, found.needed, found.planned.power, found.planned.least) == (2, None, None, None)
    assert found.reason == "the power of this test depends on more than one standard deviation"
    found = plan(planned, written({"estimand": "trend", "terms": terms, "gate": "none"}))
    assert (found.questions, found.testable) == (0, False)
    assert "too few sparsities" in found.reason  # two of the three that a trend needs


def test_a_part_without_a_cell_is_not_testable_for_the_reason_of_the_report(planned, written, paired):
    claims = written(CONTRAST | {"of": ["obs"]})
    found = plan(planned, claims)
    (result,) = decide(paired(FOUR), claims)
    assert not found.testable
    assert found.reason == result.parts[0].reason == "the study has no cell with scorer obs"


def test_looks_are_planned_at_the_level_of_the_last_one(planned, written):
    once, twice = (
        plan(planned, written(CONTRAST | {"planned_effect": 2}, looks=looks), sd=2.0) for looks in (None, [10, 20])
    )
    assert once.needed <= twice.needed <= once.needed + 1
    # an effect of one standard deviation: stops at the first look with the power of t at 0.0015, 0.304 (noncentral t)
    first = stats.nct.sf(stats.t.isf(0.001525, 9), 9, 10**0.5)
    assert twice.expected == pytest.approx(20 - 10 * first, abs=0.02)
    assert once.expected is None


def test_plan_and_report_agree_on_every_part_of_a_committed_study():
    """Same functions: what the report tests, the plan of the finished study announces, in as many settings."""
    folder = ROOT / "reports" / "cifar10-resnet-published"
    assert disagreements(load(folder), read_claims(folder / "claims.yaml")) == []


def test_the_plan_of_a_study_announces_the_questions_that_its_run_then_has(paired, written):
    parts = (
        CONTRAST,
        CONTRAST | {"over": "mean"},
        {"estimand": "any_of", "of": ["taylor"], "against": "magnitude", "gate": "none"},
        {"estimand": "differs", "axis": "scorer", "gate": "none"},
        {"estimand": "mask_identity", "scorers": ["taylor"], "role": "supporting"},
    )
    run = paired(FOUR)
    claims = written(*parts)
    before, after = plan_parts(unrun(run), claims), plan_parts(run, claims)
    assert [(one.questions, one.test, one.cells) for one in before] == [(o.questions, o.test, o.cells) for o in after]


def test_without_an_informative_setting_in_the_pilot_nothing_is_left_to_test(planned, written, paired):
    gated = {key: value for key, value in CONTRAST.items() if key != "gate"}
    pilot = paired(FOUR, level=10.0)
    claims = written(gated)
    assert informative_settings(claims.claims[0].parts[0], [pilot]) == []
    found = plan(planned, claims, pilots=[pilot])
    assert (found.questions, found.cells) == (0, 32)
    assert found.reason.startswith("no setting of this part is informative in the pilot: the gate's arm (scorer")
    (line,) = shortfalls([found], claims)
    assert "part 'part 0' of 'M1' is not testable: no setting of this part is informative" in line
