"""Means over studies against numbers by hand; what is not combined is named."""

from __future__ import annotations

import pytest
from scipy import stats

from analysis.across_studies.overview import overview_of


def gain(*studies):
    """The part ``gain`` of some studies."""
    [part] = [part for part in overview_of(studies).parts if part.part == "gain"]
    return part


def test_two_studies_have_the_mean_by_hand(study_of):
    """A: mean 2, se^2 = 1/3. B: mean 6, se^2 = 4/3. Both have two degrees of freedom."""
    [combined] = gain(study_of("a", [1, 2, 3]), study_of("b", [4, 6, 8])).combined
    pooled = combined.pooled
    se, df = (1 / 3 + 4 / 3) ** 0.5 / 2, (5 / 3) ** 2 / ((1 / 9 + 16 / 9) / 2)
    assert pooled.mean == pytest.approx(4)
    assert pooled.se == pytest.approx(se)
    assert pooled.df == pytest.approx(df)
    assert pooled.high - pooled.mean == pytest.approx(stats.t.ppf(0.975, df) * se)
    assert (pooled.least, pooled.most) == (pytest.approx(2), pytest.approx(6))
    assert pooled.q == pytest.approx(3 * (2 - 2.8) ** 2 + 0.75 * (6 - 2.8) ** 2)  # weights 3 and 3/4, mean 2.8
    assert combined.random is None
    assert [source.studies for source in combined.sources] == [("a",), ("b",)]


def test_settings_are_averaged_within_each_model_first(study_of):
    several = study_of("a", {("cnn", 0.5): [1, 2, 3], ("cnn", 0.8): [3, 4, 8]})
    [combined] = gain(several, study_of("b", [0, 1, 2])).combined
    assert combined.sources[0].effect == pytest.approx((2 + 3 + 5.5) / 3)
    assert combined.sources[0].models == 3


def test_one_study_has_no_mean(study_of):
    part = gain(study_of("a", [1, 2, 3]))
    assert part.combined == ()
    assert part.notes == ()


def test_random_effects_come_with_the_fifth_study(study_of):
    [five] = gain(*(study_of(f"s{place}", [place, place + 1, place + 3]) for place in range(5))).combined
    assert five.random is not None
    assert five.random.prediction_low < five.random.low < five.random.mean < five.random.high


def test_studies_with_the_same_checkpoints_count_as_one(study_of):
    """The models of a and b are the same: their values are averaged per model, to 2, 2 and 5; c is another study."""
    a, b, c = study_of("a", [1, 2, 3], prefix="one"), study_of("b", [3, 2, 7], prefix="one"), study_of("c", [0, 1, 5])
    [combined] = gain(a, b, c).combined
    assert [source.studies for source in combined.sources] == [("a", "b"), ("c",)]
    joined = combined.sources[0]
    assert (joined.effect, joined.se, joined.df, joined.models) == (pytest.approx(3), pytest.approx(1), 2, 3)
    assert combined.pooled.mean == pytest.approx((3 + 2) / 2)
    assert gain(a, b).combined == ()


def test_joined_architectures_have_equal_weight(study_of):
    small = study_of("a", {("cnn", 0.5): [1, 2, 3]}, prefix="one")
    large = study_of("b", {("cnn", 0.5): [1, 2, 3], ("vit", 0.5): [5, 6, 7, 8, 9]}, prefix="one")
    [combined] = gain(small, large, study_of("c", [0, 1, 5])).combined
    assert combined.sources[0].effect == pytest.approx((2 + 7) / 2)


def test_versions_of_a_method_are_not_mixed(study_of):
    old, older = study_of("a", [1, 2, 3]), study_of("b", [2, 3, 5])
    new, newer = study_of("c", [4, 6, 8], version=2), study_of("d", [4, 6, 9], version=2)
    part = gain(old, new, older, newer)
    assert [[source.studies for source in one.sources] for one in part.combined] == [[("a",), ("b",)], [("c",), ("d",)]]
    assert part.notes == ("c and a are not combined: scorer taylor has version 2 in c and 1 in a",)


def test_parts_that_are_defined_differently_are_not_combined(study_of):
    part = gain(study_of("a", [1, 2, 3]), study_of("b", [1, 2, 4], {"sparsities": [0.5]}))
    assert part.combined == ()
    assert part.notes == ("b and a are not combined: their claims files define the part differently",)


def test_a_margin_is_no_difference_of_the_estimate(study_of):
    assert gain(study_of("a", [1, 2, 3]), study_of("b", [1, 2, 4], {"margin": 1, "text": "by a point"})).combined


def test_studies_without_an_interval_are_named(study_of):
    part = gain(study_of("a", [1, 2, 3]), study_of("b", [4]), study_of("c", [2, 3, 5]))
    [combined] = part.combined
    assert [source.studies for source in combined.sources] == [("a",), ("c",)]
    [note] = part.notes
    assert note.startswith("b is not combined: one model")


def test_a_study_with_two_looks_is_not_combined(study_of):
    stopped = study_of("a", [5, 6, 7, 5, 6, 7, 5, 6], looks=[6, 8])
    part = gain(stopped, study_of("b", [1, 2, 4]))
    assert part.combined == ()
    assert part.notes == ("a is not combined: it was decided at two looks, and a mean after a stop is biased",)
    [record] = stopped.results[0].parts[0].records
    estimate = part.findings[0].estimate
    assert (estimate.models, estimate.low, estimate.high) == (6, record.low_repeated, record.high_repeated)
    assert estimate.high - estimate.low > record.high - record.low
