"""The embedded data set: 1,797 handwritten digits of 8x8 pixels that scikit-learn ships."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import distribution

import numpy as np
import torch

from bench.core.identity import named_seed
from bench.data.dataset import Facts, ImageSet, Raw
from bench.data.splits import stratified_split

TEST_IMAGES = 400
LEVELS = 16  # the largest grey level of the source
#: The file that `sklearn.datasets.load_digits` reads, 64 pixels and the label per line: to import scikit-learn for it
#: would take a second.
FILE = "sklearn/datasets/data/digits.csv.gz"


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
        lines = np.loadtxt(str(distribution("scikit-learn").locate_file(FILE)), delimiter=",")
        images = lines[:, :-1].reshape(-1, 8, 8)
        return np.rint(images * (255 / LEVELS)).astype(np.uint8), lines[:, -1].astype(np.int64)
