"""The comparison of two devices, on cases by hand: what it must accept, and what it must refuse."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.gpu.agreement import accuracies_agree, different, distance, distances, mask_disagreements, masks_agree


def scores(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def kept(*units: int, of: int = 5) -> Tensor:
    return torch.tensor([unit in units for unit in range(of)])


#: Two of five are kept. Units 1 and 2 differ by a ten-thousandth, and the other device orders them differently.
HERE, THERE = scores(9, 4.0004, 4.0, 3, 1), scores(9, 4.0, 4.0004, 3, 1)


def test_units_at_the_threshold_may_swap():
    assert masks_agree(HERE, THERE, kept(0, 1), kept(0, 2))


def test_equal_masks_agree_whatever_the_scores():
    assert masks_agree(HERE, -THERE, kept(0, 1), kept(0, 1))


def test_a_unit_below_the_threshold_may_not_be_kept():
    """Unit 3 has three quarters of the threshold: no rounding error is that large."""
    lines = mask_disagreements(HERE, HERE, kept(0, 1), kept(0, 3))
    assert not masks_agree(HERE, HERE, kept(0, 1), kept(0, 3))
    # 0.01 times the threshold 4.0004 of the first, and the median 4 of the second, whose lowest kept score is 3
    assert lines == [
        "unit 3, kept by the second: its score on the first is 3, the threshold 4.0004, and they may differ by 0.04",
        "unit 1, kept by the first: its score on the second is 4.0004, the threshold 3, and they may differ by 0.04",
    ]


def test_units_that_swap_without_reason_on_one_device_are_refused():
    """The second device has other scores, by far more than rounding: its mask is right for them, and still differs."""
    other = scores(9, 3, 4.0, 4.5, 1)
    assert not masks_agree(HERE, other, kept(0, 1), kept(0, 3))


def test_one_more_unit_may_be_kept_only_at_the_threshold():
    """An allocation that counts by the scores may round its count differently."""
    assert masks_agree(HERE, THERE, kept(0, 1), kept(0, 1, 2))
    assert not masks_agree(HERE, THERE, kept(0, 1), kept(0, 1, 2, 3))


def test_the_tolerance_is_a_share_of_the_scores():
    close, far = scores(9, 4 + 4e-6, 4, 3, 1), scores(9, 4, 4 + 4e-6, 3, 1)
    assert masks_agree(close, far, kept(0, 1), kept(0, 2), tolerance=1e-5)
    assert not masks_agree(close, far, kept(0, 1), kept(0, 2), tolerance=1e-7)


def test_signed_scores_with_a_threshold_of_zero_are_judged_by_their_size():
    here, there = scores(-2, -1, 1e-6, -1e-6, 2), scores(-2, -1, -1e-6, 1e-6, 2)
    assert masks_agree(here, there, kept(2, 4), kept(3, 4))
    assert not masks_agree(here, there, kept(2, 4), kept(1, 4))


def test_segments_have_thresholds_of_their_own():
    """The pair 100 and 100.01 lies in the second segment; in the first nothing is near the threshold of 2."""
    here, there = scores(2, 1, 100, 100.01, 50), scores(2, 1, 100.01, 100, 50)
    segment = torch.tensor([0, 0, 1, 1, 1])
    assert masks_agree(here, there, kept(0, 3), kept(0, 2), segment)
    assert not masks_agree(here, there, kept(0, 3), kept(1, 3), segment)
    # with one threshold for all, that of unit 0, they are far away from it
    assert not masks_agree(here, there, kept(0, 3), kept(0, 2))


def test_where_nothing_is_kept_the_threshold_is_the_highest_score():
    assert masks_agree(HERE, HERE, kept(), kept(0))
    assert not masks_agree(HERE, HERE, kept(), kept(1))


def test_a_score_that_is_no_number_explains_nothing():
    assert not masks_agree(HERE, scores(9, math.nan, 4, 3, 1), kept(0, 1), kept(0, 2))


def test_the_distance_is_relative_to_the_larger_norm():
    assert distance(scores(3, 4), scores(3, 4)) == 0
    assert distance(scores(0, 0), scores(0, 0)) == 0
    assert distance(scores(3, 4), scores(3, 4.5)) == pytest.approx(0.5 / math.hypot(3, 4.5))
    assert distances({"a": scores(1, 2), "b": scores(1, 2)}, {"a": scores(1, 2), "b": scores(1, 2.1)}).keys() == {"b"}
    assert distances({"a": scores(1, math.nan)}, {"a": scores(1, math.nan)}).keys() == {"a"}


def test_bits_are_compared_without_a_tolerance():
    assert different({"a": scores(1), "b": scores(1)}, {"a": scores(1), "b": scores(1 + 1e-15)}) == ["b"]


@pytest.mark.parametrize(
    ("first", "second", "images", "agree"),
    [
        (0.5, 0.51, 100, True),  # one image of a hundred
        (0.5, 0.52, 100, False),
        (0.9170, 0.9180, 10_000, True),  # ten images of ten thousand
        (0.9170, 0.9181, 10_000, False),
    ],
)
def test_accuracies_may_differ_by_a_tenth_of_a_point_or_one_image(first, second, images, agree):
    assert accuracies_agree(first, second, images) is agree
