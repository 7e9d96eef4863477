"""Scorers across settings: what they have in common, ranks, profiles, the mixed model; values by hand and by SciPy."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import overview
from analysis.evidence import frames
from analysis.evidence.methods import Methods
from analysis.overview import (
    THRESHOLDS,
    family_model,
    interquartile_means,
    profiles,
    ranking,
    widest,
)
from analysis.overview_tables import (
    attainable_sentence,
    families_table,
    mixed_sentence,
    mixed_table,
    pairs_table,
    pictured,
    ranking_sentences,
    rankings_table,
    summary_table,
    variances_table,
)
from bench.store.methods import earlier_methods
from tests.rows_alone import evidence_of

METHODS = Methods(earlier_methods())
#: Scorers with the masks of magnitude.
MONOTONE = ("log_magnitude", "sqrt_magnitude", "square_magnitude", "exp_magnitude", "rank")
SPACE = {"granularities": ("channel",), "allocations": ("uniform",), "recalibrations": ("none",), "repairs": False}
OTHERS = ("random", "gradient", "taylor", "wanda", "l2")


def commons(rows):
    return overview.commons(evidence_of(rows).plain)


@pytest.fixture(scope="module")
def rows(study):
    return study(**SPACE, sparsities=(0.5, 0.7, 0.8)).rows


@pytest.fixture(scope="module")
def found(rows):
    return commons(rows)


def accuracy(rows, model, scorer):
    """Mean accuracy over the sparsities of every trained model, written out."""
    own = rows[rows["model"].eq(model) & rows["scorer"].eq(scorer)]
    return own.groupby("checkpoint")["accuracy"].mean()


def test_each_model_has_a_table_and_all_have_one_together(found):
    assert [one.places for one in found] == [
        (("digits", "cnn"),), (("digits", "vit"),), (("digits", "cnn"), ("digits", "vit")),
    ]  # fmt: skip
    assert [len(one.checkpoints) for one in found] == [10, 10, 20]
    assert widest(found) == [found[2]]
    for one in found:
        assert one.sparsities == (0.5, 0.7, 0.8)
        assert set(one.scorers) == {"magnitude", *OTHERS}
        assert one.same == MONOTONE
        assert (one.left_out, one.excluded) == ((), 0)
        assert one.plateau == "magnitude (+ 5)"
    assert set(found[2].strata) == {"cnn on digits", "vit on digits"}


def test_values_are_those_of_the_rows(rows, found):
    for scorer in ("magnitude", "taylor"):
        own = accuracy(rows, "vit", scorer)
        table = found[1].accuracy[:, found[1].scorers.index(scorer)].mean(axis=1)
        assert table == pytest.approx(own[list(found[1].checkpoints)].to_numpy())


def test_the_order_of_the_rows_changes_no_value(rows, found):
    again = commons(rows.sample(frac=1, random_state=3))
    for one in found:
        (other,) = [other for other in again if set(other.places) == set(one.places)]
        names = dict(zip(ranking(one).mean_ranks.index, ranking(one).mean_ranks, strict=True))
        assert dict(zip(ranking(other).mean_ranks.index, ranking(other).mean_ranks, strict=True)) == names
        assert ranking(other).friedman.f == pytest.approx(ranking(one).friedman.f)


def test_friedmans_blocks_are_models_and_not_their_sparsities(rows, found):
    table = [accuracy(rows, "cnn", scorer).to_numpy() for scorer in found[0].scorers]
    expected = stats.friedmanchisquare(*table)
    result = ranking(found[0]).friedman
    assert (result.n, result.k) == (10, 6)
    assert result.chi_square == pytest.approx(expected.statistic)
    assert result.p == pytest.approx(expected.pvalue)


def test_pairs_are_tested_only_where_one_can_differ(study, found):
    ten = ranking(found[0])
    assert ten.least_p == pytest.approx(2 * 2**-10 * 15)  # 6 scorers are 15 pairs
    assert len(ten.pairs) == 15
    eight = ranking(commons(study(**SPACE, models=("cnn",), seeds=8).rows)[0])
    assert eight.least_p == pytest.approx(2 * 2**-8 * 15)
    assert eight.pairs.empty
    assert eight.groups == ()
    assert "In 1 of 2 rankings the models (8) are too few" in attainable_sentence([ten, eight])
    assert attainable_sentence([ten]) == ""
    assert rankings_table([eight])["Pairs told apart"].tolist() == ["none can be"]
    assert set(pairs_table([ten, eight])["Models ranked over"]) == {"cnn on digits"}
    assert pairs_table([eight]).empty
    assert pictured([eight, ten]) == [ten]
    assert pictured([eight]) == [eight]


def test_best_ranks_are_those_of_the_largest_effects(found):
    one = ranking(found[2])
    order = list(one.mean_ranks.sort_values().index)
    assert order[0] == "taylor"
    assert order[-2:] == ["gradient", "random"]
    (sentence,) = ranking_sentences([one])
    assert sentence.startswith("Granularity channel, allocation uniform: the scorers differ (F = ")
    assert "20 models" in sentence
    assert "descriptive" not in sentence
    table = summary_table([one]).set_index("Scorer")["Stands also for"]
    assert table["magnitude (+ 5)"] == ", ".join(MONOTONE)
    assert set(table.drop("magnitude (+ 5)")) == {"\N{EN DASH}"}


def test_what_a_scorer_lacks_leaves_it_out_and_what_a_model_lacks_leaves_out_the_model(rows):
    lost = rows["scorer"].eq("wanda") & rows["model"].eq("vit")
    first = rows["checkpoint"].eq(rows.loc[rows["model"].eq("cnn"), "checkpoint"].iloc[0])
    undone = first & rows["scorer"].isin(["taylor", "l2"]) & rows["sparsity"].eq(0.8)
    cnn, vit, both = commons(rows[~lost & ~undone])
    assert (cnn.left_out, cnn.excluded, len(cnn.checkpoints)) == ((), 1, 9)
    assert (vit.left_out, vit.excluded, len(vit.checkpoints)) == ((), 0, 10)
    assert "wanda" not in vit.scorers
    assert (both.left_out, both.excluded, len(both.checkpoints)) == (("wanda",), 1, 19)
    table = rankings_table([ranking(both)])
    assert table["Without"].tolist() == ["wanda"]
    assert table["Remark"].tolist() == ["1 unfinished models left out"]


def test_sparsities_that_a_model_lacks_are_no_part_of_the_common_grid(rows):
    short = rows["model"].eq("vit") & rows["sparsity"].eq(0.8)
    _, vit, both = commons(rows[~short])
    assert vit.sparsities == both.sparsities == (0.5, 0.7)


def test_two_scorers_are_no_ranking_and_no_sparsity_is_no_table(rows, study):
    assert commons(rows[rows["scorer"].isin(["magnitude", "taylor", "dense"])]) == []
    assert commons(rows[rows["scorer"].eq("dense")]) == []
    assert commons(study(**SPACE).rows.assign(sparsity=np.nan)) == []


def test_repaired_and_searched_cells_are_left_out(fused):
    data = fused(recalibrations=("none", "cumulative"))
    names = {name for one in commons(data.rows) for name in one.scorers}
    assert not names & {"v1", "a5"}
    plain = data.rows[data.rows["recalibration"].eq("none")]
    for one, other in zip(commons(data.rows), commons(plain), strict=True):
        assert one.accuracy == pytest.approx(other.accuracy)


def test_a_profile_is_a_share_of_runs_counted_out(found):
    one = found[2]
    table = profiles(one)
    kept = one.kept(one.scorers.index("taylor"))
    assert kept.shape == (20, 3)
    own = table[table["scorer"].eq("taylor")]
    assert own["share"].to_numpy() == pytest.approx([(kept > threshold).mean() for threshold in THRESHOLDS])
    assert own["low"].le(own["share"] + 1e-12).all()
    assert own["high"].ge(own["share"] - 1e-12).all()
    mean = interquartile_means(one)["taylor"]
    assert mean.iqm == pytest.approx(stats.trim_mean(kept.ravel(), 0.25))
    assert set(summary_table([ranking(one)])["Scorer"]) == set(one.names)


def test_family_means_are_those_of_their_scorers(rows, found):
    fitted = family_model(found[2], METHODS, repetitions=9)
    assert fitted.members == {
        "gradients": ("gradient", "taylor"), "inputs": ("wanda",), "weights alone": ("l2",),
    }  # fmt: skip
    escape = frames.escape(frames.unrepaired(rows))
    for family, members in fitted.members.items():
        plain = escape.loc[escape["scorer"].isin(members), "difference"].mean()
        assert fitted.means[family].estimate == pytest.approx(plain, abs=1e-9)
    assert fitted.fit.architecture_term == "fixed"
    assert fitted.fit.models == 20
    tests = {test.term: test for test in fitted.fit.tests}
    assert set(tests) == {"overall", "sparsity", "family", "sparsity:family"}
    assert tests["family"].p == 0.1  # the least of 9 samples: the families differ
    assert families_table([fitted])["Scorers"].tolist() == ["gradient, taylor", "wanda", "l2"]
    assert mixed_table([fitted])["p, bootstrap"].str.len().gt(1).all()
    assert "9 samples, so none is under 0.10" in mixed_sentence([fitted])
    assert set(variances_table([fitted])["Random term"]) == {
        "model", "model:sparsity", "model:family", "residual", "model:sparsity:family",
    }  # fmt: skip


def test_one_model_per_architecture_is_not_fitted(study):
    data = study(**SPACE, seeds=1, models=("a", "b", "c"))
    (one,) = widest(commons(data.rows))
    fitted = family_model(one, METHODS)
    assert fitted.fit.category == "one model per architecture"
    assert fitted.means == {}
    assert mixed_sentence([fitted]) == "The mixed model of scorer families was not fitted: one model per architecture."
    assert mixed_table([fitted])["Remark"].tolist() == ["one model per architecture: not fitted"]
    assert interquartile_means(one)["taylor"].category == "one model"


def test_a_family_needs_another_one_and_the_plateau(rows, found):
    alone = commons(rows[rows["scorer"].isin(["magnitude", "taylor", "gradient", "random"])])
    assert family_model(alone[0], METHODS) is None
    assert family_model(dataclasses.replace(found[0], scorers=("x", *found[0].scorers[1:])), METHODS) is None


def test_a_scorer_of_the_users_own_is_of_no_known_family(rows):
    renamed = rows.assign(scorer=rows["scorer"].replace({"wanda": "mine(power=2)"}), method=rows["scorer"])
    fitted = family_model(commons(renamed)[0], METHODS, repetitions=9)
    assert fitted.members["other"] == ("mine(power=2)",)
    assert "other" not in {record.family for record in METHODS.of_kind("scorer")}


def test_a_few_models_are_descriptive_only(study):
    one = ranking(commons(study(**SPACE, models=("cnn",), seeds=4).rows)[0])
    assert rankings_table([one])["Remark"].tolist() == ["descriptive only"]
    assert ranking_sentences([one])[0].endswith("descriptive only.")
    alone = ranking(commons(study(**SPACE, models=("cnn",), seeds=1).rows)[0])
    assert ranking_sentences([alone]) == ["Granularity channel, allocation uniform: not tested (one model)."]


def test_draws_of_one_model_are_averaged(study):
    data = study(**SPACE, models=("cnn",), seeds=3, draws=2)
    (one,) = commons(data.rows)
    assert len(one.checkpoints) == 3
    own = data.rows[data.rows["scorer"].eq("wanda") & data.rows["checkpoint"].eq(one.checkpoints[0])]
    mean = own.groupby("sparsity")["accuracy"].mean()
    assert one.accuracy[0, one.scorers.index("wanda")] == pytest.approx(mean.to_numpy())
    assert isinstance(profiles(one), pd.DataFrame)
