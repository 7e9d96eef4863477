"""From a study's data entry to a divided data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from bench.data.cifar import TorchvisionSource
from bench.data.dataset import Dataset, ImageSet, Source
from bench.data.digits import DigitsSource
from bench.data.folder import FolderSource
from bench.data.parquet import ParquetSource
from bench.data.splits import stratified_split
from bench.errors import UserError, suggest
from bench.identity import digest, named_seed
from bench.study import DataSpec, Normalisation, expand_path
from bench.types import DataFacts

NAMES = ("digits", "cifar10", "cifar100", "parquet:PATH", "folder:PATH")
#: Mean and standard deviation of all 50,000 training images.
CIFAR10 = Normalisation(mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616))
CIFAR100 = Normalisation(mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762))


@dataclass(frozen=True)
class _Opened:
    """A source with the defaults that belong to it, the study's own sizes applied."""

    source: Source
    normalisation: Normalisation | None
    calibration: int
    search: int
    draw_images: int
    draw_batch: int

    def hash(self) -> str:
        return digest(
            {
                "content": self.source.content_hash(),
                "calibration": self.calibration,
                "search": self.search,
                "normalisation": self.normalisation.model_dump() if self.normalisation else "measured",
            }
        )


def dataset_hash(spec: DataSpec, folder: Path) -> str:
    """SHA-256 of a data set's content, division and normalisation, without decoding its images.

    Raises
    ------
    UserError
        If there is no such data set, or its folder is absent or empty.
    """
    return _open(spec, folder).hash()


def data_facts(spec: DataSpec, folder: Path) -> DataFacts:
    """Return what `plan` needs of a data set, without decoding it.

    Raises
    ------
    UserError
        If there is no such data set, or its folder is absent, empty or unreadable.
    """
    opened = _open(spec, folder)
    facts = opened.source.facts()
    _check_sizes(spec, opened, facts.train)
    return DataFacts(
        hash=opened.hash(),
        image_size=facts.image_size,
        in_chans=facts.in_chans,
        num_classes=facts.num_classes,
        fit=facts.train - opened.calibration - opened.search,
        search=opened.search,
        test=facts.test,
        calibration_images=min(opened.draw_images, opened.calibration),
        calibration_batch=opened.draw_batch,
        calibration=opened.calibration,
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
        If there is no such data set, its folder is absent or empty, an image cannot be read, or nothing
        would be left to train on.

    Examples
    --------
    >>> digits = load_dataset(DataSpec(name="digits"), Path())
    >>> len(digits.fit), len(digits.calibration), len(digits.search), len(digits.test)
    (997, 250, 150, 400)
    """
    opened = _open(spec, folder)
    raw = opened.source.read()
    _check_sizes(spec, opened, len(raw.train))
    sizes = (opened.calibration, opened.search)
    identity = opened.hash()
    seed = named_seed("splits", identity)
    calibration, search, fit = (raw.train.subset(i) for i in stratified_split(raw.train.labels, sizes, seed))
    return Dataset(
        spec.name, identity, raw.classes,
        opened.normalisation or measure_normalisation(fit),
        fit, calibration, search, raw.test,
        calibration_images=min(opened.draw_images, len(calibration)),
        calibration_batch=opened.draw_batch,
    )  # fmt: skip


def _check_sizes(spec: DataSpec, opened: _Opened, available: int) -> None:
    if opened.calibration + opened.search >= available:
        raise UserError(
            f"data {spec.name!r}: of {available} training images none is left to fit after {opened.calibration} for "
            f"calibration and {opened.search} for search; set the entry's 'calibration' and 'search' lower"
        )


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
    if spec.path is not None and kind not in ("cifar10", "cifar100"):
        raise UserError(f"data {spec.name!r}: 'path' belongs to cifar10 and cifar100; remove it")
    calibration, search = (250, 150) if kind == "digits" else (5000, 2000)
    calibration, search = spec.calibration or calibration, spec.search or search
    if spec.name == "digits":
        return _Opened(DigitsSource(), None, calibration, search, 128, 32)
    source: Source
    normalisation = None
    if spec.name in ("cifar10", "cifar100"):
        local = spec.path and ParquetSource(expand_path(spec.path, folder))
        source = local or TorchvisionSource(spec.name, Path.home() / ".cache" / "prunebench")
        normalisation = CIFAR10 if spec.name == "cifar10" else CIFAR100
    elif kind in ("parquet", "folder") and place:
        path = expand_path(place, folder)
        source = ParquetSource(path) if kind == "parquet" else FolderSource(path)
    else:
        raise UserError(f"no data set named {spec.name!r}: {suggest(spec.name, NAMES)}")
    return _Opened(source, normalisation, calibration, search, 1024, 128)
