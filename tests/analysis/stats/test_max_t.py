"""Max-T against brute force, the sign-flip test of one column, and simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from analysis.stats.max_t import max_t
from analysis.stats.paired import sign_flip

ALTERNATIVES = ["greater", "less", "two-sided"]
alternatives = st.sampled_from(ALTERNATIVES)


def tables(rows, columns):
    shapes = st.tuples(rows, columns)
    return shapes.flatmap(lambda shape: arrays(np.int64, shape, elements=st.integers(-20, 20)))


def by_hand(table, alternative):
    """Write every pattern out, with the t statistic as it is defined."""
    turn = {"greater": lambda t: t, "less": lambda t: -t, "two-sided": abs}[alternative]

    def t(sample):
        spread = math.sqrt(sum((x - sample.mean()) ** 2 for x in sample) / (len(sample) - 1))
        if spread < 1e-12:  # a pattern may make a column constant: its t is infinite
            return math.copysign(math.inf, sample.mean())
        return sample.mean() / spread * math.sqrt(len(sample))

    observed = [turn(t(column)) for column in table.T]
    patterns = list(itertools.product((1, -1), repeat=len(table)))
    largest = [max(turn(t(column)) for column in (np.array(signs)[:, None] * table).T) for signs in patterns]
    return [sum(m >= own - 1e-9 for m in largest) / len(patterns) for own in observed]


@given(tables(st.integers(3, 5), st.integers(1, 3)), alternatives)
def test_every_pattern_is_counted(table, alternative):
    found = max_t(table, alternative)
    assume(set(found.categories) == {"regular"})
    assert found.p_adjusted == pytest.approx(by_hand(table.astype(float), alternative))
    assert found.p == min(found.p_adjusted)
    assert found.repetitions is None
    assert found.statistics == pytest.approx(stats.ttest_1samp(table, 0).statistic)


def test_a_case_by_hand():
    # t = 9.80 in the first column, which only the observed pattern gives; the largest t that any pattern gives
    # the others is that of (1, 2, 1, 2), 5.20. The third column is least wherever the signs turn: p = 1.
    found = max_t([[3.0, 1.0, -1.0], [4.0, 2.0, -2.0], [5.0, -1.0, -1.0], [4.0, -2.0, -2.0]])
    assert found.p_adjusted[0] == found.p == 1 / 16
    assert found.p_adjusted[2] == 1.0
    assert found.statistics == pytest.approx((9.798, 0.0, -5.196), abs=5e-4)
    assert (found.n, found.k, found.least_p) == (4, 3, 1 / 16)


@given(tables(st.integers(2, 9), st.just(1)), alternatives)
def test_one_column_is_the_sign_flip_test(table, alternative):
    found = max_t(table, alternative)
    assume(found.category == "regular")
    # with its sum of squares fixed, t increases in the sum, so both order the patterns alike
    assert found.p == pytest.approx(sign_flip(table[:, 0], alternative=alternative).p)


@given(tables(st.integers(3, 8), st.integers(2, 4)), alternatives, st.randoms(use_true_random=False))
def test_order_scale_and_orientation_do_not_matter(table, alternative, random):
    found = max_t(table, alternative)
    assume(found.category == "regular")
    rows, columns = list(range(found.n)), list(range(found.k))
    random.shuffle(rows)
    random.shuffle(columns)
    mixed = max_t(table[rows][:, columns] * np.arange(1, found.k + 1), alternative)
    expected = [found.p_adjusted[column] for column in columns]
    assert mixed.p_adjusted == pytest.approx(expected, nan_ok=True)
    assert mixed.p == pytest.approx(found.p)
    mirror = {"greater": "less", "less": "greater", "two-sided": "two-sided"}[alternative]
    assert max_t(-table, mirror).p_adjusted == pytest.approx(found.p_adjusted, nan_ok=True)


@given(tables(st.integers(3, 8), st.integers(2, 4)), alternatives)
def test_another_column_never_makes_it_easier(table, alternative):
    all_columns, fewer = max_t(table, alternative), max_t(table[:, :-1], alternative)
    assume(all_columns.category == fewer.category == "regular")
    for more, less in zip(all_columns.p_adjusted, fewer.p_adjusted, strict=False):
        assert math.isnan(more) or more >= less


def test_under_the_null_the_best_of_many_is_rarely_found():
    rng = np.random.default_rng(20260602)
    common = rng.standard_normal((1500, 8, 1))  # hypotheses of one model depend on each other
    found = [max_t(draw).p for draw in 0.7 * common + rng.laplace(size=(1500, 8, 5))]
    assert sum(p <= 0.05 for p in found) <= stats.binom.ppf(0.995, 1500, 0.05)
    assert sum(p <= 0.05 for p in found) >= stats.binom.ppf(0.005, 1500, 12 / 256)  # 12 / 256 is attainable


def test_a_true_effect_beside_them_leaves_the_others_protected():
    rng = np.random.default_rng(20260603)
    draws = rng.standard_normal((1500, 8, 4)) + np.array([3.0, 0, 0, 0])
    found = np.array([max_t(draw).p_adjusted for draw in draws])
    assert (found[:, 0] <= 0.05).mean() > 0.95
    assert (found[:, 1:].min(axis=1) <= 0.05).sum() <= stats.binom.ppf(0.995, 1500, 0.05)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_three_models_cannot_reach_five_percent(alternative):
    found = max_t([[1.0, 2.0], [1.1, 2.2], [0.9, 2.1]], alternative)
    assert found.least_p == (0.25 if alternative == "two-sided" else 0.125)
    assert found.p == (1.0 if alternative == "less" else found.least_p)


def test_a_constant_column_is_named_and_never_wins():
    rng = np.random.default_rng(4)
    table = np.column_stack([np.full(8, 0.5), np.zeros(8), rng.normal(size=8)])
    found = max_t(table)
    assert found.categories == ("constant", "identical", "regular")
    assert np.isnan(found.statistics[:2] + found.p_adjusted[:2]).all()
    assert found.p == found.p_adjusted[2] == max_t(table[:, 2:]).p


@pytest.mark.parametrize(
    ("table", "category"),
    [
        (np.empty((0, 2)), "no data"),
        (np.empty((4, 0)), "no data"),
        ([[0.1, 0.2], [0.3, math.nan], [0.1, 0.4]], "not finite"),
        ([[0.1, 0.2]], "one model"),
        (np.zeros((4, 2)), "identical"),
        ([[0.1, 0.0], [0.1, 0.0]], "constant"),
    ],
)
def test_degenerate_tables_are_named_and_models_with_gaps_refused(table, category):
    found = max_t(table)
    assert found.category == category
    assert math.isnan(found.p)
    assert np.isnan(found.p_adjusted).all()


def test_drawn_patterns_agree_with_all_of_them_and_never_give_zero():
    table = np.random.default_rng(6).normal(0.25, 1, (14, 6))
    exact, drawn = max_t(table), max_t(table, repetitions=16_000)
    assert (exact.repetitions, drawn.repetitions) == (None, 16_000)
    assert drawn.p_adjusted == pytest.approx(exact.p_adjusted, abs=0.015)
    assert max_t(table, repetitions=16_000, seed=1).p_adjusted != drawn.p_adjusted
    certain = max_t(np.random.default_rng(7).normal(9, 1, (30, 3)))
    assert certain.p == certain.least_p == 1 / 20_001
