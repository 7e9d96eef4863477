"""Page's test against a published example and brute force; isotonic fits against SciPy."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import optimize, stats

from analysis.stats.trend import isotonic, page

#: Two or three blocks of three or four treatments, few enough to write all orders out.
small = st.tuples(st.integers(2, 3), st.integers(3, 4))


def by_hand(table):
    """Share of all orders of the ranks within blocks whose L is at least the observed one."""
    ranks = stats.rankdata(table, axis=1)
    place = np.arange(1, ranks.shape[1] + 1)
    own = [[place @ np.array(order) for order in itertools.permutations(row)] for row in ranks]
    observed = (place * ranks).sum()
    return np.mean([sum(parts) >= observed - 1e-9 for parts in itertools.product(*own)])


def test_page_gives_the_published_numbers():
    # Statext's example, ten students and three ways of teaching, ties included.
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
    assert found.statistic == 133.5
    assert found.p == pytest.approx(0.0018191, abs=1e-7)
    assert (found.exact, found.n, found.k, found.category) == (True, 10, 3, "regular")


def test_a_case_by_hand():
    # Two blocks in full order: L = 2 (1 + 4 + 9) = 28, the largest; one of 6 x 6 orders gives it.
    found = page([[1, 2, 3], [4, 6, 8]])
    assert (found.statistic, found.p, found.p_against) == (28.0, pytest.approx(1 / 36), 1.0)


@given(small.flatmap(lambda s: st.lists(st.permutations(range(s[1])), min_size=s[0], max_size=s[0])))
def test_without_ties_every_order_is_counted(rows):
    table = np.array(rows)
    found = page(table)
    assert found.p == pytest.approx(by_hand(table))
    assert found.p_against == pytest.approx(by_hand(-table))


@given(small.flatmap(lambda shape: arrays(np.int64, shape, elements=st.integers(0, 3))))
def test_with_ties_the_p_value_of_a_trend_is_no_smaller_than_the_exact_one(table):
    found = page(table)
    assume(found.category == "regular")
    exact = by_hand(table)
    if exact <= 0.1:  # where it matters: ties pull L towards its mean, so the far tail is what untied ranks overstate
        assert found.p >= exact - 1e-9


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


def test_beyond_the_exact_range_the_approximation_is_near():
    table = np.random.default_rng(3).normal(size=(20, 8)) + np.linspace(0, 0.5, 8)
    exact, more = page(table), page(np.vstack([table, table[:1]]))
    assert (exact.exact, more.exact) == (True, False)
    assert exact.p == pytest.approx(stats.page_trend_test(table, method="asymptotic").pvalue, rel=0.1)
    assert more.p == stats.page_trend_test(np.vstack([table, table[:1]]), method="asymptotic").pvalue


def test_page_keeps_its_level():
    rng = np.random.default_rng(20260607)
    rejected = sum(page(rng.integers(0, 30, (10, 5))).p <= 0.05 for _ in range(1500))
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
