"""The best of several pays for the choice."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

PLAIN = {"granularity": "channel", "allocation": "uniform", "correction": "none", "recalibration": "none"}
KEYS = {"estimand": "any_of", "against": "magnitude", "where": PLAIN, "gate": "none"}


@pytest.fixture(scope="module")
def data(study):
    return study(granularities=("channel",), allocations=("uniform",), recalibrations=("none",), models=("cnn",),
                 seeds=8, sparsities=(0.8,), repairs=False)  # fmt: skip


def differences(data, of):
    table = data.rows[data.rows["sparsity"].eq(0.8)].pivot_table(
        index="checkpoint", columns="scorer", values="accuracy"
    )
    return 100 * table[list(of)].sub(table["magnitude"], axis=0).to_numpy()


def by_hand(table):
    """The share of all sign patterns in which the largest t reaches the observed one."""
    signs = np.array(list(itertools.product((1, -1), repeat=len(table))))
    flipped = signs[:, :, None] * table
    t = flipped.mean(axis=1) / flipped.std(axis=1, ddof=1)
    return np.mean(t.max(axis=1) >= t[0].max() - 1e-9)


@pytest.mark.parametrize(
    ("of", "verdict"),
    [(("gradient", "taylor"), "supported"), (("random", "gradient"), "contradicted"), (("l2", "random"), None)],
)
def test_the_best_of_several_pays_for_the_choice(data, judge, of, verdict):
    result = judge(data, KEYS | {"of": of})
    ((record,),) = (part.records for part in result.parts)
    table = differences(data, of)
    assert verdict in (None, result.verdict)
    assert record.p == pytest.approx(by_hand(table))
    assert record.p_contradiction == pytest.approx(
        max(stats.ttest_1samp(column, 0, alternative="less").pvalue for column in table.T)
    )
    assert record.effect == pytest.approx(max(table.mean(axis=0)))
    assert (record.test, record.questions) == ("sign-flip max-T", 1)


def test_identical_masks_do_not_take_part(data, judge):
    ((record,),) = (part.records for part in judge(data, KEYS | {"of": ["taylor", "rank"]}).parts)
    assert record.p == pytest.approx(by_hand(differences(data, ["taylor"])))
    ((alone,),) = (part.records for part in judge(data, KEYS | {"of": ["rank"]}).parts)
    assert (alone.verdict, alone.by_construction) == ("not testable", "identical masks")


def test_a_skipped_label_is_no_question_and_a_failed_one_keeps_it_open(data, judge, changed):
    own = data.rows["scorer"].eq("gradient")
    skipped, failed = (changed(data, own, state=state, accuracy=np.nan) for state in ("skipped", "failed"))
    part = KEYS | {"of": ["taylor", "gradient"]}
    ((record,),) = (one.records for one in judge(skipped, part).parts)
    assert (record.verdict, record.p) == ("supported", pytest.approx(by_hand(differences(data, ["taylor"]))))
    assert judge(failed, part).verdict == "not testable"


def test_power_is_that_of_max_t(data, judge):
    ((record,),) = (part.records for part in judge(data, KEYS | {"of": ["taylor", "l2"], "planned_d": 1.5}).parts)
    # for a check of the size: t alone at half of the level is a lower bound, at the whole level an upper one
    shift = 1.5 * 8**0.5
    low, high = (stats.nct.sf(stats.t.isf(level, 7), 7, shift) for level in (0.0125, 0.025))
    assert low - 0.05 < record.power < high + 0.05
