"""The embedded digits against scikit-learn's own arrays."""

import numpy as np
import torch
from sklearn.datasets import load_digits

from bench.data.digits import DigitsSource


def test_all_images_are_there_once_with_their_labels():
    raw = DigitsSource().read()
    bunch = load_digits()
    assert (len(raw.train), len(raw.test)) == (1397, 400)
    ours = torch.cat([raw.train.images, raw.test.images])[:, 0].numpy()
    labels = torch.cat([raw.train.labels, raw.test.labels]).numpy()
    rows = sorted((label, *image.ravel()) for label, image in zip(labels, np.rint(ours * (16 / 255)), strict=True))
    expected = sorted((label, *image.ravel()) for label, image in zip(bunch.target, bunch.images, strict=True))
    assert rows == expected


def test_scale_keeps_all_grey_levels_apart():
    assert len(np.unique(DigitsSource().read().train.images.numpy())) == 17
    assert int(DigitsSource().read().train.images.max()) == 255


def test_hash_is_of_the_content():
    assert DigitsSource().content_hash() == DigitsSource().content_hash()
    assert len(DigitsSource().content_hash()) == 64
