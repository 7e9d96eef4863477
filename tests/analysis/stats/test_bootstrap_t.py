"""The bootstrap-t against a published interval, enumeration and its own invariances."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.stats.bootstrap_t import bootstrap_t
from analysis.stats.degenerate import classify

#: Survival times of the control mice of Efron and Tibshirani (1993), table 2.1.
MICE = [52, 104, 146, 10, 50, 31, 40, 27, 46]

samples = (
    st.lists(st.integers(-40, 40), min_size=3, max_size=12)
    .map(lambda k: np.array(k) / 400)
    .filter(lambda values: classify(values) == "regular")
)


def enumerated(values, statistic):
    """Share of all n^n resamples whose t is at least `statistic`."""
    t = []
    for resample in itertools.product(values, repeat=len(values)):
        shift = np.mean(resample) - np.mean(values)
        sd = np.std(resample, ddof=1)
        t.append(shift / sd * len(values) ** 0.5 if sd > 1e-12 else np.sign(round(shift, 12)) * math.inf)
    return np.mean(np.array(t) >= statistic)


def test_the_interval_of_the_mice_is_the_published_one():
    # Efron and Tibshirani (1993), section 12.5: (35.82, 116.74) at 90 %, from 1,000 resamples
    low, high = bootstrap_t(MICE).interval(0.90)
    assert low == pytest.approx(35.82, abs=1.5)
    assert high == pytest.approx(116.74, abs=8)


@pytest.mark.parametrize("values", [[0.1, 0.2, 0.5], [0.1, 0.3, 0.4, 1.0], [-0.1, 0.3, 0.3, 0.8, 2.0]])
def test_p_is_that_of_all_resamples(values):
    found = bootstrap_t(values)
    exact = enumerated(values, found.statistic)
    assert found.p_greater == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 9999) ** 0.5 + 1e-4)


@settings(max_examples=30)
@given(samples, st.sampled_from([0.8, 0.9, 0.95]), st.integers(0, 3))
def test_interval_and_p_give_one_answer(values, level, seed):
    found = bootstrap_t(values, draws=999, seed=seed)
    low, high = found.interval(level)
    for null in (low - 1e-6, low + 1e-6, high - 1e-6, high + 1e-6):
        tested = bootstrap_t(values, null, draws=999, seed=seed)
        alpha = (1 - level) / 2 + 1e-9
        assert (tested.p_greater <= alpha) == (low > null)
        assert (tested.p_less <= alpha) == (high < null)


@settings(max_examples=30)
@given(samples, st.randoms(use_true_random=False))
def test_order_scale_and_shift_do_not_matter(values, random):
    mixed = list(values)
    random.shuffle(mixed)
    found = bootstrap_t(values, draws=999)
    assert bootstrap_t(mixed, draws=999).p_greater == found.p_greater
    assert bootstrap_t(8 * values, draws=999).p_greater == found.p_greater
    moved = bootstrap_t(values + 1, null=1, draws=999)
    assert moved.p_greater == found.p_greater
    assert moved.mean == pytest.approx(found.mean + 1)


def test_the_seed_decides_the_draws():
    one, same, other = (bootstrap_t(MICE, null=20, seed=seed) for seed in (1, 1, 2))
    assert one.p_greater == same.p_greater
    assert one.t.tolist() == same.t.tolist()
    assert one.t.tolist() != other.t.tolist()


def test_orientation_mirrors_within_the_error_of_the_draws():
    one, mirrored = bootstrap_t(MICE, null=20), bootstrap_t(-np.array(MICE), null=-20)
    assert mirrored.p_less == pytest.approx(one.p_greater, abs=0.005)
    assert mirrored.p_greater == pytest.approx(one.p_less, abs=0.02)


def test_resamples_without_variance_are_kept_and_counted():
    found = bootstrap_t([1.0, 2.0, 4.0])
    assert found.constant_draws == np.isinf(found.t).sum()
    assert found.constant_draws / found.t.size == pytest.approx(1 / 9, abs=0.015)
    assert found.interval(0.95) == (-math.inf, math.inf)
    # the resamples of 0, which is the mean, have t = 0
    middle = bootstrap_t([-1.0, 0.0, 1.0])
    assert middle.constant_draws > np.isinf(middle.t).sum()


def test_a_least_standard_deviation_makes_every_t_finite():
    floored = bootstrap_t([1.0, 2.0, 4.0], least_sd=0.5)
    assert np.isfinite(floored.t).all()
    assert floored.se == bootstrap_t([1.0, 2.0, 4.0]).se
    assert np.isfinite(floored.interval(0.95)).all()
    assert bootstrap_t([1.0, 1.1, 1.2], least_sd=0.5).se == pytest.approx(0.5 / 3**0.5)


@pytest.mark.parametrize(
    ("values", "category"),
    [
        ([], "no data"),
        ([1.0], "one model"),
        ([1.0, math.nan], "not finite"),
        ([0, 0, 0], "identical"),
        ([2, 2], "constant"),
    ],
)
def test_degenerate_data_are_named(values, category):
    found = bootstrap_t(values)
    assert found.category == category
    assert np.isnan([found.p_greater, found.p_less, *found.interval()]).all()


def test_too_few_draws_for_a_level_are_refused():
    with pytest.raises(ValueError, match=r"30 bootstrap draws are too few for level 0\.95"):
        bootstrap_t(MICE, draws=30).interval(0.95)
