"""Parts decided over several settings: quantifiers by hand, settings that are lost, skipped or hold by construction."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.claims.outcomes import part_outcome

from .conftest import CONTRAST, grid, records

CLEAR, WEAK, NONE, WORSE = [1.0, 1.2, 0.9, 1.1], [0.2, 1.2, 0.5, 0.4], [0.5, -0.6, 0.2, -0.3], [-1.0, -1.2, -0.9, -1.1]
FOUR = grid(["cnn", "vit"], [0.5, 0.8], [CLEAR, WEAK, NONE, WORSE])


def p_values(side, settings=FOUR):
    return [stats.ttest_1samp(values, 0, alternative=side).pvalue for values in settings.values()]


@pytest.mark.parametrize(
    ("over", "support", "contradiction"),
    [
        ("every", lambda p: max(p), lambda q: min(1, 4 * min(q))),
        ("some", lambda p: min(1, 4 * min(p)), lambda q: max(q)),
    ],
)
def test_quantifiers_by_hand(paired, part, over, support, contradiction):
    outcome = part_outcome(part(**CONTRAST, over=over), paired(FOUR))
    assert len(outcome.questions) == 4
    assert outcome.p == pytest.approx(support(p_values("greater")))
    assert outcome.p_contradiction == pytest.approx(contradiction(p_values("less")))


def test_every_is_contradicted_by_one_setting_and_some_is_supported_by_one(paired, judge):
    every, some = (judge(paired(FOUR), CONTRAST | {"over": over}) for over in ("every", "some"))
    assert (every.verdict, some.verdict) == ("contradicted", "supported")
    p, q = p_values("greater"), p_values("less")
    for record, support, against in zip(records(every), p, q, strict=True):
        assert record.p_adjusted == pytest.approx(support)
        assert record.p_contradiction_adjusted == pytest.approx(min(1, 4 * against))
        assert record.questions == 4
    for record, support, against in zip(records(some), p, q, strict=True):
        assert record.p_adjusted == pytest.approx(min(1, 4 * support))
        assert record.p_contradiction_adjusted == pytest.approx(against)
    assert [record.verdict for record in records(some)] == ["supported", "inconclusive", "inconclusive", "contradicted"]
    assert [record.verdict for record in records(every)] == [
        "supported",
        "inconclusive",
        "inconclusive",
        "contradicted",
    ]


def test_every_needs_all_and_some_is_contradicted_by_all_alone(paired, judge):
    good = paired(grid(["cnn"], [0.5, 0.8], [CLEAR, [0.8, 1.0, 1.1, 0.9]]))
    bad = paired(grid(["cnn"], [0.5, 0.8], [WORSE, [-0.8, -1.0, -1.1, -0.9]]))
    assert judge(good, CONTRAST).verdict == "supported"
    assert judge(bad, CONTRAST | {"over": "some"}).verdict == "contradicted"
    mixed = paired(grid(["cnn"], [0.5, 0.8], [CLEAR, NONE]))
    assert judge(mixed, CONTRAST).verdict == "inconclusive"


def test_what_one_question_would_support_a_family_may_not(paired, judge):
    values = [0.1, 1.2, 0.5, 0.4, 0.9]
    (p,) = p_values("greater", {"": values})
    assert 0.025 / 4 < p < 0.025
    data = paired(grid(["cnn", "vit"], [0.5, 0.8], [values, NONE, NONE, NONE]))
    record = records(judge(data, CONTRAST | {"over": "some"}))[0]
    assert (record.verdict, record.reason) == (
        "inconclusive",
        "supported before, not after, correction over 4 questions",
    )


@pytest.mark.parametrize("state", ["failed", "to do"])
def test_a_lost_setting_keeps_the_claim_open(paired, judge, state):
    data = paired(grid(["cnn"], [0.5, 0.8], [CLEAR, [state] * 4]))
    result = judge(data, CONTRAST)
    assert result.verdict == "inconclusive"
    assert result.notes == ("1 of 2 settings not testable", "descriptive only")
    assert result.parts[0].reason == "1 of 2 settings failed, were not run or cannot be tested"
    assert [record.verdict for record in records(result)] == ["supported", "not testable"]
    assert f"4 {state}" in records(result)[1].reason


def test_a_lost_setting_does_not_hide_a_contradiction(paired, judge):
    assert judge(paired(grid(["cnn"], [0.5, 0.8], [WORSE, ["failed"] * 4])), CONTRAST).verdict == "contradicted"


def test_a_skipped_setting_is_no_question(paired, judge):
    result = judge(paired(grid(["cnn"], [0.5, 0.8], [CLEAR, ["skipped"] * 4])), CONTRAST)
    assert result.verdict == "supported"
    assert len(records(result)) == 1


def test_failed_cells_are_counted_in_their_setting(paired, judge):
    (record,) = records(judge(paired({("cnn", 0.5): [*CLEAR, "failed", "to do"]}), CONTRAST))
    assert record.n == 4
    assert record.counts == {"failed": 1, "to do": 1}


def test_identical_masks_leave_the_family(paired, judge):
    data = paired(grid(["cnn"], [0.5, 0.8], [[0.0] * 4, CLEAR]), same_masks=[("cnn", 0.5)])
    result = judge(data, CONTRAST)
    assert result.verdict == "supported"
    assert result.notes[0] == "1 of 2 settings hold by construction and decide nothing"
    measured, aside = records(result)
    assert (measured.questions, measured.by_construction) == (1, "")
    assert (aside.by_construction, aside.verdict) == ("identical masks", "not testable")


def test_a_part_that_holds_by_construction_decides_nothing(paired, judge):
    equivalence = CONTRAST | {"kind": "equivalence", "margin": 2.0}
    result = judge(paired({("cnn", 0.5): [0.0] * 6}, same_masks=[("cnn", 0.5)]), equivalence)
    assert (result.verdict, result.parts[0].reason) == ("not testable", "identical masks")


def test_equal_accuracies_of_other_masks_decide_nothing(paired, judge):
    for kind in ("equivalence", "superiority"):
        result = judge(paired({("cnn", 0.5): [0.0] * 10}), CONTRAST | {"kind": kind, "margin": 2.0})
        assert result.verdict == "inconclusive"
        assert records(result)[0].reason == "identical in 10 of 10 models; up to 26 % of models may differ"


def test_one_different_mask_makes_a_measurement(paired, judge, changed):
    data = paired({("cnn", 0.5): [0.0] * 10}, same_masks=[("cnn", 0.5)])
    first = data.rows.index[data.rows["scorer"].eq("taylor")][0]
    result = judge(changed(data, first, mask="another"), CONTRAST)
    assert records(result)[0].by_construction == ""
    assert result.verdict == "inconclusive"


def test_corrections_that_cancel_hold_by_construction(study, judge):
    part = {"estimand": "contrast", "kind": "superiority", "axis": "correction", "of": ["asr"], "against": "layerwise",
            "where": {"granularity": "weight", "scorer": "magnitude", "model": "cnn"}, "gate": "none"}  # fmt: skip
    found = records(judge(study(), part))
    assert {(r.setting["recalibration"], r.by_construction) for r in found} == {
        ("none", ""), ("cumulative", "the corrections cancel under complete recalibration"),
    }  # fmt: skip
    assert {r.questions for r in found if not r.by_construction} == {2}
    assert all(r.verdict == "supported" for r in found if not r.by_construction)


def test_corrections_outside_the_identity_are_measured(study, judge, changed):
    data = study()
    asr = data.rows["correction"].eq("asr")
    where = {"granularity": "weight", "model": "cnn", "recalibration": "cumulative"}
    part = {"estimand": "contrast", "kind": "superiority", "axis": "correction", "of": ["asr"], "against": "layerwise",
            "where": where, "gate": "none"}  # fmt: skip
    found = records(judge(changed(data, asr, identity_covered=False), part))
    assert {r.by_construction for r in found} == {""}


@pytest.mark.parametrize(
    ("sparsities", "message"),
    [([0.7], "no cell at sparsity 70 % that meets"), ({"least": 0.6, "most": 0.7}, "at a sparsity from 60 % to 70 %")],
)
def test_sparsities_that_a_study_lacks_are_named(study, judge, sparsities, message):
    assert message in judge(study(seeds=2), CONTRAST | {"sparsities": sparsities}).notes[0]


def test_the_least_attainable_p_is_named(paired, judge):
    (record,) = records(judge(paired({("cnn", 0.5): CLEAR}), CONTRAST | {"test": "sign-flip"}))
    assert (record.verdict, record.reason) == ("inconclusive", "no p-value under 0.025 is attainable with 4 models")


def test_a_scan_is_adjusted_by_benjamini_and_hochberg(paired, judge):
    result = judge(paired(FOUR), CONTRAST, CONTRAST | {"role": "scan"})
    scan = result.parts[1].records
    p = np.array(p_values("greater"))
    assert [record.p_adjusted for record in scan] == pytest.approx(stats.false_discovery_control(p).tolist())
