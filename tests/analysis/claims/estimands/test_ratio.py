"""The share of one effect that another one reaches."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

NOISE = np.random.default_rng(11).normal(0, 0.3, (8, 2))
CONTROL, WHOLE = 3 + NOISE[:, 0], 4 + NOISE[:, 1]
MINUS = {"weight": -1, "of": {"scorer": "magnitude"}}
KEYS = {"estimand": "ratio", "of": [{"of": {"scorer": "control"}}, MINUS], "to": [{"of": {"scorer": "taylor"}}, MINUS]}


@pytest.fixture
def data(paired):
    """taylor is `WHOLE` above magnitude, and control is `CONTROL` above it."""
    own = paired({("cnn", 0.5): WHOLE.tolist()}, more=[{"scorer": "control"}])
    rows = own.rows
    control = rows["scorer"].eq("control")
    shift = rows["train_seed"].map(dict(enumerate(CONTROL / 100)))
    return own.with_rows(rows.assign(accuracy=rows["accuracy"].mask(control, rows["accuracy"] + shift)))


def only(result):
    ((record,),) = (part.records for part in result.parts)
    return record


@pytest.mark.parametrize(("least", "verdict"), [(0.5, "supported"), (0.75, "inconclusive"), (1.0, "contradicted")])
def test_the_share_is_tested_as_a_difference(data, judge, least, verdict):
    result = judge(data, KEYS | {"least": least})
    record, difference = only(result), CONTROL - least * WHOLE
    assert result.verdict == verdict
    assert record.p == pytest.approx(stats.ttest_1samp(difference, 0, alternative="greater").pvalue)
    assert record.effect == pytest.approx(difference.mean())


def test_fiellers_interval_excludes_the_share_where_the_test_does(data, judge):
    details = only(judge(data, KEYS)).details
    assert details["ratio (%)"] == pytest.approx(100 * CONTROL.mean() / WHOLE.mean())
    for limit, side in (("ratio, low (%)", "greater"), ("ratio, high (%)", "less")):
        at_limit = CONTROL - details[limit] / 100 * WHOLE
        assert stats.ttest_1samp(at_limit, 0, alternative=side).pvalue == pytest.approx(0.025)


def test_both_arms_must_be_there(data, judge):
    missing = judge(data, KEYS | {"of": [{"of": {"scorer": "poly4"}}, MINUS]})
    assert (missing.verdict, "scorer poly4" in missing.notes[0]) == ("not testable", True)
