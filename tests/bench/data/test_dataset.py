"""Image sets and calibration draws."""

from pathlib import Path

import pytest
import torch

from bench.core.errors import UserError
from bench.data.dataset import ImageSet, calibration_draw
from bench.data.load import load_dataset
from bench.study.spec import DataSpec


@pytest.fixture(scope="module")
def digits():
    return load_dataset(DataSpec(name="digits"), Path())


def test_subset_keeps_pairs_and_order():
    images = ImageSet(torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1), torch.arange(4))
    chosen = images.subset(torch.tensor([3, 1]))
    assert chosen.labels.tolist() == chosen.images.flatten().tolist() == [3, 1]
    assert len(chosen) == 2


def test_sizes_of_input_and_output(digits):
    assert (digits.in_chans, digits.image_size, digits.num_classes) == (1, (8, 8), 10)


def test_draw_is_a_subset_without_repetition(digits):
    draw = calibration_draw(digits, seed=1, images=len(digits.calibration))
    rows = {(int(y), *x.flatten().tolist()) for x, y in zip(draw.images, draw.labels, strict=True)}
    source = digits.calibration
    expected = {(int(y), *x.flatten().tolist()) for x, y in zip(source.images, source.labels, strict=True)}
    assert rows == expected


def test_draws_by_seed(digits):
    first, again, other = (calibration_draw(digits, seed, 64) for seed in (1, 1, 2))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)


def test_larger_draw_than_the_split(digits):
    with pytest.raises(UserError, match="251 images asks more than the 250"):
        calibration_draw(digits, seed=0, images=251)
