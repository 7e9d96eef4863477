"""Images and labels in memory, divided into the splits of METHODS section 6."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from bench.errors import UserError
from bench.study import Normalisation


@dataclass(frozen=True)
class ImageSet:
    """Images with their classes.

    Attributes
    ----------
    images : Tensor
        uint8, shape ``(n, channels, height, width)``, on the CPU.
    labels : Tensor
        Classes, int64, shape ``(n,)``.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, indices: Tensor) -> ImageSet:
        """Return the images at `indices`, int64, in that order."""
        return ImageSet(self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class Raw:
    """What a source holds: the official train and test sets and the names of the classes."""

    train: ImageSet
    test: ImageSet
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """What can be known of a source without decoding it.

    Attributes
    ----------
    image_size : tuple of int
        Height and width in pixels.
    in_chans, num_classes, train, test : int
        Channels, classes, and images in each part.
    """

    image_size: tuple[int, int]
    in_chans: int
    num_classes: int
    train: int
    test: int


class Source(Protocol):
    """Where a data set comes from."""

    def facts(self) -> Facts:
        """Sizes, found without decoding more than one image."""

    def content_hash(self) -> str:
        """SHA-256 of the content, found without decoding images."""

    def read(self) -> Raw:
        """Decode everything."""


@dataclass(frozen=True)
class Dataset:
    """A data set, divided once for all.

    Attributes
    ----------
    name : str
        As the study names it.
    hash : str
        SHA-256 of content, division and normalisation.
    classes : tuple of str
        Names of the classes, by label.
    normalisation : Normalisation
        What its models expect unless they say otherwise.
    fit, calibration, search, test : ImageSet
        Pairwise disjoint: for training the dense model, for calibration draws, for searches, for the result.
    calibration_images, calibration_batch : int
        Default size and batch of a calibration draw.
    """

    name: str
    hash: str
    classes: tuple[str, ...]
    normalisation: Normalisation
    fit: ImageSet
    calibration: ImageSet
    search: ImageSet
    test: ImageSet
    calibration_images: int
    calibration_batch: int

    @property
    def in_chans(self) -> int:
        """Channels of an image."""
        return int(self.test.images.shape[1])

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of an image in pixels."""
        return int(self.test.images.shape[2]), int(self.test.images.shape[3])

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)


def calibration_draw(dataset: Dataset, seed: int, images: int) -> ImageSet:
    """Draw images from the calibration split without replacement.

    Parameters
    ----------
    dataset : Dataset
        Only its calibration split is read.
    seed : int
        Named seed of this draw.
    images : int
        How many.

    Raises
    ------
    UserError
        If the split holds fewer.
    """
    available = len(dataset.calibration)
    if images > available:
        raise UserError(
            f"a calibration draw of {images} images asks more than the {available} of the calibration split "
            f"of {dataset.name}; lower calibration.images, or raise the data set's 'calibration'"
        )
    order = torch.randperm(available, generator=torch.Generator().manual_seed(seed))
    return dataset.calibration.subset(order[:images])
