"""Identities of masks and of repeated evaluations."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from bench.store import schema

IDENTITY = {"estimand": "mask_identity", "scorers": ["log_magnitude", "rank"], "where": {"allocation": "uniform"}}
REPEATED = {"estimand": "reevaluation"}


@pytest.fixture(scope="module")
def data(study):
    return study(seeds=3, models=("cnn",), granularities=("channel",), repairs=False,
                 scorers=("magnitude", "log_magnitude", "rank", "taylor"))  # fmt: skip


def only(result):
    ((record,),) = (part.records for part in result.parts)
    return record


def test_equal_masks_support(data, judge):
    result = judge(data, IDENTITY)
    record = only(result)
    # 2 scorers x 3 models x 2 sparsities; the two recalibrations of a cell share its mask
    assert (result.verdict, result.basis, record.comparisons, record.mismatches, record.n) == (
        "supported", "by construction", 12, 0, 3,
    )  # fmt: skip
    assert record.p is None


def test_one_different_mask_contradicts(data, judge, changed):
    first = data.rows.index[data.rows["scorer"].eq("rank") & data.rows["recalibration"].eq("none")][0]
    result = judge(changed(data, first, mask="other"), IDENTITY)
    assert (result.verdict, only(result).mismatches) == ("contradicted", 1)


def test_tied_units_are_counted_and_excuse_no_mismatch(data, judge, changed):
    rows = data.rows
    like = rows["scorer"].eq("rank") & rows["train_seed"].eq(0) & rows["sparsity"].eq(0.5)
    record = only(judge(changed(data, like & rows["allocation"].eq("uniform"), mask="other", tied_units=3), IDENTITY))
    assert (record.verdict, record.mismatches, record.comparisons) == ("contradicted", 1, 12)
    assert record.counts["tied units, ordered by the tie rule"] == 3


def test_other_masks_under_another_allocation_are_not_claimed(data, judge):
    ranked = data.rows[data.rows["scorer"].isin(["rank", "magnitude"]) & data.rows["allocation"].eq("global")]
    assert ranked.groupby("scorer")["mask"].unique()["rank"][0] not in set(ranked[ranked["scorer"].ne("rank")]["mask"])
    assert judge(data, IDENTITY | {"where": {"allocation": "global"}}).verdict == "contradicted"


def test_cells_that_were_not_evaluated_are_counted(data, judge, changed):
    lost = data.rows["scorer"].eq("rank") & data.rows["train_seed"].eq(0) & data.rows["allocation"].eq("uniform")
    record = only(judge(changed(data, lost, state="failed", reason="NaN scores", mask=None), IDENTITY))
    assert (record.verdict, record.comparisons) == ("supported", 10)
    assert record.counts["failed: NaN scores"] == 2


def test_an_identity_of_which_every_cell_failed_keeps_the_claim_open(data, judge, changed):
    rows = data.rows
    lost = rows["scorer"].eq("rank") & rows["allocation"].eq("uniform")
    alone = IDENTITY | {"scorers": ["rank"]}
    result = judge(changed(data, lost, state="failed", reason="NaN scores", mask=None), alone)
    assert result.verdict == "not testable"
    assert "failed: NaN scores" in result.notes[0]


def test_scorers_that_the_study_lacks_are_not_testable(data, judge):
    assert (
        "scorer sqrt_magnitude or exp_magnitude"
        in judge(data, IDENTITY | {"scorers": ["sqrt_magnitude", "exp_magnitude"]}).notes[0]
    )
    assert judge(data, IDENTITY | {"scorers": ["rank", "sqrt_magnitude"]}).verdict == "supported"


@pytest.fixture
def repeated(data):
    """Two cells that were evaluated again, with as many images that changed."""

    def _repeated(*mismatches):
        cells = data.rows.loc[data.rows["scorer"].eq("rank"), "cell"].head(len(mismatches))
        checks = pd.DataFrame({"cell": cells, "kind": "shared", "accuracy": 0.5, "mismatches": mismatches})
        checks = checks.reindex(columns=[column.name for column in schema.CHECKS])
        return dataclasses.replace(data, checks=checks)

    return _repeated


def test_repeated_evaluations(repeated, judge, changed):
    same, different = judge(repeated(0, 0), REPEATED), judge(repeated(0, 1), REPEATED)
    assert (same.verdict, only(same).comparisons) == ("supported", 2)
    assert (different.verdict, only(different).mismatches) == ("contradicted", 1)
    assert only(different).counts["images that changed"] == 1
    evidence = repeated(0, 1)
    exempt = changed(evidence, evidence.rows["cell"].eq(evidence.checks["cell"].iloc[1]), batch_halved=1)
    halved = judge(exempt, REPEATED)
    assert (halved.verdict, only(halved).comparisons) == ("supported", 1)
    assert only(halved).counts["batch halved for memory, exempt"] == 1
