"""Encoded images to one uint8 tensor, and what their headers show before any pixel is decoded."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from bench.core.errors import UserError

#: Formats that Pillow may try; it knows more, among them EPS, which it hands to Ghostscript.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
#: A few bytes of PNG can hold an image of any size.
MOST_PIXELS = 4096 * 4096
#: Only a PNG file with one of these can have an orientation; Pillow decodes a PNG file to look for it.
PNG_EXIF = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")


@dataclass(frozen=True)
class Headers:
    """What the headers of a set of images have in common.

    Attributes
    ----------
    image_size : tuple of int
        Height and width in pixels, after the EXIF orientation is applied.
    in_chans : int
        1 if all images are grey, else 3.
    rotated : bool
        Whether the EXIF orientation changes an image that Pillow alone would return as it is stored.
    notes : tuple of str
        What the user should know: grey images among colour images, orientations, unreadable EXIF data.
    """

    image_size: tuple[int, int]
    in_chans: int
    rotated: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Header:
    """One image: size in pixels after rotation, whether it is grey, its format and orientation."""

    width: int
    height: int
    grey: bool
    format: str
    orientation: int | None


def read_headers(files: Iterable[tuple[str, bytes]]) -> Headers:
    """Read the headers of images of one size; pixels are decoded only where the EXIF data rotate them.

    Parameters
    ----------
    files : iterable of (str, bytes)
        For each image its name, for messages, and its encoded content; at least one.

    Raises
    ------
    UserError
        Naming the first image that is no image, has more than 8 bits a channel, or differs in size from the first.

    Examples
    --------
    >>> stream = io.BytesIO()
    >>> Image.new("L", (4, 2)).save(stream, "png")
    >>> found = read_headers([("a.png", stream.getvalue())])
    >>> found.image_size, found.in_chans
    ((2, 4), 1)
    """
    first: _Header | None = None
    grey, rotated, unreadable, number = 0, [], [], 0
    for number, (name, content) in enumerate(files, 1):  # noqa: B007 - the last number is the count
        header = _header(name, content)
        first = first or header
        _refuse_other_size(name, (header.height, header.width), (first.height, first.width))
        grey += header.grey
        if header.orientation is None:
            unreadable.append(name)
        elif header.orientation != 1:
            rotated.append(header)
    if first is None:
        raise ValueError("no images")
    notes = []
    if 0 < grey < number:
        notes.append(f"{grey} of {number} images are grey; they are read as colour images with three equal channels")
    if rotated:
        notes.append(f"{len(rotated)} of {number} images are rotated or mirrored as their EXIF orientation requires")
    if unreadable:
        notes.append(
            f"{len(unreadable)} of {number} images have EXIF data that cannot be read, first {unreadable[0]}; they are "
            f"read as they are stored"
        )
    return Headers(
        (first.height, first.width), 1 if grey == number else 3,
        any(header.format != "TIFF" for header in rotated),  # Pillow itself applies the orientation of a TIFF file
        tuple(notes),
    )  # fmt: skip


def decode_images(files: Iterable[tuple[str, bytes]]) -> Tensor:
    """Decode images of one size, as grey where all of them are grey and as RGB otherwise.

    Alpha channels are dropped, palettes and CMYK are converted to RGB, an animation is its first frame, and the
    EXIF orientation is applied.

    Parameters
    ----------
    files : iterable of (str, bytes)
        For each image its name, for messages, and its encoded content.

    Returns
    -------
    Tensor
        uint8, shape ``(n, 1 or 3, height, width)``.

    Raises
    ------
    UserError
        Naming the first image that cannot be read, or is not of the first one's size.
    """
    arrays: list[np.ndarray] = []
    for name, content in files:
        array = _decode(name, content)
        if arrays:
            _refuse_other_size(name, array.shape[:2], arrays[0].shape[:2])
        arrays.append(array)
    if any(array.ndim == 3 for array in arrays):
        # a grey image among coloured ones has three equal channels
        arrays = [a if a.ndim == 3 else np.repeat(a[..., None], 3, axis=2) for a in arrays]
        return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()
    return torch.from_numpy(np.stack(arrays))[:, None]


def _refuse_other_size(name: str, size: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if size != expected:
        (h, w), (h0, w0) = size, expected
        raise UserError(f"{name}: is {w}x{h} pixels, the images before it {w0}x{h0}; resize all images to one size")


def _header(name: str, content: bytes) -> _Header:
    try:
        with _open(content) as image:
            grey = _is_grey(image)
            orientation: int | None = 1
            if image.format != "PNG" or any(mark in content for mark in PNG_EXIF):
                if image.format == "PNG":
                    image.load()  # its EXIF data may follow the pixels, whose errors are not those of EXIF data
                orientation = _orientation(image)
            upright = image if orientation in (None, 1) else _upright(image)
            return _Header(upright.width, upright.height, grey, str(image.format), orientation)
    except Exception as error:  # Pillow raises anything on damaged files
        raise _unreadable(name, error) from error


def _decode(name: str, content: bytes) -> np.ndarray:
    try:
        with _open(content) as image:
            mode = "L" if _is_grey(image) else "RGB"
            return np.array(_upright(image).convert(mode))
    except Exception as error:  # Pillow raises anything on damaged files
        raise _unreadable(name, error) from error


def _open(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    if image.width * image.height > MOST_PIXELS:
        raise ValueError(f"is {image.width}x{image.height} pixels, more than {MOST_PIXELS:,}")
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"has pixels of mode {image.mode}; save it with 8 bits a channel")
    return image


def _is_grey(image: Image.Image) -> bool:
    return image.mode in ("1", "L")


def _orientation(image: Image.Image) -> int | None:
    """Return the EXIF orientation, 1 to 8, 1 where there is none; None if the EXIF data are damaged."""
    try:
        if image.format == "JPEG" and "exif" in image.info:
            Image.Exif().load(image.info["exif"])  # Pillow hides the damage that it meets when it opens a JPEG file
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow raises anything on damaged EXIF data; `read_headers` notes it
        return None
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _upright(image: Image.Image) -> Image.Image:
    """Return the image with its EXIF orientation applied, as every viewer shows it."""
    image.load()
    return image if _orientation(image) in (None, 1) else ImageOps.exif_transpose(image)


def _unreadable(name: str, error: Exception) -> UserError:
    return UserError(f"{name}: cannot be read as an image: {' '.join(str(error).split())}")
