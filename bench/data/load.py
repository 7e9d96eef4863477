"""From a study's data entry to a divided data set."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from bench.core.errors import UserError, suggest
from bench.core.identity import digest, named_seed
from bench.core.types import DataFacts
from bench.data.cifar import TorchvisionSource
from bench.data.dataset import Dataset, Facts, ImageSet, Source
from bench.data.digits import DigitsSource
from bench.data.fashion_mnist import FILES, DownloadedSource, IdxSource
from bench.data.folder import FolderSource
from bench.data.labels import listed
from bench.data.parquet import CIFAR100_LABELS, ParquetSource
from bench.data.splits import stratified_split
from bench.study.spec import DataSpec, Limit, Normalisation, expand_path

NAMES = ("digits", "cifar10", "cifar100", "fashion_mnist", "parquet:PATH", "folder:PATH")
#: Mean and standard deviation of all official training images.
PUBLISHED = {
    "cifar10": Normalisation(mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)),
    "cifar100": Normalisation(mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762)),
    "fashion_mnist": Normalisation(mean=(0.2860,), std=(0.3530,)),
}


@dataclass(frozen=True)
class _Opened:
    """A source with the defaults that belong to it, the study's own sizes applied."""

    source: Source
    normalisation: Normalisation | None
    calibration: int
    search: int
    draw_images: int
    draw_batch: int

    def hash(self, content: str, facts: Facts, limit: Limit | None) -> str:
        parts: dict[str, Any] = {
            "content": content,
            "calibration": self.calibration,
            "search": self.search,
            "normalisation": self.normalisation.model_dump() if self.normalisation else "measured",
        }
        # only where they are set: an older data set keeps its identity
        if facts.variant:
            parts["variant"] = dict(facts.variant)
        if limit is not None:
            parts["limit"] = limit.model_dump(exclude_none=True)
        return digest(parts)


@dataclass(frozen=True)
class _Division:
    """Identity of a data set, and which images of its official train and test sets are in each split.

    Attributes
    ----------
    fit, calibration, search : Tensor
        Indices into the official training images, int64, ascending.
    test : Tensor or None
        Indices into the official test images; None for all of them.
    notes : tuple of str
        What the user should know about the classes.
    """

    hash: str
    fit: Tensor
    calibration: Tensor
    search: Tensor
    test: Tensor | None
    notes: tuple[str, ...]


def dataset_hash(spec: DataSpec, folder: Path) -> str:
    """SHA-256 of a data set's content, division and normalisation, without decoding its images.

    Raises
    ------
    UserError
        If there is no such data set, or its folder is absent, empty or unreadable.
    """
    opened = _open(spec, folder)
    return opened.hash(opened.source.content_hash(), opened.source.facts(), spec.limit)


def data_facts(spec: DataSpec, folder: Path) -> DataFacts:
    """Return what `plan` needs of a data set, from its labels and image headers.

    Raises
    ------
    UserError
        If there is no such data set, its folder is absent, empty or unreadable, or its images or classes cannot be
        used.
    """
    opened = _open(spec, folder)
    facts = opened.source.facts()
    division = _divide(spec, opened, facts)
    tested = facts.test_labels if division.test is None else facts.test_labels[division.test]
    return DataFacts(
        hash=division.hash,
        image_size=facts.image_size,
        in_chans=facts.in_chans,
        num_classes=facts.num_classes,
        fit=len(division.fit),
        search=len(division.search),
        test=len(tested),
        calibration_images=min(opened.draw_images, opened.calibration),
        calibration_batch=opened.draw_batch,
        calibration=opened.calibration,
        notes=(*facts.notes, *division.notes),
        chance=int(torch.bincount(tested).max()) / len(tested),
    )


def load_dataset(spec: DataSpec, folder: Path) -> Dataset:
    """Read a data set and divide its training images into fit, calibration and search.

    Parameters
    ----------
    spec : DataSpec
        Entry of study.yaml.
    folder : Path
        Study folder, where relative paths start.

    Raises
    ------
    UserError
        If there is no such data set, its folder is absent or empty, an image cannot be read, its classes cannot be
        used, or nothing would be left to train on.

    Examples
    --------
    >>> digits = load_dataset(DataSpec(name="digits"), Path())
    >>> len(digits.fit), len(digits.calibration), len(digits.search), len(digits.test)
    (997, 250, 150, 400)
    """
    opened = _open(spec, folder)
    raw = opened.source.read()
    division = _divide(spec, opened, raw.facts)
    calibration, search, fit = map(raw.train.subset, (division.calibration, division.search, division.fit))
    return Dataset(
        spec.name, division.hash, raw.classes,
        opened.normalisation or measure_normalisation(fit),
        fit, calibration, search, raw.test if division.test is None else raw.test.subset(division.test),
        calibration_images=min(opened.draw_images, len(calibration)),
        calibration_batch=opened.draw_batch,
    )  # fmt: skip


def _divide(spec: DataSpec, opened: _Opened, facts: Facts) -> _Division:
    """Check classes and sizes, apply the limit and divide the training images."""
    place = f"data {spec.title!r}"
    if opened.normalisation is not None and facts.in_chans != len(opened.normalisation.mean):
        channels = f"{facts.in_chans} channel{'s' if facts.in_chans > 1 else ''}"
        raise UserError(
            f"{place}: the images of {spec.path} have {channels}, those of {spec.name} have "
            f'{len(opened.normalisation.mean)}; use `name: "parquet:{spec.path}"`'
        )
    if facts.num_classes < 2:
        raise UserError(f"{place}: has one class, {listed(facts.classes)}; expected images of at least two classes")
    _refuse_missing(f"{place}: the training images lack", facts, facts.train_labels, "add images of them, or remove "
                    "their names")  # fmt: skip
    content = opened.source.content_hash()
    train_limit, test_limit = (spec.limit.train, spec.limit.test) if spec.limit else (None, None)
    train = _limited(place, "train", train_limit, facts, content)
    test = _limited(place, "test", test_limit, facts, content)
    labels = facts.train_labels if train is None else facts.train_labels[train]
    if opened.calibration + opened.search >= len(labels):
        raise UserError(
            f"{place}: of {len(labels)} training images none is left to fit after {opened.calibration} for "
            f"calibration and {opened.search} for search; set the entry's 'calibration' and 'search' lower"
        )
    identity = opened.hash(content, facts, spec.limit)
    parts = stratified_split(labels, (opened.calibration, opened.search), named_seed("splits", identity))
    _refuse_missing(f"{place}: the {len(parts[2])} training images that are left to fit lack", facts, labels[parts[2]],
                    "set the entry's 'calibration' and 'search' lower, or add images")  # fmt: skip
    calibration, search, fit = parts if train is None else [train[part] for part in parts]
    tested = facts.test_labels if test is None else facts.test_labels[test]
    absent = _missing(facts, tested)
    notes = (f"the test images lack {absent}; the accuracy is that of the other classes",) if absent else ()
    return _Division(identity, fit, calibration, search, test, notes)


def _missing(facts: Facts, labels: Tensor) -> str:
    """Name the classes that have no image, or return an empty text."""
    counts = torch.bincount(labels, minlength=facts.num_classes).tolist()
    absent = [repr(name) for name, count in zip(facts.classes, counts, strict=True) if count == 0]
    return f"{'class' if len(absent) == 1 else 'classes'} {listed(absent)}" if absent else ""


def _refuse_missing(what: str, facts: Facts, labels: Tensor, remedy: str) -> None:
    if absent := _missing(facts, labels):
        raise UserError(f"{what} {absent}; {remedy}")


def _limited(
    place: str, part: Literal["train", "test"], limit: int | None, facts: Facts, content: str
) -> Tensor | None:
    """Draw a stratified subset of the official train or test images; None stands for all of them."""
    if limit is None:
        return None
    labels = facts.train_labels if part == "train" else facts.test_labels
    if limit < facts.num_classes:
        problem = f"is less than the {facts.num_classes} classes"
    elif limit > len(labels):
        problem = f"is more than the {len(labels)} {part} images"
    else:
        seed = named_seed("limit", part, content)

        def draw(size: int) -> Tensor:
            return stratified_split(labels, (size,), seed)[0]

        chosen = draw(limit)
        if part == "train" and (absent := _missing(facts, labels[chosen])):
            # a smaller subset is part of a larger one
            enough = bisect_left(
                range(len(labels)), facts.num_classes, key=lambda n: len(set(labels[draw(n)].tolist()))
            )
            raise UserError(f"{place}: limit.train {limit} leaves no image of {absent}; write at least {enough}")
        return chosen
    raise UserError(f"{place}: limit.{part} {limit} {problem}; write {facts.num_classes} to {len(labels)}")


def measure_normalisation(images: ImageSet) -> Normalisation:
    """Mean and standard deviation per channel over images and pixels, scaled to [0, 1].

    A constant channel gets the standard deviation of one grey level.
    """
    levels = torch.arange(256, dtype=torch.float64) / 255
    # 256 counts per channel say as much as all pixels in float64, which may not fit in memory
    shares = torch.stack(
        [torch.bincount(channel.reshape(-1), minlength=256) for channel in images.images.unbind(dim=1)]
    ).double()
    shares /= shares.sum(dim=1, keepdim=True)
    mean = shares @ levels
    variance = (shares * (levels - mean[:, None]) ** 2).sum(dim=1)
    return Normalisation(mean=tuple(mean.tolist()), std=tuple(variance.sqrt().clamp(min=1 / 255).tolist()))


def _open(spec: DataSpec, folder: Path) -> _Opened:
    kind, _, place = spec.name.partition(":")
    named = kind in PUBLISHED
    if spec.path is not None and not named:
        raise UserError(f"data {spec.name!r}: 'path' belongs to {listed(PUBLISHED)}; remove it")
    if spec.labels is not None and not named and kind != "parquet":
        raise UserError(f"data {spec.name!r}: 'labels' belongs to cifar100 and to Parquet folders; remove it")
    if spec.labels is None and spec.label in CIFAR100_LABELS:
        raise UserError(
            f"data {spec.name!r}: 'label' is the name in tables and does not choose the labels; write "
            f"`labels: {spec.label}`, or choose another name"
        )
    calibration, search = (250, 150) if kind == "digits" else (5000, 2000)
    calibration, search = spec.calibration or calibration, spec.search or search
    if spec.name == "digits":
        return _Opened(DigitsSource(), None, calibration, search, 128, 32)
    source: Source
    if spec.name in PUBLISHED:
        source = _published(spec, expand_path(spec.path, folder) if spec.path else None)
    elif kind in ("parquet", "folder") and place:
        path = expand_path(place, folder)
        source = ParquetSource(path, spec.labels) if kind == "parquet" else FolderSource(path)
    else:
        raise UserError(f"no data set named {spec.name!r}: {suggest(spec.name, NAMES)}")
    return _Opened(source, PUBLISHED.get(spec.name), calibration, search, 1024, 128)


def _published(spec: DataSpec, path: Path | None) -> Source:
    """Return a data set with a name of its own, from a local copy or from torchvision."""
    idx = IdxSource.find(path) if path and spec.name == "fashion_mnist" else None
    if path and idx is None:
        if spec.name == "fashion_mnist" and path.is_dir() and not any(path.glob("*.parquet")):
            raise UserError(f"data folder {path}: expected {listed(FILES)} (or with .gz), or a Parquet folder")
        return ParquetSource(path, spec.labels)
    downloads = Path.home() / ".cache" / "prunebench"
    if spec.name != "fashion_mnist":
        return TorchvisionSource(spec.name, downloads, spec.labels)
    if spec.labels is not None:
        raise UserError(f"data {spec.name!r}: 'labels' belongs to cifar100 and to Parquet folders; remove it")
    return idx or DownloadedSource(downloads)
