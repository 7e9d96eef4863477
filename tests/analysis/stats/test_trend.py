"""Page's test against a published example and brute force; isotonic fits against SciPy."""

import itertools
import math
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import optimize, stats

from analysis.stats.trend import isotonic, page

#: Two or three blocks of three or four treatments, few enough to write all orders out.
small = st.tuples(st.integers(2, 3), st.integers(3, 4))


#: Tables full of ties.
tied_tables = small.flatmap(lambda shape: arrays(np.int64, shape, elements=st.integers(0, 3)))


def by_hand(table):
    """Share of all orders of the ranks within blocks, ties and all, whose L is at least the observed one."""
    ranks = stats.rankdata(table, axis=1)
    place = np.arange(1, ranks.shape[1] + 1)
    own = [[place @ np.array(order) for order in itertools.permutations(row)] for row in ranks]
    observed = (place * ranks).sum()
    return np.mean([sum(parts) >= observed - 1e-9 for parts in itertools.product(*own)])


def table_with(statistic, n, k):
    """A table of n blocks of k untied ranks with this L: as many blocks as possible in full order."""
    sums = {np.arange(1, k + 1) @ np.array(order): order for order in itertools.permutations(range(1, k + 1))}
    rows = []
    for left in range(n - 1, -1, -1):
        own = max(value for value in sums if value + left * min(sums) <= statistic)
        rows.append(sums[own])
        statistic -= own
    return np.array(rows)


@pytest.mark.parametrize(
    ("n", "k", "critical"),
    [(10, 3, (128, 131, 134)), (20, 3, (251, 256, 260)), (6, 4, (163, 167, 172)), (5, 5, (244, 251, 259))],
)
def test_critical_values_are_pages(n, k, critical):
    # Page (1963), table 2: the least L that is significant at 5, 1 and 0.1 %, one-sided
    for value, alpha in zip(critical, (0.05, 0.01, 0.001), strict=True):
        reached, below = page(table_with(value, n, k)), page(table_with(value - 1, n, k))
        assert reached.statistic == value
        assert reached.p <= alpha < below.p


def test_page_on_tied_ranks_where_published_numbers_are_of_untied_ones():
    # Statext's example, ten students and three ways of teaching: p = 0.0018191 there and in SciPy, as if without ties.
    table = [
        [3, 4, 3],
        [2, 2, 4],
        [3, 3, 5],
        [1, 3, 2],
        [2, 3, 2],
        [2, 4, 5],
        [1, 2, 4],
        [3, 4, 4],
        [2, 4, 5],
        [1, 3, 4],
    ]
    found = page(table)
    assert stats.page_trend_test(table, method="exact").pvalue == pytest.approx(0.0018191, abs=1e-7)
    # all 3 ^ 5 x 6 ^ 5 sums of five blocks with a tie and five without, counted
    sums = Counter({0.0: 1})
    for ranks in stats.rankdata(table, axis=1):
        own = [np.arange(1, 4) @ np.array(order) for order in set(itertools.permutations(ranks))]
        sums = sum((Counter({total + part: count for total, count in sums.items()}) for part in own), Counter())
    assert sum(sums.values()) == 3**5 * 6**5
    reached = sum(count for total, count in sums.items() if total >= 133.5)
    assert (found.statistic, found.p) == (133.5, pytest.approx(reached / (3**5 * 6**5)))
    assert (found.exact, found.n, found.k, found.category) == (True, 10, 3, "regular")


def test_a_case_by_hand():
    # Two blocks in full order: L = 2 (1 + 4 + 9) = 28, the largest; one of 6 x 6 orders gives it.
    found = page([[1, 2, 3], [4, 6, 8]])
    assert (found.statistic, found.p, found.p_against) == (28.0, pytest.approx(1 / 36), 1.0)


def test_a_half_rank_counts_as_it_is():
    # The lowest of ranks 1, 2.5, 2.5 may come first, second or third: 13.5, 12 or 10.5 for each block. Of the nine
    # sums three reach 12 + 13.5.
    found = page([[2, 0, 2], [2, 3, 3]])
    assert (found.statistic, found.p, found.p_against) == (25.5, pytest.approx(3 / 9), pytest.approx(8 / 9))


@given(
    st.tuples(st.integers(2, 12), st.integers(3, 6)).flatmap(
        lambda s: st.lists(st.permutations(range(s[1])), min_size=s[0], max_size=s[0])
    )
)
def test_without_ties_it_is_scipys(rows):
    table = np.array(rows)
    found = page(table)
    rising, falling = (stats.page_trend_test(signed, method="exact") for signed in (table, -table))
    assert found.statistic == rising.statistic
    assert (found.p, found.p_against) == pytest.approx((rising.pvalue, falling.pvalue), rel=1e-9)


@given(
    st.one_of(
        tied_tables, small.flatmap(lambda s: st.lists(st.permutations(range(s[1])), min_size=s[0], max_size=s[0]))
    )
)
def test_every_order_of_the_ranks_is_counted(rows):
    table = np.array(rows)
    found = page(table)
    assume(found.category == "regular")
    assert (found.p, found.p_against) == pytest.approx((by_hand(table), by_hand(-table)))


@given(tied_tables)
def test_a_block_without_any_order_changes_nothing(table):
    found, more = page(table), page(np.vstack([table, np.full(table.shape[1], 7)]))
    assume(found.category == "regular")
    assert (more.p, more.p_against) == pytest.approx((found.p, found.p_against))


@given(
    small.flatmap(lambda shape: arrays(np.int64, shape, elements=st.integers(0, 9))), st.randoms(use_true_random=False)
)
def test_order_and_level_of_the_blocks_do_not_matter_and_the_mirror_image_swaps(table, random):
    found = page(table)
    rows = list(range(found.n))
    random.shuffle(rows)
    mixed = page(np.exp(table / 3)[rows] + np.arange(found.n)[:, None])
    assert (mixed.statistic, mixed.p, mixed.p_against) == pytest.approx(
        (found.statistic, found.p, found.p_against), nan_ok=True
    )
    for mirrored in (page(table[:, ::-1]), page(-table), page(table, "decreasing")):
        assert (mirrored.p, mirrored.p_against) == pytest.approx((found.p_against, found.p), nan_ok=True)


@pytest.mark.parametrize("digits", [0, 6])  # with ties in nearly every block, and without any
def test_beyond_the_exact_sizes_the_approximation_is_near(digits):
    table = (np.random.default_rng(3).normal(size=(100, 8)) + np.linspace(0, 0.2, 8)).round(digits)
    more = np.vstack([table, table[:1]])
    exact, approximate = page(table), page(more)
    assert (exact.exact, approximate.exact, page(np.tile(table, 2)).exact) == (True, False, False)
    ranks = stats.rankdata(more, axis=1)
    # the variance of a sum over one order, block by block, from all orders of the places
    places = np.array(list(itertools.permutations(range(1, 9))))
    variance = sum((places @ own).var() for own in ranks)
    z = (approximate.statistic - 101 * 8 * 81 / 4) / variance**0.5
    assert (approximate.p, approximate.p_against) == pytest.approx((stats.norm.sf(z), stats.norm.cdf(z)), rel=1e-9)
    assert approximate.p == pytest.approx(exact.p, rel=0.3)  # one block more
    if digits == 6:
        assert approximate.p == pytest.approx(stats.page_trend_test(more, method="asymptotic").pvalue)


def test_twenty_blocks_of_six_take_no_time():
    table = np.random.default_rng(4).integers(0, 400, (20, 6))
    page(table)
    start = time.perf_counter()
    for _ in range(20):
        page(table)
    assert time.perf_counter() - start < 20 * 0.02


@pytest.mark.parametrize("levels", [3, 30])
def test_page_keeps_its_level(levels):
    rng = np.random.default_rng(20260607)
    rejected = sum(page(rng.integers(0, levels, (10, 5))).p <= 0.05 for _ in range(1500))
    assert rejected <= stats.binom.ppf(0.995, 1500, 0.05)


@pytest.mark.parametrize(
    ("table", "category"),
    [
        (np.empty((0, 3)), "no data"),
        ([[0.1, 0.2, math.nan]] * 2, "not finite"),
        ([[0.1, 0.2, 0.3]], "one model"),
        ([[0.1, 0.1, 0.1 + 1e-15], [0.4, 0.4, 0.4]], "identical"),
        ([[0.1, 0.1, 0.1], [0.1, 0.1, 0.1]], "identical"),
    ],
)
def test_degenerate_tables_are_named(table, category):
    found = page(table)
    assert found.category == category
    assert math.isnan(found.p)
    assert math.isnan(found.p_against)


def test_two_treatments_have_no_trend():
    with pytest.raises(ValueError, match="three ordered"):
        page([[0.1, 0.2], [0.3, 0.4]])


values = st.lists(st.integers(-50, 50), min_size=1, max_size=12).map(lambda v: np.array(v) / 10)


@given(values)
def test_isotonic_is_scipys(y):
    assert isotonic(np.arange(len(y)), y) == pytest.approx(optimize.isotonic_regression(y).x)


@given(values, st.randoms(use_true_random=False))
def test_isotonic_rises_keeps_the_mean_and_ignores_the_order_of_points(y, random):
    x = np.arange(len(y)) // 2  # pairs of points share their x
    fitted = isotonic(x, y)
    assert (np.diff(fitted) >= -1e-9).all()
    assert fitted[x == 0] == pytest.approx(np.full((x == 0).sum(), fitted[0]))
    assert fitted.mean() == pytest.approx(y.mean())
    assert isotonic(x, fitted) == pytest.approx(fitted)
    order = list(range(len(y)))
    random.shuffle(order)
    assert isotonic(x[order], y[order]) == pytest.approx(fitted[order])
