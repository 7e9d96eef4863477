"""Correctness bits of a row: one bit per test image, packed by `numpy.packbits`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd


def unpack(correct: bytes, images: int) -> Any:
    """Return the correctness bits of a row, shape (images,).

    Examples
    --------
    >>> unpack(bytes([0b10100000]), 3).tolist()
    [1, 0, 1]
    """
    return np.unpackbits(np.frombuffer(correct, np.uint8), count=images)


def share_correct(correct: Any, images: Any) -> float | None:
    """Return the share of correct images; None where the row has no bits, or not one per image.

    Examples
    --------
    >>> share_correct(bytes([0b10100000]), 4), share_correct(None, 4), share_correct(b"", 4)
    (0.5, None, None)
    """
    if not isinstance(correct, bytes) or pd.isna(images) or images < 1 or len(correct) != -(-int(images) // 8):
        return None
    return int(unpack(correct, images).sum()) / int(images)
