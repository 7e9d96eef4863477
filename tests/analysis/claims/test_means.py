"""The test of a mean against a margin, by hand and by scipy; means over settings within each model."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.claims.means import default_margin, null_value, run_mean_test
from analysis.stats.bootstrap_t import bootstrap_t

from .conftest import CONTRAST, grid, records

SKEWED = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.2, 2.6, 5.0]
differences = st.lists(st.floats(-5, 5, width=16), min_size=3, max_size=12).filter(
    lambda values: np.ptp(values) > 0.01 and np.count_nonzero(values) >= 3
)


def one(values, kind="superiority", margin=0.0, test="t", least_sd=0.0):
    return run_mean_test(values, ["all"] * len(values), kind, margin, test, least_sd)


def test_superiority_by_a_margin_is_the_one_sided_t_test():
    values = [1.2, 0.4, 2.2, 1.9, 0.7, 1.4]
    found = one(values, margin=0.5)
    for side, p in (("greater", found.p), ("less", found.p_contradiction)):
        assert p == pytest.approx(stats.ttest_1samp(values, 0.5, alternative=side).pvalue)
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert (found.test, found.df, found.effect) == ("paired t", 5, pytest.approx(np.mean(values)))


def test_noninferiority_is_superiority_over_the_negative_margin():
    values = [-0.2, 0.1, -0.6, 0.4, -0.3]
    found = one(values, "noninferiority", 1.0)
    assert found.p == pytest.approx(stats.ttest_1samp(values, -1.0, alternative="greater").pvalue)
    assert null_value("noninferiority", 1.0) == -1.0


def test_equivalence_by_hand():
    # mean 0.5, sd 1, 4 models: se 0.5; t to the margin of 2 is 3, and 5 on the other side
    values = [0.5 + math.sqrt(0.75) * sign for sign in (1, 1, -1, -1)]
    found = one(values, "equivalence", 2.0)
    assert found.p == pytest.approx(stats.t.sf(3, 3))
    assert found.p_contradiction == pytest.approx(stats.t.sf(-3, 3) + stats.t.sf(5, 3))


@settings(max_examples=60, deadline=None)
@given(differences, st.sampled_from(["superiority", "noninferiority", "equivalence"]), st.sampled_from([0.5, 1.0, 2.0]))
def test_a_decision_agrees_with_the_printed_interval(values, kind, margin):
    found = one(values, kind, margin)
    low, high = found.low, found.high
    if kind == "equivalence":
        supported, contradicted = -margin < low and high < margin, low > margin or high < -margin
    else:
        null = margin if kind == "superiority" else -margin
        supported, contradicted = low > null, high < null
    assert (found.p < 0.025) == supported
    if kind == "equivalence":  # both tails count, so the interval is only necessary
        assert contradicted or not found.p_contradiction < 0.025
    else:
        assert (found.p_contradiction < 0.025) == contradicted


def test_the_larger_of_t_and_bootstrap_t_decides():
    drawn = bootstrap_t(SKEWED, 0.0)
    t = stats.ttest_1samp(SKEWED, 0, alternative="greater").pvalue
    found = one(SKEWED, test="t and bootstrap-t")
    assert found.p == pytest.approx(max(t, drawn.p_greater))
    assert drawn.p_greater != pytest.approx(t, rel=0.05)
    assert found.p_contradiction == pytest.approx(max(1 - t, drawn.p_less))
    assert (found.test, found.repetitions) == ("paired t and bootstrap-t", 9999)
    narrow = one(SKEWED, "equivalence", 4.0, "t and bootstrap-t")
    above, below = bootstrap_t(SKEWED, -4.0), bootstrap_t(SKEWED, 4.0)
    tost = stats.ttest_1samp(SKEWED, 4.0, alternative="less").pvalue
    assert narrow.p == pytest.approx(max(tost, above.p_greater, below.p_less))


def test_sign_flip_counts_patterns():
    assert one([1, 2, 3, 4, 5, 6], test="sign-flip").p == 2**-6
    assert one([1, 2, -3], test="sign-flip").p == 5 / 8  # sums of 0 or more: 6, 4, 2, 0, 0


def test_a_constant_difference_is_decided_by_sign_flip():
    found = one([1.5] * 6, least_sd=0.1)
    assert (found.test, found.p, found.p_contradiction) == ("sign-flip", 2**-6, 1.0)
    without_floor = one([1.5] * 6)
    assert (without_floor.test, without_floor.p, without_floor.category) == ("sign-flip", 2**-6, "constant")
    assert math.isnan(one([1.5] * 6, "equivalence", 2.0).p)


def test_the_spread_is_at_least_the_resolution_of_the_test_set():
    values = [1.0, 1.0, 1.0, 1.0001]
    found = one(values, least_sd=0.4)
    assert found.low == pytest.approx(np.mean(values) - stats.t.ppf(0.975, 3) * 0.2)
    assert found.p == pytest.approx(stats.t.sf(np.mean(values) / 0.2, 3))


@pytest.mark.parametrize(("models", "share"), [(5, 45), (10, 26), (20, 14)])
def test_exact_ties_decide_nothing(models, share):
    for kind in ("superiority", "equivalence", "noninferiority"):
        found = one([0.0] * models, kind, 1.0)
        assert math.isnan(found.p)
        assert math.isnan(found.p_contradiction)
        assert found.reason == f"identical in {models} of {models} models; up to {share} % of models may differ"


@pytest.mark.parametrize(("values", "decided"), [([0.0] * 8 + [0.25, -0.25], False), ([0.0] * 7 + [0.25] * 3, True)])
def test_an_equivalence_needs_three_differences(values, decided):
    found = one(values, "equivalence", 2.0)
    assert (found.p < 0.025) == decided
    assert ("fewer than 3 models differ" in found.reason) != decided


@pytest.mark.parametrize(
    ("values", "category"), [([], "no data"), ([1.0], "one model"), ([1.0, math.nan], "not finite")]
)
def test_data_without_a_test_are_named(values, category):
    found = one(values)
    assert found.category == category
    assert math.isnan(found.p)


def test_architectures_have_equal_weight_and_welchs_degrees_of_freedom():
    one_arch, other = [1.0, 2.0, 3.0, 2.0], [4.0, 8.0, 6.0]
    found = run_mean_test([*one_arch, *other], ["a"] * 4 + ["b"] * 3, "superiority", 0.0, "t")
    v, w = np.var(one_arch, ddof=1) / 4, np.var(other, ddof=1) / 3
    se, df = math.sqrt(v + w) / 2, (v + w) ** 2 / (v**2 / 3 + w**2 / 2)
    assert found.effect == pytest.approx((2 + 6) / 2)
    assert found.df == pytest.approx(df)
    assert found.p == pytest.approx(stats.t.sf(4 / se, df))
    assert (found.low, found.high) == pytest.approx((4 - stats.t.ppf(0.975, df) * se, 4 + stats.t.ppf(0.975, df) * se))
    assert found.test == "paired t, architectures as strata"


def test_bootstrap_t_is_not_claimed_for_several_architectures():
    found = run_mean_test([1.0, 2.0, 3.0, 6.0, 8.0], ["a"] * 3 + ["b"] * 2, "superiority", 0.0, "t and bootstrap-t")
    assert found.test == "paired t, architectures as strata"
    assert "no bootstrap-t" in found.reason


def test_one_model_of_an_architecture_has_no_spread():
    found = run_mean_test([1.0, 2.0, 3.0], ["a", "a", "b"], "superiority", 0, "t")
    assert found.category == "one model per architecture"
    assert found.effect == (1.5 + 3) / 2  # architectures have equal weight all the same


def test_the_spread_of_each_architecture_is_at_least_the_resolution():
    values = [1.0, 1.0, 1.0, 2.0, 3.0, 4.0]
    found = run_mean_test(values, ["a"] * 3 + ["b"] * 3, "superiority", 0.0, "t", least_sd=0.5)
    v, w = 0.5**2 / 3, 1 / 3
    df = (v + w) ** 2 / (v**2 / 2 + w**2 / 2)
    assert found.df == pytest.approx(df)
    assert found.p == pytest.approx(stats.t.sf(2 / (math.sqrt(v + w) / 2), df))


def test_the_default_margin_is_half_a_point_or_three_images():
    assert [default_margin(images) for images in (400, 10_000, math.nan)] == [0.75, 0.5, 0.75]


# ---- Means over settings ----


def test_the_settings_of_a_model_are_averaged_within_it(paired, judge):
    low, high = [1.0, 2.0, 3.0, 2.0], [3.0, 6.0, 4.0, 5.0]
    wide, deep = [0.0, 1.0, 5.0], [2.0, 3.0, 1.0]
    data = paired(grid(["cnn", "vit"], [0.5, 0.8], [low, high, wide, deep]))
    (record,) = records(judge(data, CONTRAST | {"over": "mean"}))
    cnn, vit = np.mean([low, high], axis=0), np.mean([wide, deep], axis=0)
    v, w = np.var(cnn, ddof=1) / 4, np.var(vit, ddof=1) / 3
    df = (v + w) ** 2 / (v**2 / 3 + w**2 / 2)
    effect = (cnn.mean() + vit.mean()) / 2
    assert record.effect == pytest.approx(effect)
    assert record.p == pytest.approx(stats.t.sf(effect / (math.sqrt(v + w) / 2), df))
    assert (record.n, record.settings, len(record.averaged)) == (7, 4, 4)
    assert "sparsity" not in record.setting
    assert record.details["settings with a positive mean"] == "4 of 4"


def test_a_model_that_lacks_a_setting_is_left_out_of_the_mean_and_counted(paired, judge):
    low, high = [1.0, 2.0, 3.0, 2.0], [3.0, "failed", 4.0, 5.0]
    (record,) = records(judge(paired(grid(["cnn"], [0.5, 0.8], [low, high])), CONTRAST | {"over": "mean"}))
    assert record.effect == pytest.approx(np.mean([2.0, 3.5, 3.5]))
    assert record.n == 3
    assert record.counts["models without every setting"] == 1
    assert record.counts["failed"] == 1


@pytest.mark.parametrize("state", ["failed", "to do"])
def test_a_setting_that_no_model_has_leaves_the_mean_open(paired, judge, state):
    data = paired(grid(["cnn"], [0.5, 0.8], [[1.0, 1.2, 0.9, 1.1], [state] * 4]))
    result = judge(data, CONTRAST | {"over": "mean"})
    (record,) = records(result)
    assert (result.verdict, record.verdict, record.p) == ("inconclusive", "inconclusive", None)
    assert "1 of 2 settings failed or have not run" in record.reason
    assert record.effect == pytest.approx(1.05)


def test_a_skipped_setting_is_no_part_of_the_mean(paired, judge):
    data = paired(grid(["cnn"], [0.5, 0.8], [[1.0, 1.2, 0.9, 1.1], ["skipped"] * 4]))
    result = judge(data, CONTRAST | {"over": "mean"})
    (record,) = records(result)
    assert (result.verdict, record.settings) == ("supported", 1)


def test_identical_masks_are_left_out_of_the_mean(paired, judge):
    data = paired(grid(["cnn"], [0.5, 0.8], [[0.0] * 4, [1.0, 1.2, 0.9, 1.1]]), same_masks=[("cnn", 0.5)])
    (record,) = records(judge(data, CONTRAST | {"over": "mean"}))
    assert record.effect == pytest.approx(1.05)
    assert (record.settings, record.counts) == (1, {"settings by construction": 1})


@pytest.mark.parametrize(("paper", "size"), [(1.0, "agrees"), (9.0, "smaller"), (-4.0, "larger")])
def test_the_papers_value_is_compared_and_does_not_decide(paired, judge, paper, size):
    data = paired({("cnn", 0.5): [1.0, 1.2, 0.9, 1.1]})
    result = judge(data, CONTRAST | {"paper_value": paper})
    assert (result.verdict, records(result)[0].size) == ("supported", size)


def test_skewed_differences_are_flagged_for_the_t_test_alone(paired, judge):
    data = paired({("cnn", 0.5): SKEWED})
    assert "skewed" in records(judge(data, CONTRAST))[0].reason
    assert "skewed" not in records(judge(data, CONTRAST | {"test": "t and bootstrap-t"}))[0].reason
