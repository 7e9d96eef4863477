"""McNemar and the crossed bootstrap against statsmodels, closed forms, plain loops and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from analysis.stats.images import crossed_intervals, mcnemar, unpack


def crossed_interval(first, second, **options):
    return crossed_intervals([first], [second], **options)[0]


bits = st.integers(1, 40).flatmap(lambda n: arrays(np.bool_, (2, n)))


@given(st.tuples(st.integers(1, 4), st.integers(1, 40)).flatmap(lambda shape: arrays(np.bool_, shape)))
def test_bits_come_back_as_they_were_stored(correct):
    packed = [np.packbits(row).tobytes() for row in correct]  # as bench.measure.evaluation writes them
    assert (unpack(packed, correct.shape[1]) == correct).all()


def test_bits_of_another_number_of_images_are_refused():
    with pytest.raises(ValueError, match="take 2 bytes"):
        unpack([b"\x00"], 9)
    with pytest.raises(ValueError, match="beyond the 3 images"):
        unpack([b"\xff"], 3)
    assert unpack([], 9).shape == (0, 9)


@given(bits)
def test_mcnemar_is_that_of_statsmodels(pair):
    first, second = pair
    found = mcnemar(first, second)
    cells = [[(first & second).sum(), (first & ~second).sum()], [(~first & second).sum(), (~first & ~second).sum()]]
    if found.category == "regular":
        assert found.p == pytest.approx(statsmodels_mcnemar(cells, exact=True).pvalue)
    else:
        assert (found.category, found.only_first, found.only_second) == ("identical", 0, 0)
        assert math.isnan(found.p)
    assert found.difference == pytest.approx(first.mean() - second.mean())


def test_mcnemar_by_hand():
    # eight images tell the masks apart, 7 to 1: p = 2 (1 + 8) / 2^8
    found = mcnemar([1, 1, 1, 1, 1, 1, 1, 0, 1, 0], [0, 0, 0, 0, 0, 0, 0, 1, 1, 0])
    assert (found.only_first, found.only_second, found.n, found.p) == (7, 1, 10, 18 / 256)


@given(bits, st.randoms(use_true_random=False))
def test_mcnemar_ignores_the_order_of_images_and_masks(pair, random):
    order = list(range(pair.shape[1]))
    random.shuffle(order)
    found, mixed = mcnemar(*pair), mcnemar(*pair[::-1, order])
    assert mixed.p == pytest.approx(found.p, nan_ok=True)
    assert (mixed.only_first, mixed.difference) == (found.only_second, -found.difference)


def test_mcnemar_keeps_its_level():
    rng = np.random.default_rng(20260604)
    draws = rng.random((1000, 60)) < 0.5  # which mask is right, of 60 images that tell them apart
    rejected = sum(mcnemar(draw, ~draw).p <= 0.05 for draw in draws)
    assert rejected <= stats.binom.ppf(0.995, 1000, 0.05)


def test_other_shapes_are_refused_and_nothing_is_no_data():
    for first, second in (([True], [True, False]), ([[True]], [[True]])):
        with pytest.raises(ValueError, match="same images twice"):
            mcnemar(first, second)
    with pytest.raises(ValueError, match="models x images"):
        crossed_interval([True], [False])
    assert mcnemar([], []).category == "no data"
    assert crossed_interval(np.empty((0, 5)), np.empty((0, 5))).category == "no data"


def correctness(models, images, seed, gain=0.5):
    """Images differ in difficulty, models in skill, and the gain of the first mask differs between models."""
    rng = np.random.default_rng(seed)
    second = rng.normal(1, 1.5, images) + rng.normal(0, 0.3, (models, 1))
    first = second + rng.normal(gain, 0.3, (models, 1))
    noise = rng.logistic(size=(2, models, images))
    return first > noise[0], second > noise[1]


def test_replicates_spread_as_the_closed_form_says():
    first, second = correctness(20, 150, 1)
    d = (first.astype(float) - second) / first.size
    models, images = d.shape
    # covariance of multinomial weights w: I - 11'/n; variance of w_m' d w_i for independent w
    c_m, c_i = np.eye(models) - 1 / models, np.eye(images) - 1 / images
    by_model, by_image = d.sum(axis=1), d.sum(axis=0)
    variance = np.trace(c_m @ d @ c_i @ d.T) + by_model @ c_m @ by_model + by_image @ c_i @ by_image
    found = crossed_interval(first, second, resamples=20_000)
    assert (found.high - found.low) / (2 * stats.norm.ppf(0.975)) == pytest.approx(math.sqrt(variance), rel=0.03)


def test_weights_are_resampling_written_out():
    first, second = correctness(5, 40, 2)
    d = first.astype(float) - second
    rng = np.random.default_rng(3)
    loop = [d[rng.integers(5, size=5)][:, rng.integers(40, size=40)].mean() for _ in range(20_000)]
    found = crossed_interval(first, second, level=0.8, resamples=20_000)
    assert (found.low, found.high) == pytest.approx(np.quantile(loop, [0.1, 0.9]), abs=0.003)


def test_models_alike_leave_the_images_and_images_alike_leave_the_models():
    first, second = correctness(1, 300, 4)
    image_d = first[0].astype(float) - second[0]
    found = crossed_interval(np.tile(first, (8, 1)), np.tile(second, (8, 1)), resamples=20_000)
    assert (found.high - found.low) / 3.92 == pytest.approx(image_d.std() / math.sqrt(300), rel=0.03)
    assert found.sd == 0.0
    better = np.repeat(np.array([True, True, False, True, False, False, True, True])[:, None], 50, axis=1)
    found = crossed_interval(better, np.zeros((8, 50)), level=0.68268, resamples=20_000)
    binomial = stats.binom.ppf([0.15866, 0.84134], 8, 5 / 8) / 8
    assert (found.low, found.high) == pytest.approx(tuple(binomial))


def test_order_does_not_matter_and_orientation_turns_the_sign():
    first, second = correctness(6, 80, 5)
    rng = np.random.default_rng(6)
    rows, columns = rng.permutation(6), rng.permutation(80)
    one = crossed_interval(first, second, resamples=20_000)
    mixed = crossed_interval(first[rows][:, columns], second[rows][:, columns], resamples=20_000)
    assert (mixed.mean, mixed.sd) == pytest.approx((one.mean, one.sd))
    assert (mixed.low, mixed.high) == pytest.approx((one.low, one.high), abs=0.004)
    turned = crossed_interval(second, first, resamples=20_000)
    assert (turned.mean, turned.low, turned.high) == pytest.approx((-one.mean, -one.high, -one.low))


def test_settings_together_have_the_intervals_that_they_have_alone():
    rng = np.random.default_rng(8)
    first, second = rng.random((2, 5, 4, 60)) < 0.8
    second[0], second[1] = first[0], ~first[1]  # identical masks; and masks that always disagree
    first[2], second[2] = True, False  # a constant difference
    together = crossed_intervals(list(first), list(second), resamples=200, seed=3)
    assert together == [crossed_interval(a, b, resamples=200, seed=3) for a, b in zip(first, second, strict=True)]
    assert [one.category for one in together] == ["identical", "regular", "constant", "regular", "regular"]
    assert [one.category for one in crossed_intervals(first[:, :1], second[:, :1])] == ["one model"] * 5


def test_the_seed_is_used():
    first, second = correctness(6, 80, 7)
    one, again, other = (crossed_interval(first, second, seed=seed) for seed in (0, 0, 1))
    assert one == again
    assert (one.low, one.high) != (other.low, other.high)


def test_degenerate_correctness_is_named():
    first, second = correctness(4, 20, 8)
    assert crossed_interval(first, first).category == "identical"
    assert (crossed_interval(first, first).low, crossed_interval(first, first).high) == (0.0, 0.0)
    assert crossed_interval(np.ones((3, 9)), np.zeros((3, 9))).category == "constant"
    single = crossed_interval(first[:1], second[:1])
    assert single.category == "one model"
    assert math.isnan(single.low)


def test_it_covers_models_and_images_where_images_alone_do_not():
    trials, models, images = 300, 10, 200
    # the mean over models and images not seen: estimated once, from very many of them
    first, second = correctness(2000, 2000, 20260605)
    truth = first.mean() - second.mean()
    crossed = plain = 0
    for seed in range(trials):
        first, second = correctness(models, images, 20260606 + seed)
        found = crossed_interval(first, second, resamples=400)
        crossed += found.low <= truth <= found.high
        half = stats.t.ppf(0.975, images - 1) * stats.sem((first.astype(float) - second)[0])
        plain += abs((first.astype(float) - second)[0].mean() - truth) <= half
    assert crossed >= stats.binom.ppf(0.005, trials, 0.95)
    assert plain < crossed
