"""Images and labels in memory, divided into the splits of METHODS section 6."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from bench.core.errors import UserError
from bench.study.spec import Normalisation


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
class Facts:
    """What is known of a source from its labels and image headers, without decoding its pixels.

    Attributes
    ----------
    image_size : tuple of int
        Height and width in pixels, after the EXIF orientation is applied.
    in_chans : int
        1 if all images are grey, else 3.
    classes : tuple of str
        Names of the classes, by label.
    train_labels, test_labels : Tensor
        Classes of the official train and test images, int64, shape ``(n,)``.
    variant : mapping
        How the source is read where its content hash does not determine the images and labels: a label
        column other than the default one, an EXIF orientation that is applied. Part of the identity; empty for
        most sources.
    notes : tuple of str
        What the user should know about how the source is read.
    """

    image_size: tuple[int, int]
    in_chans: int
    classes: tuple[str, ...]
    train_labels: Tensor
    test_labels: Tensor
    variant: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @property
    def train(self) -> int:
        """Number of official training images."""
        return len(self.train_labels)

    @property
    def test(self) -> int:
        """Number of official test images."""
        return len(self.test_labels)


@dataclass(frozen=True)
class Raw:
    """What a source holds: its facts, and the official train and test sets, decoded."""

    facts: Facts
    train: ImageSet
    test: ImageSet

    @classmethod
    def of(cls, facts: Facts, images: Tensor) -> Raw:
        """Divide decoded images, training images first, by the numbers of labels in `facts`."""
        n = facts.train
        return cls(facts, ImageSet(images[:n], facts.train_labels), ImageSet(images[n:], facts.test_labels))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by label."""
        return self.facts.classes


class Source(Protocol):
    """Where a data set comes from."""

    def facts(self) -> Facts:
        """Read labels and image headers."""

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
        SHA-256 of content, division and normalisation, and of the limit where there is one.
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
