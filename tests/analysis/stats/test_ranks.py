"""Ranks against a published example, the analysis of variance on ranks, scikit-posthocs and brute force."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import scikit_posthocs
import statsmodels.formula.api as smf
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from statsmodels.stats.anova import anova_lm

from analysis.stats.paired import wilcoxon
from analysis.stats.ranks import cliques, friedman, pairwise_wilcoxon, rank_rows

tables = st.tuples(st.integers(2, 6), st.integers(3, 5)).flatmap(
    lambda shape: arrays(np.int64, shape, elements=st.integers(0, 9))
)

# Demsar (2006), JMLR 7, 1, table 6: AUC of C4.5, C4.5+m, C4.5+cf, C4.5+m+cf on 14 data sets. The last two of
# "voting" are both printed as 0.975 but ranked 2 and 3.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657], [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625], [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975], [0.957, 0.978, 0.946, 0.970],
    ]
)  # fmt: skip


def test_friedman_gives_the_published_numbers():
    found = friedman(DEMSAR)
    assert found.mean_ranks == pytest.approx((3.143, 2.000, 2.893, 1.964), abs=5e-4)
    # The paper leaves the ties uncorrected; the correction divides by 1 - sum(t^3 - t) / (n k (k^2 - 1)).
    ties = sum((c**3 - c).sum() for c in (np.unique(row, return_counts=True)[1] for row in DEMSAR))
    plain = found.chi_square * (1 - ties / (14 * 4 * 15))
    assert plain == pytest.approx(9.28, abs=0.005)
    assert 13 * plain / (14 * 3 - plain) == pytest.approx(3.69, abs=0.005)
    assert (found.n, found.k, found.df, found.df1, found.df2) == (14, 4, 3, 3, 39)


def test_treatments_are_the_columns_and_never_the_blocks():
    # As many blocks as treatments, so that only the numbers can tell. Blocks differ much, treatments not at all
    # in the first table and always alike in the second; whoever passes blocks to SciPy gets the opposite.
    blocks = np.array([[0.1, 0.2, 0.3], [0.5, 0.6, 0.4], [0.9, 0.7, 0.8]])
    assert friedman(blocks).p == 1.0
    assert friedman(blocks).mean_ranks == (2.0, 2.0, 2.0)
    assert stats.friedmanchisquare(*blocks).pvalue == pytest.approx(np.exp(-3))  # the mistake: it "finds" them
    found = friedman(blocks.T)
    assert found.p == pytest.approx(np.exp(-3))
    assert found.mean_ranks == (3.0, 2.0, 1.0)


@settings(max_examples=40)
@given(tables)
def test_f_is_that_of_the_analysis_of_variance_on_ranks(table):
    found = friedman(table)
    assume(found.category == "regular" and math.isfinite(found.f))
    ranks = pd.DataFrame(rank_rows(table)).stack().rename("rank").rename_axis(["block", "treatment"]).reset_index()
    # every block has the same mean rank, so its term takes degrees of freedom and no variance
    theirs = anova_lm(smf.ols("rank ~ C(treatment) + C(block)", ranks).fit())
    assert found.f == pytest.approx(theirs.loc["C(treatment)", "F"], abs=1e-8)
    assert found.p_f == pytest.approx(theirs.loc["C(treatment)", "PR(>F)"], abs=1e-8)
    assert (found.df1, found.df2) == (theirs.loc["C(treatment)", "df"], theirs.loc["Residual", "df"])


@given(tables)
def test_whole_agreement_has_the_chance_of_the_permutations(table):
    agreeing = np.tile(table[0], (2, 1))
    found = friedman(agreeing)
    assume(found.category == "regular")
    same = [
        sorted(order) == sorted(table[0]) and order == tuple(table[0]) for order in itertools.permutations(table[0])
    ]
    assert found.f == math.inf
    assert found.p_f == pytest.approx(sum(same) / len(same))


@given(tables, st.randoms(use_true_random=False))
def test_friedman_ignores_order_and_scale_of_the_blocks(table, random):
    found = friedman(table)
    assume(found.category == "regular")
    rows, columns = list(range(found.n)), list(range(found.k))
    random.shuffle(rows)
    random.shuffle(columns)
    mixed = friedman(np.exp(table / 3)[rows][:, columns] + np.arange(found.n)[:, None])
    assert (mixed.chi_square, mixed.p_f) == pytest.approx((found.chi_square, found.p_f))
    assert mixed.mean_ranks == pytest.approx(tuple(found.mean_ranks[column] for column in columns))
    turned = friedman(-table)
    assert turned.chi_square == pytest.approx(found.chi_square)
    assert turned.mean_ranks == pytest.approx(tuple(found.k + 1 - rank for rank in found.mean_ranks))


def test_iman_davenport_keeps_its_level():
    rng = np.random.default_rng(20260601)
    rejected = sum(friedman(rng.standard_normal((10, 5))).p_f <= 0.05 for _ in range(1000))
    assert stats.binom.ppf(0.005, 1000, 0.05) <= rejected <= stats.binom.ppf(0.995, 1000, 0.05)


@pytest.mark.parametrize(
    ("table", "category"),
    [
        (np.empty((0, 3)), "no data"),
        ([[0.1, 0.2, math.nan]] * 3, "not finite"),
        ([[0.1, 0.2, 0.3]], "one model"),
        ([[0.1, 0.1, 0.1], [0.4, 0.4, 0.4]], "identical"),
    ],
)
def test_degenerate_tables_are_named(table, category):
    found = friedman(table)
    assert found.category == category
    assert math.isnan(found.p)
    assert math.isnan(found.p_f)


def test_two_treatments_and_vectors_are_refused():
    with pytest.raises(ValueError, match="three treatments"):
        friedman([[0.1, 0.2], [0.3, 0.1]])
    with pytest.raises(ValueError, match="shape"):
        friedman([0.1, 0.2, 0.3])


def test_noise_in_the_last_bit_breaks_no_tie():
    assert rank_rows([[0.1 + 0.2, 0.3, 0.4]]).tolist() == [[2.5, 2.5, 1.0]]


@pytest.mark.parametrize("n", [9, 25])
def test_pairs_are_those_of_scikit_posthocs(n):
    table = np.random.default_rng(n).normal(size=(n, 4)) + np.array([0, 0.3, 0.6, 1.2])
    names = list("abcd")
    raw = scikit_posthocs.posthoc_wilcoxon(table.T).to_numpy()
    holm = scikit_posthocs.posthoc_wilcoxon(table.T, p_adjust="holm").to_numpy()
    for pair in pairwise_wilcoxon(table, names).to_dict("records"):
        i, j = names.index(pair["first"]), names.index(pair["second"])
        assert (pair["p"], pair["p_holm"]) == pytest.approx((raw[i, j], holm[i, j]))
        assert pair["difference"] == pytest.approx(table[:, i].mean() - table[:, j].mean())
        assert pair["p"] == wilcoxon(table[:, i] - table[:, j]).p


def test_a_pair_that_no_test_can_compare_still_counts_in_the_family():
    table = np.random.default_rng(1).normal(size=(10, 3))
    table[:, 1] = table[:, 0]
    found = pairwise_wilcoxon(table, ["a", "twin", "b"]).set_index(["first", "second"])
    assert found.loc[("a", "twin"), "category"] == "identical"
    assert math.isnan(found.loc[("a", "twin"), "p_holm"])
    assert found.loc[("a", "b"), "p_holm"] == pytest.approx(min(1, 3 * found.loc[("a", "b"), "p"]))
    assert pairwise_wilcoxon(table[:5], ["a", "twin", "b"])["p"].isna().all()


def test_names_must_fit_the_columns():
    for names in (["a"], ["a", "a"]):
        with pytest.raises(ValueError, match="different names"):
            pairwise_wilcoxon(np.zeros((6, 2)), names)


def frame(p):
    return pd.DataFrame([(*pair, value) for pair, value in p.items()], columns=["first", "second", "p_holm"])


def test_a_group_skips_no_neighbour():
    ranks = pd.Series({"a": 1.0, "b": 2.0, "c": 3.0})
    # a and c do not differ significantly, but b differs from a: a bar from a to c would run over b
    assert cliques(ranks, frame({("a", "b"): 0.01, ("a", "c"): 0.5, ("b", "c"): 0.5})) == [("b", "c")]
    assert cliques(ranks, frame({("a", "b"): 0.5, ("a", "c"): math.nan, ("b", "c"): 0.5})) == [("a", "b", "c")]
    assert cliques(ranks, frame({("a", "b"): 0.01, ("a", "c"): 0.01, ("b", "c"): 0.01})) == []


@given(st.permutations(range(6)), st.sets(st.sampled_from(list(itertools.combinations("abcdef", 2)))))
def test_groups_are_all_longest_runs_without_a_difference(ranks, apart):
    series = pd.Series(np.array(ranks, dtype=float), index=list("abcdef"))
    found = cliques(
        series, frame({pair: 0.001 if pair in apart else 0.9 for pair in itertools.combinations("abcdef", 2)})
    )
    order = tuple(series.sort_values().index)
    runs = [
        order[i:j] for i, j in itertools.combinations(range(7), 2)
        if j - i > 1 and not any(tuple(sorted(pair)) in apart for pair in itertools.combinations(order[i:j], 2))
    ]  # fmt: skip
    assert found == [run for run in runs if not any(set(run) < set(other) for other in runs)]
