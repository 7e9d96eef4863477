"""CIFAR-10 and CIFAR-100 as torchvision downloads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision import datasets

from bench.data.dataset import Facts, ImageSet, Raw
from bench.errors import UserError
from bench.identity import digest


@dataclass(frozen=True)
class TorchvisionSource:
    """CIFAR (Krizhevsky 2009) from torchvision, downloaded at the first use.

    Attributes
    ----------
    name : {"cifar10", "cifar100"}
        Which one.
    root : Path
        Where the download is kept.
    """

    name: str
    root: Path

    def facts(self) -> Facts:
        """Sizes as published."""
        return Facts((32, 32), 3, 10 if self.name == "cifar10" else 100, 50_000, 10_000)

    def content_hash(self) -> str:
        """SHA-256 of the published MD5 sums, which torchvision checks before it reads a file."""
        kind = self._class()
        return digest([self.name, *(sum_ for _, sum_ in (*kind.train_list, *kind.test_list))])

    def read(self) -> Raw:
        """Return all images, shape ``(n, 3, 32, 32)``.

        Raises
        ------
        UserError
            If the data are not there and cannot be downloaded.
        """
        try:
            train = self._class()(root=str(self.root), train=True, download=True)
            test = self._class()(root=str(self.root), train=False, download=True)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"data {self.name!r} cannot be downloaded to {self.root}: {' '.join(str(error).split())}; "
                "set the entry's 'path' to a local copy (a Parquet folder)"
            ) from error
        return Raw(_image_set(train), _image_set(test), tuple(train.classes))

    def _class(self) -> Any:
        return datasets.CIFAR10 if self.name == "cifar10" else datasets.CIFAR100


def _image_set(part: Any) -> ImageSet:
    images = torch.from_numpy(np.ascontiguousarray(part.data.transpose(0, 3, 1, 2)))
    return ImageSet(images, torch.tensor(part.targets))
