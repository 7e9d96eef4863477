"""What a study found about a part: the estimate of its records, settings by sign, versions."""

from __future__ import annotations

import pytest

from analysis.across_studies.findings import Signs, findings_of

#: Two architectures and two sparsities; at 80 % the second architecture has exact ties.
SETTINGS = {
    ("cnn", 0.5): [1, 2, 3], ("cnn", 0.8): [-4, -3, -5], ("vit", 0.5): [2, 2, 5], ("vit", 0.8): [1, -1, 0],
}  # fmt: skip


@pytest.mark.parametrize("over", ["mean", "every", "some"])
def test_the_estimate_is_the_mean_whatever_the_quantifier(study_of, over):
    [finding] = findings_of(study_of("a", SETTINGS, {"over": over}))
    assert finding.estimate.effect == pytest.approx(((2 - 4) / 2 + (3 + 0) / 2) / 2)
    assert finding.estimate.signs == Signs(above=2, equal=1, below=1)
    assert finding.estimate.models == 6
    assert sorted(set(finding.architectures)) == ["digits: cnn", "digits: vit"]


def test_the_interval_is_that_of_the_record(study_of):
    decided = study_of("a", SETTINGS)
    [record] = decided.results[0].parts[0].records
    [finding] = findings_of(decided)
    found = finding.estimate
    assert (found.effect, found.low, found.high, found.df) == (record.effect, record.low, record.high, record.df)
    assert (finding.verdict, finding.records) == (record.verdict, {record.verdict: 1})


def test_one_model_per_architecture_has_signs_and_no_interval(study_of):
    [finding] = findings_of(study_of("a", {("cnn", 0.5): [2], ("vit", 0.5): [-1]}))
    assert finding.verdict == "not testable"
    assert (finding.estimate.low, finding.estimate.se) == (None, None)
    assert finding.estimate.signs == Signs(above=1, equal=0, below=1)


def test_readings_have_their_own_estimate_and_signs(study_of):
    changes = {"readings": {"baseline": {"magnitude": {}, "random": {"magnitude": "random"}}}}
    [finding] = findings_of(study_of("a", SETTINGS, changes, more={"random": 4.0}))
    by_level = {reading.levels["baseline"]: reading for reading in finding.readings}
    assert by_level["magnitude"].primary
    assert by_level["magnitude"].estimate == finding.estimate
    assert by_level["random"].estimate.effect == pytest.approx(finding.estimate.effect - 4)
    assert by_level["random"].estimate.signs == Signs(above=0, equal=0, below=4)


def test_a_part_without_data_is_no_finding(study_of):
    decided = study_of("a", SETTINGS, {}, {"id": "absent", "against": "l2"})
    assert [finding.part for finding in findings_of(decided)] == ["gain"]


def test_a_part_that_is_no_mean_has_no_estimate(study_of):
    part = {
        "id": "falls", "estimand": "trend", "kind": "trend", "over": "every", "of": None, "against": None,
        "terms": [{"of": {"scorer": "taylor"}}],
    }  # fmt: skip
    [finding] = findings_of(study_of("a", {("cnn", sparsity): [5, 6, 8] for sparsity in (0.5, 0.6, 0.7)}, part))
    assert finding.estimate is None
    assert finding.models == 3


def test_versions_are_those_of_the_methods_that_are_compared(study_of):
    [finding] = findings_of(study_of("a", SETTINGS, version=3, more={"random": 0.0}))
    assert finding.methods == {("scorer", "taylor"): 3, ("scorer", "magnitude"): 1}
