"""Tests of `bench.store.correctness`."""

from __future__ import annotations

import numpy as np
import pytest

from bench.store.correctness import share_correct, unpack


@pytest.mark.parametrize("images", [1, 7, 8, 9, 400])
def test_bits_are_read_as_they_were_packed(images):
    bits = np.arange(images) % 3 == 0
    packed = np.packbits(bits).tobytes()
    assert unpack(packed, images).tolist() == bits.astype(int).tolist()
    assert share_correct(packed, images) == bits.mean()


@pytest.mark.parametrize(("bits", "images"), [(None, 8), (b"", 8), (b"\xff\xff", 8), (b"\xff", None), (b"", 0)])
def test_bits_that_do_not_fit_the_images_have_no_share(bits, images):
    assert share_correct(bits, images) is None
