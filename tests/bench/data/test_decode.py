"""Decoding against the arrays that were encoded."""

import io
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from bench.core.errors import UserError
from bench.data.decode import decode_images, read_headers


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


#: How a camera stores an upright image for each EXIF orientation: sides on which its first row and column lie (EXIF
#: 2.3, tag 274): top left, top right, bottom right, bottom left, left top, right top, right bottom, left bottom.
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: upright[:, ::-1].swapaxes(0, 1),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: upright[::-1].swapaxes(0, 1),
}


def save(array, kind, orientation=None, **options):
    stream = io.BytesIO()
    if orientation is not None:
        options["exif"] = exif = Image.Exif()
        exif[274] = orientation
    Image.fromarray(np.ascontiguousarray(array)).save(stream, kind, **options)
    return stream.getvalue()


def chunk(name, content):
    return len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")


@pytest.mark.parametrize("kind", ["png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", STORED)
def test_orientation_is_applied(photos, kind, orientation):
    options = {"lossless": True} if kind == "webp" else {}
    content = save(STORED[orientation](photos[0]), kind, orientation, **options)
    np.testing.assert_array_equal(decode_images([("a", content)])[0].numpy(), photos[0].transpose(2, 0, 1))
    headers = read_headers([("a", content)])
    assert headers.image_size == photos[0].shape[:2]
    assert bool(headers.notes) == (orientation != 1)
    # Pillow has always applied the orientation of TIFF files: their identity does not change
    assert headers.rotated == (orientation != 1 and kind != "tiff")


def test_orientation_of_a_jpeg_photo():
    """Dark above, bright below; stored lying on its side."""
    upright = np.repeat(np.array([[20], [230]], np.uint8), 8, axis=0) * np.ones((1, 24), np.uint8)
    content = save(STORED[6](upright), "jpeg", 6, quality=100)
    found = decode_images([("a", content)])
    assert (found.shape, read_headers([("a", content)]).image_size) == ((1, 1, 16, 24), (16, 24))
    np.testing.assert_allclose(found[0, 0].numpy(), upright, atol=3)


def test_orientation_after_the_pixels_of_a_png(photos):
    exif = Image.Exif()
    exif[274] = 8
    stored = save(STORED[8](photos[0]), "png")
    content = stored[:-12] + chunk(b"eXIf", exif.tobytes()[6:]) + stored[-12:]
    np.testing.assert_array_equal(decode_images([("a", content)])[0].numpy(), photos[0].transpose(2, 0, 1))
    assert read_headers([("a", content)]).image_size == (5, 4)


def test_photos_that_differ_only_in_how_they_are_stored(photos):
    files = [(f"{n}.png", save(STORED[n](photo), "png", n)) for n, photo in zip(STORED, photos, strict=False)]
    np.testing.assert_array_equal(decode_images(files).numpy(), photos[:8].transpose(0, 3, 1, 2))
    headers = read_headers(files)
    assert headers.notes == ("7 of 8 images are rotated or mirrored as their EXIF orientation requires",)
    with pytest.raises(UserError, match=r"6\.png: is 5x4 pixels, the images before it 4x5"):
        read_headers([files[0], ("6.png", save(STORED[6](photos[0]), "png"))])


def test_damaged_exif_data_are_noted(photos):
    content = save(photos[0], "jpeg", quality=100)
    damaged = save(photos[0], "jpeg", quality=100, exif=b"Exif\x00\x00no TIFF header")
    np.testing.assert_array_equal(decode_images([("a", damaged)]).numpy(), decode_images([("a", content)]).numpy())
    headers = read_headers([("a.jpg", content), ("b.jpg", damaged)])
    assert headers.notes == (
        "1 of 2 images have EXIF data that cannot be read, first b.jpg; they are read as they are stored",
    )
    assert not headers.rotated


#: What an image of each mode is converted to, computed by hand.
MODES = {
    "1": (np.array([[0, 255]], np.uint8), None),
    "L": (np.array([[7, 200]], np.uint8), None),
    "P": (None, [[[1, 2, 3], [4, 5, 6]]]),
    "LA": (None, [[[7, 7, 7], [200, 200, 200]]]),
    "RGBA": (None, [[[1, 2, 3], [4, 5, 6]]]),
    "CMYK": (None, [[[255, 0, 0], [0, 0, 0]]]),
}


def of_mode(mode):
    image = Image.new(mode, (2, 1))
    pixels = {
        "1": [0, 255], "L": [7, 200], "P": [0, 1], "LA": [(7, 255), (200, 0)], "RGBA": [(1, 2, 3, 255), (4, 5, 6, 0)],
        "CMYK": [(0, 255, 255, 0), (0, 0, 0, 255)],
    }[mode]  # fmt: skip
    if mode == "P":
        image.putpalette([1, 2, 3, 4, 5, 6])
    for x, value in enumerate(pixels):
        image.putpixel((x, 0), value)
    stream = io.BytesIO()
    image.save(stream, "tiff" if mode == "CMYK" else "png")
    return stream.getvalue()


@pytest.mark.parametrize("mode", MODES)
def test_modes(mode):
    """Grey stays grey; palettes, alpha and CMYK become RGB; headers and pixels agree."""
    grey, colour = MODES[mode]
    found = decode_images([("a", of_mode(mode))])
    expected = grey[None] if grey is not None else np.array(colour, np.uint8).transpose(2, 0, 1)
    np.testing.assert_array_equal(found[0].numpy(), expected)
    assert read_headers([("a", of_mode(mode))]).in_chans == len(expected)


@pytest.mark.parametrize(
    ("first", "second", "channels"), [("L", "L", 1), ("1", "L", 1), ("L", "RGBA", 3), ("P", "L", 3), ("LA", "L", 3)]
)
def test_channels_do_not_depend_on_the_order(first, second, channels):
    for modes in ((first, second), (second, first)):
        files = [(mode, of_mode(mode)) for mode in modes]
        assert read_headers(files).in_chans == decode_images(files).shape[1] == channels


def test_deep_pixels_and_damage_are_found_by_the_headers(photos, encode):
    good = encode(photos[0])
    for content in (encode(np.zeros((5, 4), dtype=np.uint16)), b"no image", b"", good[:20]):
        with pytest.raises(UserError, match=r"b\.png: cannot be read as an image"):
            read_headers([("a.png", good), ("b.png", content)])
