"""Several methods on the same blocks by their ranks: Friedman, pairwise Wilcoxon-Holm, groups not told apart."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from analysis.stats.correction import adjust
from analysis.stats.degenerate import Category, as_table, classify_table
from analysis.stats.paired import wilcoxon


@dataclass(frozen=True)
class Friedman:
    """Result of Friedman's test; numbers are NaN where the category allows none.

    Attributes
    ----------
    chi_square, df, p : float
        Friedman's statistic, corrected for ties, with its chi-square p-value.
    f, df1, df2, p_f : float
        Iman and Davenport's statistic, which decides: the chi-square p-value is too large where the blocks are few.
    mean_ranks : tuple of float
        One per treatment; 1 = best, ties share their mean rank.
    n, k : int
        Blocks and treatments.
    category : str
        See `analysis.stats.degenerate.classify_table`; ``identical`` where every block ties all treatments.
    """

    chi_square: float
    df: float
    p: float
    f: float
    df1: float
    df2: float
    p_f: float
    mean_ranks: tuple[float, ...]
    n: int
    k: int
    category: Category


def friedman(table: ArrayLike) -> Friedman:
    """Friedman's test that all treatments are alike, with Iman and Davenport's F.

    Sources: Friedman (1937), JASA 32, 675 (`scipy.stats.friedmanchisquare`); Iman and Davenport (1980), Commun.
    Stat. A 9, 571: ``F = (n - 1) chi2 / (n (k - 1) - chi2)`` with k - 1 and (k - 1)(n - 1) degrees of freedom.
    Where all blocks agree wholly, F is infinite and `p_f` is that of the permutation test, the chance that they
    would (Conover 1999, Practical Nonparametric Statistics, section 5.8).

    Parameters
    ----------
    table : array_like, shape (n, k)
        Blocks (models or settings) x treatments (methods); higher = better. Values are compared to 12 decimals.

    Raises
    ------
    ValueError
        With fewer than three treatments: two are compared by `analysis.stats.paired`.

    Examples
    --------
    >>> r = friedman([[0.9, 0.8, 0.7], [0.9, 0.7, 0.8], [0.8, 0.7, 0.6], [0.9, 0.5, 0.4]])
    >>> [round(rank, 2) for rank in r.mean_ranks], round(r.chi_square, 2), round(r.f, 2), round(r.p_f, 4)
    ([1.0, 2.25, 2.75], 6.5, 13.0, 0.0066)
    """
    values = as_table(table)
    n, k = values.shape
    category = classify_table(values)
    nan = math.nan
    if category in ("no data", "not finite"):
        return Friedman(nan, nan, nan, nan, nan, nan, nan, (nan,) * k, n, k, category)
    if k < 3:
        raise ValueError(f"Friedman's test needs three treatments or more, got {k}")
    ranks = rank_rows(values)
    mean_ranks = tuple(ranks.mean(axis=0).tolist())
    if category != "one model" and (np.ptp(ranks, axis=1) == 0).all():
        category = "identical"
    if category != "regular":
        return Friedman(nan, nan, nan, nan, nan, nan, nan, mean_ranks, n, k, category)
    # SciPy takes one argument per treatment, i.e. per column; and 1 = best changes no statistic
    result = stats.friedmanchisquare(*ranks.T)
    chi_square, df1, df2 = float(result.statistic), k - 1.0, (k - 1.0) * (n - 1.0)
    if (ranks == ranks[0]).all():
        ties = np.unique(ranks[0], return_counts=True)[1]
        orders = math.factorial(k) / math.prod(math.factorial(int(tie)) for tie in ties)
        f, p_f = math.inf, orders ** (1.0 - n)
    else:
        f = (n - 1) * chi_square / (n * (k - 1) - chi_square)
        p_f = float(stats.f.sf(f, df1, df2))
    return Friedman(chi_square, df1, float(result.pvalue), f, df1, df2, p_f, mean_ranks, n, k, category)


def rank_rows(table: ArrayLike) -> NDArray[np.float64]:
    """Rank the treatments within each block: 1 = highest value, ties share their mean rank.

    Parameters
    ----------
    table : array_like, shape (n, k)
        Finite values. Values equal to 12 decimals tie: noise in the last bit must not break a tie.

    Examples
    --------
    >>> rank_rows([[0.7, 0.9, 0.7], [0.1 + 0.2, 0.3, 0.0]]).tolist()
    [[2.5, 1.0, 2.5], [1.5, 1.5, 3.0]]
    """
    return np.asarray(stats.rankdata(-as_table(table).round(12), axis=1), dtype=np.float64)


def pairwise_wilcoxon(table: ArrayLike, names: Sequence[str]) -> pd.DataFrame:
    """Wilcoxon's signed-rank test of every pair of treatments, Holm-adjusted over all pairs.

    Not by `scikit_posthocs.posthoc_wilcoxon`, which equals it but approximates where differences tie, and has no
    name for pairs that no test can compare; `analysis.stats.paired.wilcoxon` counts exactly up to 20 blocks.

    Parameters
    ----------
    table : array_like, shape (n, k)
        Blocks x treatments.
    names : sequence of str
        One per treatment.

    Returns
    -------
    DataFrame
        One row per pair: ``first``, ``second``, ``difference`` (mean of first minus second), ``p`` (two-sided),
        ``p_holm``, ``category``. NaN p-values (fewer than 6 blocks, or no variance) still count in the family.

    Raises
    ------
    ValueError
        If `names` and columns differ in number, or a name stands twice.

    Examples
    --------
    >>> table = [[0.9, 0.8], [0.8, 0.6], [0.7, 0.4], [0.9, 0.5], [0.8, 0.3], [0.9, 0.3]]
    >>> pairwise_wilcoxon(table, ["a", "b"]).round(3).to_dict("records")[0]
    {'first': 'a', 'second': 'b', 'difference': 0.35, 'p': 0.031, 'p_holm': 0.031, 'category': 'regular'}
    """
    values = as_table(table)
    if len(names) != values.shape[1] or len(set(names)) != len(names):
        raise ValueError(f"expected {values.shape[1]} different names, one per treatment, got {list(names)}")
    pairs = list(itertools.combinations(range(len(names)), 2))
    differences = [values[:, i] - values[:, j] for i, j in pairs]
    tests = [wilcoxon(difference) for difference in differences]
    p = np.array([test.p for test in tests], dtype=np.float64)
    return pd.DataFrame(
        {
            "first": [names[i] for i, _ in pairs],
            "second": [names[j] for _, j in pairs],
            "difference": [float(difference.mean()) if difference.size else math.nan for difference in differences],
            "p": p,
            "p_holm": adjust(p, "holm"),
            "category": [test.category for test in tests],
        }
    )


def cliques(mean_ranks: pd.Series, pairs: pd.DataFrame, alpha: float = 0.05) -> list[tuple[str, ...]]:
    """Return groups of neighbours in rank that are not told apart: the bars of a critical-difference picture.

    A group is a longest run of treatments, in the order of their mean ranks, no pair of which differs. Not the
    cliques of the graph of undecided pairs, as `scikit_posthocs` draws them: Wilcoxon's test does not look at
    mean ranks, so such a clique may skip a treatment, over which its bar would then run all the same.

    Parameters
    ----------
    mean_ranks : Series
        Name -> mean rank.
    pairs : DataFrame
        ``first``, ``second``, ``p_holm`` as `pairwise_wilcoxon` gives them; NaN tells nothing apart.
    alpha : float
        Level of the family.

    Returns
    -------
    list of tuple of str
        Groups of two or more, best first; they may overlap.

    Examples
    --------
    >>> ranks = pd.Series({"c": 3.0, "a": 1.2, "b": 1.8})
    >>> pairs = pd.DataFrame({"first": ["a", "a", "b"], "second": ["b", "c", "c"], "p_holm": [0.4, 0.01, 0.2]})
    >>> cliques(ranks, pairs)
    [('a', 'b'), ('b', 'c')]
    """
    order = [str(name) for name in mean_ranks.sort_values(kind="stable").index]
    differing = pairs[pairs["p_holm"] <= alpha]
    apart = {frozenset(pair) for pair in zip(differing["first"], differing["second"], strict=True)}
    groups: list[tuple[str, ...]] = []
    reached = 0
    for start in range(len(order)):
        stop = start + 1
        while stop < len(order) and not any({name, order[stop]} in apart for name in order[start:stop]):
            stop += 1
        if stop > reached and stop - start > 1:
            groups.append(tuple(order[start:stop]))
        reached = max(reached, stop)
    return groups
