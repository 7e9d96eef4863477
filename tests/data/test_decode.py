"""Decoding against the arrays that were encoded."""

import numpy as np
import pytest
import torch

from bench.data.decode import decode_images
from bench.errors import UserError


def test_colour_is_decoded_channels_first(photos, encode):
    images = decode_images(("x", encode(photo)) for photo in photos)
    assert images.dtype == torch.uint8
    np.testing.assert_array_equal(images.numpy(), photos.transpose(0, 3, 1, 2))


def test_grey_has_one_channel(photos, encode):
    images = decode_images(("x", encode(photo[..., 0])) for photo in photos)
    np.testing.assert_array_equal(images[:, 0].numpy(), photos[..., 0])
    assert images.shape[1] == 1


def test_grey_among_colour_gets_equal_channels(photos, encode):
    images = decode_images([("grey", encode(photos[0, ..., 0])), ("colour", encode(photos[1]))])
    for channel in images[0]:
        np.testing.assert_array_equal(channel.numpy(), photos[0, ..., 0])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda _: b"not an image", "b.png: cannot be read as an image"),
        (lambda png: png[: len(png) // 2], "b.png: cannot be read as an image"),
        (lambda _: b"", "b.png: cannot be read as an image"),
    ],
)
def test_damaged_image_is_named(photos, encode, damage, message):
    good = encode(photos[0])
    with pytest.raises(UserError, match=message):
        decode_images([("a.png", good), ("b.png", damage(good))])


def test_other_size_is_named(photos, encode):
    with pytest.raises(UserError, match=r"b\.png: is 4x3 pixels, the images before it 4x5"):
        decode_images([("a.png", encode(photos[0])), ("b.png", encode(photos[1, :3]))])


def test_deep_pixels_are_refused(encode):
    with pytest.raises(UserError, match=r"a\.png: cannot be read as an image: has pixels of mode I"):
        decode_images([("a.png", encode(np.zeros((2, 2), dtype=np.uint16)))])


def test_a_bomb_is_refused_before_it_is_decoded(encode):
    with pytest.raises(UserError, match=r"b\.png: .* is 5000x5000 pixels, more than 16,777,216"):
        decode_images([("b.png", encode(np.zeros((5000, 5000), np.uint8)))])


def test_postscript_is_no_image():
    """Pillow would hand it to Ghostscript."""
    with pytest.raises(UserError, match="cannot be read as an image"):
        decode_images([("a.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n")])
