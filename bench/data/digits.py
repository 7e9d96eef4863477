"""The embedded data set: 1,797 handwritten digits of 8x8 pixels that scikit-learn ships."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import load_digits

from bench.core.identity import named_seed
from bench.data.dataset import Facts, ImageSet, Raw
from bench.data.splits import stratified_split

TEST_IMAGES = 400
LEVELS = 16  # the largest grey level of the source


@dataclass(frozen=True)
class DigitsSource:
    """Optical recognition of handwritten digits (Alpaydin and Kaynak 1998), from scikit-learn.

    It has no official test set: 400 stratified images are set aside as one.
    """

    def facts(self) -> Facts:
        """Return sizes and labels."""
        return self.read().facts

    def content_hash(self) -> str:
        """SHA-256 of pixels and labels."""
        images, labels = self._arrays()
        return hashlib.sha256(images.tobytes() + labels.astype("<i8").tobytes()).hexdigest()

    def read(self) -> Raw:
        """Return the images scaled to 0..255, shape ``(n, 1, 8, 8)``."""
        images, labels = self._arrays()
        everything = ImageSet(torch.from_numpy(images)[:, None], torch.from_numpy(labels))
        seed = named_seed("test split", self.content_hash())
        test, train = map(everything.subset, stratified_split(everything.labels, (TEST_IMAGES,), seed))
        return Raw(Facts((8, 8), 1, tuple("0123456789"), train.labels, test.labels), train, test)

    @staticmethod
    def _arrays() -> tuple[np.ndarray, np.ndarray]:
        bunch = load_digits()
        return np.rint(bunch.images * (255 / LEVELS)).astype(np.uint8), bunch.target.astype(np.int64)
