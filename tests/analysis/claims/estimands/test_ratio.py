"""The share of one effect that another one reaches."""

from __future__ import annotations

import pytest
from scipy import stats

PLAIN = {"granularity": "channel", "allocation": "uniform", "correction": "none", "recalibration": "none"}
MINUS = {"weight": -1, "of": {"scorer": "magnitude"}}
KEYS = {
    "estimand": "ratio", "where": PLAIN, "gate": "none", "of": [{"of": {"scorer": "a5", "search": "dbo"}}, MINUS],
    "to": [{"of": {"scorer": "v1", "search": "dbo"}}, MINUS],
}  # fmt: skip


@pytest.fixture(scope="module")
def data(fused):
    return fused(models=("cnn",), sparsities=(0.5, 0.8), seeds=8, recalibrations=("none",))


def escapes(data, scorer):
    """Escape of a scorer under dbo at 50 %, points, by checkpoint."""
    rows = data.rows[data.rows["sparsity"].eq(0.5) & data.rows["state"].eq("done")]
    accuracy = rows[rows["scorer"].eq(scorer) & rows["search"].eq("dbo")].set_index("checkpoint")["accuracy"]
    plateau = rows[rows["scorer"].eq("magnitude") & rows["granularity"].eq("channel")
                   & rows["allocation"].eq("uniform")].set_index("checkpoint")["accuracy"]  # fmt: skip
    return 100 * (accuracy - plateau.reindex(accuracy.index))


def test_the_test_is_that_of_the_numerator_less_the_share_of_the_denominator(data, judge):
    record = judge(data, KEYS | {"least": 0.25}).parts[0].records[0]
    wanted = escapes(data, "a5") - 0.25 * escapes(data, "v1")
    assert record.effect == pytest.approx(wanted.mean())
    assert record.details["ratio (%)"] == pytest.approx(
        100 * escapes(data, "a5").mean() / escapes(data, "v1").mean()
    )
    assert record.n == 8


@pytest.mark.parametrize(("least", "verdict"), [(0.25, "supported"), (0.9, "contradicted")])
def test_the_verdict_follows_the_share(data, judge, least, verdict):
    # the synthetic escapes under dbo are 2 points for a5 and 5 points for v1: 40 %
    result = judge(data, KEYS | {"least": least, "over": "mean"})
    assert result.verdict == verdict
    assert result.parts[0].records[0].details["ratio (%)"] == pytest.approx(40, abs=5)


def test_fiellers_limits_are_the_shares_that_are_just_not_rejected(study, judge):
    data = study(models=("cnn",), sparsities=(0.5,), seeds=8, recalibrations=("none",))
    keys = {
        "estimand": "ratio", "gate": "none", "where": {**PLAIN, "granularity": "weight", "allocation": "uniform"},
        "of": [{"of": {"scorer": "wanda"}}, MINUS], "to": [{"of": {"scorer": "taylor"}}, MINUS],
    }  # fmt: skip
    record = judge(data, keys).parts[0].records[0]
    rows = data.rows[data.rows["granularity"].eq("weight") & data.rows["allocation"].eq("uniform")]
    wide = 100 * rows.pivot_table(index="checkpoint", columns="scorer", values="accuracy")
    above, below = wide["wanda"] - wide["magnitude"], wide["taylor"] - wide["magnitude"]
    for limit in ("ratio, low (%)", "ratio, high (%)"):
        assert stats.ttest_1samp(above - record.details[limit] / 100 * below, 0).pvalue == pytest.approx(0.05, abs=1e-6)
