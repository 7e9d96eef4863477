"""Folders of image files, one subfolder per class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bench.core.errors import UserError
from bench.core.identity import digest, file_digest
from bench.data.dataset import Facts, Raw
from bench.data.decode import decode_images, read_headers
from bench.data.labels import listed

TEST_FOLDERS = ("test", "val", "validation")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})
#: What file managers and archives leave behind, in lower case; other hidden names begin with a dot.
HIDDEN = frozenset({"__macosx", "thumbs.db", "desktop.ini"})


@dataclass(frozen=True)
class FolderSource:
    """``train/CLASS/*.png`` and ``test/CLASS/*.png`` (or ``val``, ``validation``) under one folder.

    Classes are numbered in alphabetical order. Hidden files and folders are ignored; other files that have no
    suffix of an image are not read, and a note counts them.
    """

    folder: Path

    def facts(self) -> Facts:
        """List files and classes and read the headers of all images.

        Raises
        ------
        UserError
            Naming the file or folder at fault.
        """
        train, test = self._parts()
        classes = sorted(train.images)
        headers = read_headers(_contents([*train.files(), *test.files()]))
        notes = list(headers.notes)
        if unread := [*train.unread, *test.unread]:
            notes.append(
                f"files and folders that are not read: {len(unread)}, first {unread[0]}; an image lies directly in the "
                f"folder of its class and has one of the suffixes {listed(sorted(SUFFIXES))}"
            )
        return Facts(
            headers.image_size, headers.in_chans, tuple(classes), train.labels(classes), test.labels(classes),
            {"orientation": "exif"} if headers.rotated else {}, tuple(notes),
        )  # fmt: skip

    def content_hash(self) -> str:
        """SHA-256 over class names and files, in the order of their names."""
        parts = [part.files() for part in self._parts()]
        return digest([[[file.parent.name, file_digest(file)] for file in files] for files in parts])

    def read(self) -> Raw:
        """Decode all files.

        Raises
        ------
        UserError
            Naming the file or folder at fault.
        """
        train, test = self._parts()
        return Raw.of(self.facts(), decode_images(_contents([*train.files(), *test.files()])))

    def _parts(self) -> tuple[_Part, _Part]:
        train, test = _list_part(self.folder, "train"), _list_part(self.folder, self._test_folder())
        for name, files in train.images.items():
            if not files:
                raise UserError(
                    f"{self.folder / 'train' / name}: has no images ({listed(sorted(SUFFIXES))}) directly in it; every "
                    f"folder in train is a class: add images or remove the folder"
                )
        for name in [name for name, files in test.images.items() if files]:
            if name not in train.images:
                raise UserError(
                    f"{self.folder / self._test_folder() / name}: is no class of the training images: "
                    f"{listed(sorted(train.images))}"
                )
        return train, test

    def _test_folder(self) -> str:
        for name in TEST_FOLDERS:
            if (self.folder / name).is_dir():
                return name
        raise UserError(f"data folder {self.folder}: has no test images; expected test/CLASS/*.png")


@dataclass(frozen=True)
class _Part:
    """Image files of the train or test folder by class, in the order of their names, and what is not read."""

    images: dict[str, list[Path]]
    unread: list[Path]

    def files(self) -> list[Path]:
        return [file for files in self.images.values() for file in files]

    def labels(self, classes: list[str]) -> Tensor:
        number = {name: label for label, name in enumerate(classes)}
        return torch.tensor([number[file.parent.name] for file in self.files()])


def _list_part(folder: Path, part: str) -> _Part:
    root = folder / part
    if not root.is_dir():
        raise UserError(f"data folder {root}: there is no such folder; expected {part}/CLASS/*.png")
    found = _Part({}, [])
    for entry in _visible(root):
        if not entry.is_dir():
            found.unread.append(entry)
            continue
        images = found.images.setdefault(entry.name, [])
        for file in _visible(entry):
            is_image = file.suffix.lower() in SUFFIXES and file.is_file()
            (images if is_image else found.unread).append(file)
    if not found.files():
        raise UserError(f"data folder {root}: has no images; expected {part}/CLASS/*.png")
    return found


def _visible(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if not path.name.startswith(".") and path.name.lower() not in HIDDEN
    )


def _contents(files: list[Path]) -> Iterator[tuple[str, bytes]]:
    return ((str(file), file.read_bytes()) for file in files)
