"""Fashion-MNIST in its published idx files: a local copy, or downloaded by torchvision."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torchvision.datasets import FashionMNIST
from torchvision.datasets.utils import download_url

from bench.core.errors import UserError
from bench.core.identity import digest
from bench.data.dataset import Facts, Raw
from bench.data.labels import listed

#: Images and labels of the official training images, then of the test images.
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
#: Where torchvision keeps them below the folder that it is given.
BELOW = Path("FashionMNIST", "raw")
CLASSES = tuple(FashionMNIST.classes)
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class IdxSource:
    """The four files of Fashion-MNIST (Xiao, Rasul and Vollgraf 2017) in a folder, as published or decompressed.

    Attributes
    ----------
    folder : Path
        Where the files are.
    """

    folder: Path

    @classmethod
    def find(cls, folder: Path) -> IdxSource | None:
        """Return the source in `folder`, or below it as torchvision stores it; None if it has none of the files."""
        for place in (folder, folder / BELOW):
            if any(_path(place, name) is not None for name in FILES):
                return cls(place)
        return None

    def facts(self) -> Facts:
        """Return sizes and labels.

        Raises
        ------
        UserError
            If a file is absent or damaged, or the files do not belong together.
        """
        return self.read().facts

    def content_hash(self) -> str:
        """SHA-256 of the decompressed files: a copy has the same identity compressed or not."""
        content = hashlib.sha256()
        for part in self._arrays():
            content.update(repr(part.shape).encode() + part.tobytes())
        return content.hexdigest()

    def read(self) -> Raw:
        """Return all images, shape ``(n, 1, 28, 28)``.

        Raises
        ------
        UserError
            As for `facts`.
        """
        images, labels, test_images, test_labels = self._arrays()
        for place, part, classes in ((0, images, labels), (2, test_images, test_labels)):
            if len(part) != len(classes) or part.shape[1:] != images.shape[1:]:
                height, width = part.shape[1:]
                raise UserError(
                    f"data folder {self.folder}: {FILES[place]} has {len(part)} images of {height}x{width} pixels, "
                    f"{FILES[place + 1]} {len(classes)} labels; expected one label per image, and one size for "
                    f"training and test images; copy all four files again"
                )
            if classes.max(initial=0) >= len(CLASSES):
                raise UserError(
                    f"data folder {self.folder}: {FILES[place + 1]} has the label {classes.max()}; expected 0 to 9"
                )
        train, test = (torch.from_numpy(classes.astype(np.int64)) for classes in (labels, test_labels))
        facts = Facts((images.shape[1], images.shape[2]), 1, CLASSES, train, test)
        return Raw.of(facts, torch.from_numpy(np.concatenate([images, test_images]))[:, None])

    def _arrays(self) -> Iterator[Bytes]:
        for name, dimensions in zip(FILES, (3, 1, 3, 1), strict=True):
            path = _path(self.folder, name)
            if path is None:
                raise UserError(
                    f"data folder {self.folder}: has no {name} or {name}.gz; expected {listed(FILES)}, or with .gz"
                )
            yield _read(path, dimensions)


@dataclass(frozen=True)
class DownloadedSource:
    """Fashion-MNIST from the address that torchvision knows, downloaded at the first use.

    Attributes
    ----------
    root : Path
        Where the download is kept.
    """

    root: Path

    def facts(self) -> Facts:
        """Return sizes as published, without a download; the numbers of images per class are equal."""
        return Facts((28, 28), 1, CLASSES, torch.arange(60_000) % 10, torch.arange(10_000) % 10)

    def content_hash(self) -> str:
        """SHA-256 of the published MD5 sums, which are checked before a file is read."""
        return digest(["fashion_mnist", *(sum_ for _, sum_ in FashionMNIST.resources)])

    def read(self) -> Raw:
        """Return all images, shape ``(n, 1, 28, 28)``.

        Raises
        ------
        UserError
            If the data are not available and cannot be downloaded.
        """
        folder = self.root / BELOW
        try:
            for name, sum_ in FashionMNIST.resources:
                download_url(FashionMNIST.mirrors[0] + name, str(folder), name, sum_)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"data 'fashion_mnist' cannot be downloaded to {folder}: {' '.join(str(error).split())}; "
                "set the entry's 'path' to a local copy (its four idx files, or a Parquet folder)"
            ) from error
        return IdxSource(folder).read()


def _path(folder: Path, name: str) -> Path | None:
    """Return the published file, or else the decompressed one."""
    return next((path for path in (folder / f"{name}.gz", folder / name) if path.is_file()), None)


def _read(path: Path, dimensions: int) -> Bytes:
    """Read an idx file of bytes: two zeros, type 8, the number of dimensions, each of them in 4 bytes, the values."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read: {error}; copy the file again") from error
    header = 4 + 4 * dimensions
    shape = np.frombuffer(content[4:header], ">u4").tolist() if content[:4] == bytes([0, 0, 8, dimensions]) else []
    if len(shape) != dimensions or len(content) != header + prod(shape):
        raise UserError(f"{path}: is no complete idx file of bytes in {dimensions} dimensions; copy the file again")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
