"""Verdicts on synthetic studies whose truth is known."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from analysis.claims.decide import decide as decide_all
from analysis.claims.read import claims_hash, read_claims
from analysis.claims.records import ClaimResult
from analysis.formats import where
from bench.store.reader import StudyData

PAPERS = "include: [sics, asr]\nadjust:\n  P2: {margin: 0.02, reason: 8 of 400 images}\n"
OWN = """\
claims:
  - id: M1
    text: a scorer beats magnitude
    source: ours
    parts:
      - {{id: a, text: it does, estimand: contrast, kind: {kind}, of: [{of}],
         against: magnitude, test: {test}, margin: {margin}, planned_effect: 1.0,
         where: {{granularity: weight, allocation: uniform, correction: none, recalibration: none}}}}
"""


@pytest.fixture
def decide(tmp_path):
    def _decide(data, text=PAPERS, only=("P1", "P2", "C1", "M1")):
        path = tmp_path / "claims.yaml"
        path.write_text(text)
        claims = read_claims(path)
        chosen = dataclasses.replace(claims, claims=tuple(claim for claim in claims.claims if claim.id in only))
        return {result.id: result for result in decide_all(data, chosen)}

    return _decide


def own(kind="superiority", of="taylor", margin=0, test="t"):
    return OWN.format(kind=kind, of=of, margin=margin, test=test)


def changed(data, where, **values):
    rows = data.rows.copy()
    for column, value in values.items():
        rows.loc[where, column] = value
    return dataclasses.replace(data, rows=rows)


def records(result):
    return [record for part in result.parts for record in part.records]


def test_the_true_claims_of_a_sound_study_are_supported(study, decide):
    found = decide(study())
    results = {name: found[name] for name in ("P1", "P2", "C1")}
    assert {name: result.verdict for name, result in results.items()} == dict.fromkeys(results, "supported")
    assert all(result.setting == "transfer" for result in results.values())
    assert {name: result.notes for name, result in results.items()} == {
        "P1": (), "P2": (), "C1": ("2 of 4 settings not testable",),  # the ViT has no BatchNorm
    }  # fmt: skip


def test_settings_that_failed_keep_a_claim_open(study, decide):
    data = study()
    lost = data.rows["scorer"].eq("l2") & data.rows["sparsity"].eq(0.8) & data.rows["model"].eq("cnn")
    result = decide(changed(data, lost, state="failed", accuracy=np.nan))["P2"]
    assert result.verdict == "inconclusive"
    assert any("settings not testable" in note for note in result.notes)


def test_identities_count_every_cell(study, decide):
    record = records(decide(study())["P1"])[0]
    # 5 scorers x 10 seeds x 2 sparsities; the two recalibrations of a cell share its mask
    assert (record.comparisons, record.mismatches, record.n) == (100, 0, 10)


def test_one_different_mask_refutes_the_lemma(study, decide):
    data = study()
    rows = data.rows
    cell = rows["scorer"].eq("rank") & rows["allocation"].eq("uniform") & rows["recalibration"].eq("none")
    first = rows.index[cell][0]
    results = decide(changed(data, first, mask="other"))
    assert (results["P1"].verdict, results["P2"].verdict) == ("refuted", "refuted")
    assert sum(record.mismatches or 0 for record in records(results["P1"])) == 1


def test_tied_units_are_counted_and_excuse_no_mismatch(study, decide):
    data = study()
    rows = data.rows
    same = rows["scorer"].eq("exp_magnitude") & rows["allocation"].eq("uniform")
    first = rows.index[same][0]
    like = same & rows["group"].eq(rows.loc[first, "group"]) & rows["sparsity"].eq(rows.loc[first, "sparsity"])
    like &= rows["granularity"].eq(rows.loc[first, "granularity"])
    result = decide(changed(data, like, mask="other", tied_units=3))["P1"]
    assert result.verdict == "refuted"
    counts = records(result)[0].counts
    assert counts["tied units, left to the tie rule"] == 3
    assert records(result)[0].comparisons == 100


def test_rank_under_global_allocation_is_not_claimed(study, decide):
    data = study()
    ranked = data.rows["scorer"].eq("rank") & data.rows["allocation"].eq("global")
    assert data.rows.loc[ranked, "mask"].nunique() > 0
    assert decide(data)["P1"].verdict == "supported"


def test_a_shared_evaluation_that_changes_an_image_refutes(study, decide):
    data = study()
    checks = data.checks.copy()
    checks.loc[0, "mismatches"] = 1
    assert decide(dataclasses.replace(data, checks=checks))["P1"].verdict == "refuted"


def test_a_halved_batch_is_exempt(study, decide):
    data = study()
    checks = data.checks.copy()
    checks.loc[0, "mismatches"] = 1
    exempt = changed(
        dataclasses.replace(data, checks=checks), data.rows["cell"].eq(checks.loc[0, "cell"]), batch_halved=1
    )
    assert decide(exempt)["P1"].verdict == "supported"


def test_feature_scorers_leave_lemma_and_plateau_as_they_are(study, fused, decide):
    keywords = {"granularities": ("channel",), "allocations": ("uniform",), "seeds": 4}
    plain, more = decide(study(**keywords)), decide(fused(**keywords))
    for name in ("P1", "P2"):
        first, second = (
            [record.model_copy(update={"data_hash": ""}) for record in records(results[name])]
            for results in (plain, more)
        )
        assert first == second
        assert (plain[name].verdict, plain[name].notes) == (more[name].verdict, more[name].notes)


def test_a_claim_on_a_searched_scorer_is_decided_search_by_search(fused, decide):
    data = fused(searches=("equal", "dbo(evaluations=60)"), budget=60, seeds=6)
    text = own(of="v1").replace("granularity: weight", "granularity: channel")
    found = records(decide(data, text)["M1"])
    assert {record.setting["method"] for record in found} == {"v1 + equal", "v1 + dbo (60 evaluations)"}
    assert all(record.verdict == "supported" for record in found)
    effects = {record.setting["method"]: record.effect for record in found}
    assert effects == pytest.approx({"v1 + equal": 0.02, "v1 + dbo (60 evaluations)": 0.05})
    assert "v1 + dbo (60 evaluations), sparsity" in where(found[-1].setting)
    assert found[-1].estimand == "mean accuracy of v1 + dbo (60 evaluations) minus magnitude, paired by model"


def test_without_l2_the_plateau_holds_by_identity_only(study, decide):
    result = decide(study(scorers=("magnitude", "log_magnitude", "sqrt_magnitude", "exp_magnitude", "rank")))["P2"]
    assert result.verdict == "supported"
    assert result.notes == ("by identity only",)


def test_an_l2_far_outside_the_margin_refutes_the_plateau(study, decide):
    data = study()
    low = data.rows["scorer"].eq("l2")
    worse = changed(data, low, accuracy=data.rows.loc[low, "accuracy"] - 0.1)
    result = decide(worse)["P2"]
    assert result.verdict == "refuted"
    refuted = [record for record in records(result) if record.kind == "equivalence"]
    assert all(record.verdict == "refuted" and record.high < -0.02 for record in refuted)


def test_an_l2_at_the_margin_is_inconclusive_and_says_how_many_models_would_decide(study, decide):
    data = study()
    low = data.rows["scorer"].eq("l2")
    rng = np.random.default_rng(1)
    noisy = changed(data, low, accuracy=data.rows.loc[low, "accuracy"] - 0.014 + rng.normal(0, 0.02, low.sum()))
    result = decide(noisy)["P2"]
    open_ones = [record for record in records(result) if record.verdict == "inconclusive"]
    assert result.verdict == "inconclusive"
    assert any(record.models_needed and record.models_needed > 10 for record in open_ones)


def test_the_default_margin_is_half_a_point_or_three_images(study, decide):
    def margin(n_test):
        data = study(n_test=n_test)
        found = decide(data, "include: [sics]")["P2"]
        return {record.margin for record in records(found) if record.kind == "equivalence"}

    assert margin(400) == {0.0075}
    assert margin(10_000) == {0.005}


def test_few_models_are_descriptive_only_but_identities_stand(study, decide):
    results = decide(study(seeds=5))
    assert "descriptive only" in results["P2"].notes
    assert results["P1"].notes == ()


def test_one_model_per_architecture_decides_identities_alone(study, decide):
    results = decide(study(models=("resnet20", "resnet32"), seeds=1))
    assert results["P1"].verdict == "supported"
    (l2,) = (part for part in results["P2"].parts if part.id == "l2")
    assert l2.verdict == "not testable"
    assert all("one model" in record.reason and record.effect is not None for record in l2.records)
    assert results["P2"].notes == ("by identity only",)


def test_cancellation_is_refuted_by_more_than_one_image(study, decide):
    data = study()
    rows = data.rows
    cell = rows["correction"].eq("asr") & rows["recalibration"].eq("cumulative") & rows["state"].eq("done")
    first = rows.index[cell][0]
    one = changed(data, first, accuracy=rows.loc[first, "accuracy"] + 1 / 400)
    two = changed(data, first, accuracy=rows.loc[first, "accuracy"] + 2 / 400)
    assert decide(one)["C1"].verdict == "supported"
    assert decide(two)["C1"].verdict == "refuted"


@pytest.mark.parametrize("outside", [{"identity_covered": False}, {"identity_ratio": 1.06}])
def test_cells_outside_the_identity_are_counted_not_judged(study, decide, outside):
    data = study()
    rows = data.rows
    cell = rows["correction"].eq("asr") & rows["recalibration"].eq("cumulative") & rows["state"].eq("done")
    result = decide(changed(data, cell, accuracy=0.1, **outside))["C1"]
    assert result.verdict == "supported"
    judged = [record for record in records(result) if record.verdict == "supported"]
    assert all(record.counts["outside the identity"] == 20 for record in judged)
    assert all(record.names == ("fc",) for record in judged)


def test_bfloat16_needs_a_float32_check_of_both_cells(study, decide):
    data = study(precision="bfloat16")
    untested = decide(data)["C1"]
    assert untested.verdict == "not testable"
    assert "without a float32 check" in untested.parts[0].reason
    rows = data.rows
    block = rows[
        rows["recalibration"].eq("cumulative") & rows["correction"].isin(["none", "asr"]) & rows["state"].eq("done")
    ]
    block = block[block["allocation"].eq("global") & block["scorer"].eq("magnitude")]
    again = block[["cell", "accuracy"]].assign(kind="float32", mismatches=0)
    checked = dataclasses.replace(data, checks=pd.concat([data.checks, again], ignore_index=True))
    assert decide(checked)["C1"].verdict == "supported"


def test_a_net_without_batchnorm_is_named_not_testable(study, decide):
    found = {r.setting["model"]: r for r in records(decide(study())["C1"])}
    assert found["vit"].verdict == "not testable"
    assert "the model has no BatchNorm" in found["vit"].reason


def test_a_study_without_repairs_cannot_test_the_cancellation(study, decide):
    result = decide(study(repairs=False, recalibrations=("none",)))["C1"]
    assert result.verdict == "not testable"
    assert "recalibration cumulative" in result.notes[0]


def test_failed_cells_stay_in_the_count(study, decide):
    data = study()
    rows = data.rows
    failed = rows["scorer"].eq("l2") & rows["train_seed"].eq(0)
    result = decide(changed(data, failed, state="failed", reason="NaN scores", accuracy=None, checkpoint=None))["P2"]
    found = [record for record in records(result) if record.kind == "equivalence"]
    assert all(record.n == 9 and record.counts == {"failed": 1} for record in found)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (own(), "supported"),
        (own(of="gradient"), "refuted"),
        (own(margin=0.03), "supported"),
        (own(margin=0.08), "refuted"),
        (own(test="sign-flip"), "supported"),
        (own(kind="noninferiority", of="wanda", margin=0.01), "supported"),
        (own(kind="noninferiority", of="gradient", margin=0.01), "refuted"),
    ],
)
def test_contrasts_of_known_sign(study, decide, text, verdict):
    result = decide(study(), text)["M1"]
    assert result.verdict == verdict
    assert all(record.family == "M1" and record.family_size == 4 for record in records(result))
    assert all(0 < record.power < 1 for record in records(result))


def test_interval_and_adjusted_p_give_one_answer(study, decide):
    for record in records(decide(study(noise=0.08), own(margin=0.03))["M1"]):
        assert (record.verdict == "supported") == (record.p_adjusted < record.alpha) == (record.low > record.margin)


@pytest.mark.parametrize("kind", ["superiority", "noninferiority"])
def test_the_interval_of_a_refutation_lies_beyond_its_bound(study, decide, kind):
    found = records(decide(study(noise=0.06), own(kind=kind, of="gradient", margin=0.02))["M1"])
    bound = 0.02 if kind == "superiority" else -0.02
    assert any(record.verdict == "refuted" for record in found)
    for record in found:
        assert (record.verdict == "refuted") == (record.p_against_adjusted < record.alpha)
        assert record.verdict != "refuted" or record.high < bound


def test_sign_flip_says_where_no_p_is_attainable(study, decide):
    result = decide(study(seeds=4), own(test="sign-flip"))["M1"]
    assert result.verdict == "inconclusive"
    assert all("attainable with 4 models" in record.reason for record in records(result))


def test_equal_differences_are_decided_by_value_and_called_degenerate(study, decide):
    data = study()
    rows = data.rows
    base = rows[rows["scorer"].eq("magnitude") & rows["correction"].eq("none")]
    keys = ["group", "granularity", "allocation", "sparsity", "recalibration"]
    taylor = rows["scorer"].eq("taylor")
    matched = rows.loc[taylor, keys].merge(base[[*keys, "accuracy"]], on=keys, how="left")
    result = decide(changed(data, taylor, accuracy=matched["accuracy"].to_numpy() + 0.01), own())["M1"]
    assert result.verdict == "supported"
    assert {record.category for record in records(result)} == {"constant"}
    assert all("degenerate" in record.reason for record in records(result))


def test_two_scorers_that_only_guess_are_not_called_equal(study, decide):
    data = study()
    guessing = data.rows["granularity"].eq("channel") & data.rows["model"].eq("cnn") & data.rows["state"].eq("done")
    known = {**data.meta["provenance"], "datasets": {"digits": {"num_classes": 10}}}
    noise = np.random.default_rng(3).normal(0.1, 0.002, int(guessing.sum()))
    data = dataclasses.replace(changed(data, guessing, accuracy=noise), meta={**data.meta, "provenance": known})
    judged = [r for r in records(decide(data)["P2"]) if r.kind == "equivalence"]
    at_chance = [r for r in judged if r.setting["model"] == "cnn"]
    assert {(r.category, r.verdict) for r in at_chance} == {("chance level", "not testable")}
    assert {r.category for r in judged if r.setting["model"] == "vit"} == {"regular"}


def test_draws_are_averaged_never_counted(study, decide):
    found = records(decide(study(draws=3), own())["M1"])
    assert {record.n for record in found} == {10}


def test_registered_only_with_the_very_same_claims(study, decide, tmp_path):
    data = study()
    path = tmp_path / "claims.yaml"
    path.write_text(PAPERS)
    stored = dataclasses.replace(data, meta={**data.meta, "claims_hash": claims_hash(path)})
    assert all(result.registered for result in decide(stored).values())
    assert not any(result.registered for result in decide(stored, PAPERS.replace("0.02", "0.03")).values())


def test_the_papers_own_setting_is_recognised(study, decide):
    data = study(
        dataset="cifar10",
        models=("vit_small_patch4_32",),
        granularities=("channel",),
        allocations=("uniform",),
    )
    assert decide(data)["P2"].setting == "in the paper's setting"
    assert decide(study())["P2"].setting == "transfer"


def test_order_of_rows_does_not_matter(study, decide):
    data = study()
    mixed = dataclasses.replace(data, rows=data.rows.sample(frac=1, random_state=3).reset_index(drop=True))
    whole = decide(data)
    for name, result in decide(mixed).items():
        plain = whole[name]
        assert result.verdict == plain.verdict
        assert {(r.estimand, str(r.setting), r.p and round(r.p, 12)) for r in records(result)} == {
            (r.estimand, str(r.setting), r.p and round(r.p, 12)) for r in records(plain)
        }


def test_results_survive_json(study, decide):
    for result in decide(study()).values():
        text = json.dumps(result.model_dump(mode="json"), allow_nan=False)
        assert ClaimResult.model_validate_json(text) == result


def test_an_unrun_study_is_not_testable(study, decide):
    data = study()
    rows = data.rows.copy()
    for column in ("state", "mask", "checkpoint", "accuracy", "evaluation", "n_test"):
        rows[column] = np.nan if column == "accuracy" else pd.Series(None, rows.index, rows[column].dtype)
    empty = StudyData(rows, data.checks.iloc[:0], data.dense.iloc[:0], data.meta)
    assert {result.verdict for result in decide(empty).values()} == {"not testable"}
