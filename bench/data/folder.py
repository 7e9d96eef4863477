"""Folders of image files, one subfolder per class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from bench.data.dataset import Facts, ImageSet, Raw
from bench.data.decode import decode_images
from bench.errors import UserError
from bench.identity import digest, file_digest

TEST_FOLDERS = ("test", "val", "validation")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})


@dataclass(frozen=True)
class FolderSource:
    """``train/CLASS/*.png`` and ``test/CLASS/*.png`` (or ``val``, ``validation``) under one folder.

    Classes are numbered by the alphabet; files that are no images by their suffix are left alone.
    """

    folder: Path

    def facts(self) -> Facts:
        """Count files and classes; the first image tells the size."""
        train, test, classes = self._parts()
        image = decode_images([(str(train[0]), train[0].read_bytes())])
        return Facts((image.shape[2], image.shape[3]), image.shape[1], len(classes), len(train), len(test))

    def content_hash(self) -> str:
        """SHA-256 over class names and files, in the order of their names."""
        train, test, _ = self._parts()
        return digest([[[file.parent.name, file_digest(file)] for file in files] for files in (train, test)])

    def read(self) -> Raw:
        """Decode all files.

        Raises
        ------
        UserError
            Naming the file or folder at fault.
        """
        train, test, classes = self._parts()
        number = {name: label for label, name in enumerate(classes)}
        files = [*train, *test]
        images = decode_images((str(file), file.read_bytes()) for file in files)
        labels = torch.tensor([number[file.parent.name] for file in files])
        n = len(train)
        return Raw(ImageSet(images[:n], labels[:n]), ImageSet(images[n:], labels[n:]), tuple(classes))

    def _parts(self) -> tuple[list[Path], list[Path], list[str]]:
        """Return the files for training and for the test, and the classes."""
        train, test = self._files("train"), self._files(self._test_folder())
        classes = sorted({file.parent.name for file in train})
        for file in test:
            if file.parent.name not in classes:
                raise UserError(f"{file.parent}: is no class of the training images: {', '.join(classes)}")
        return train, test, classes

    def _test_folder(self) -> str:
        for name in TEST_FOLDERS:
            if (self.folder / name).is_dir():
                return name
        raise UserError(f"data folder {self.folder}: has no test images; expected test/CLASS/*.png")

    def _files(self, part: str) -> list[Path]:
        root = self.folder / part
        if not root.is_dir():
            raise UserError(f"data folder {root}: there is no such folder; expected {part}/CLASS/*.png")
        files = sorted(file for file in root.glob("*/*") if file.suffix.lower() in SUFFIXES and file.is_file())
        if not files:
            raise UserError(f"data folder {root}: has no images; expected {part}/CLASS/*.png")
        return files
