"""Image files to one uint8 tensor."""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bench.errors import UserError

#: What Pillow may take a file for; it knows more, among them EPS, which it hands to Ghostscript.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
#: A few bytes of PNG can hold an image of any size.
MOST_PIXELS = 4096 * 4096


def decode_images(files: Iterable[tuple[str, bytes]]) -> Tensor:
    """Decode images of one size, as grey where all of them are grey and as RGB otherwise.

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
        if arrays and array.shape[:2] != arrays[0].shape[:2]:
            (h, w), (h0, w0) = array.shape[:2], arrays[0].shape[:2]
            raise UserError(f"{name}: is {w}x{h} pixels, the images before it {w0}x{h0}; make them one size")
        arrays.append(array)
    if any(array.ndim == 3 for array in arrays):
        # a grey image among coloured ones has three equal channels
        arrays = [a if a.ndim == 3 else np.repeat(a[..., None], 3, axis=2) for a in arrays]
        return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()
    return torch.from_numpy(np.stack(arrays))[:, None]


def _decode(name: str, content: bytes) -> np.ndarray:
    try:
        return _pixels(content)
    except Exception as error:  # Pillow raises anything on damaged files
        raise UserError(f"{name}: cannot be read as an image: {' '.join(str(error).split())}") from error


def _pixels(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        if image.width * image.height > MOST_PIXELS:
            raise ValueError(f"is {image.width}x{image.height} pixels, more than {MOST_PIXELS:,}")
        if image.mode.startswith(("I", "F")):
            raise ValueError(f"has pixels of mode {image.mode}; save it with 8 bits a channel")
        return np.array(image.convert("L" if image.mode in ("1", "L") else "RGB"))
