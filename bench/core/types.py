"""Frozen records that travel between the stages; nothing here knows torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Granularity = Literal["weight", "channel"]
State = Literal["done", "failed", "skipped", "running"]
CheckKind = Literal["shared", "float32"]


@dataclass(frozen=True)
class Choice:
    """One axis value: a plug-in's name with every option resolved.

    Attributes
    ----------
    name : str
        Catalogue name, ``package.module:function`` or ``./file.py:function``.
    options : mapping
        All options, defaults included; part of the cell's identity.
    label : str
        Name plus the options that differ from their defaults, for people.
    version : int or str
        Catalogue number, or the SHA-256 of a user's source file.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    version: int | str = 1

    def identity(self) -> dict[str, Any]:
        """Return the part of the cell's identity that this choice makes up."""
        return {"name": self.name, "options": dict(self.options), "version": self.version}


@dataclass(frozen=True)
class CalibrationSpec:
    """A calibration draw: which one, how many images, in batches of how many."""

    draw: int
    images: int
    batch: int


@dataclass(frozen=True)
class DataFacts:
    """What the plan must know of a data set, from its labels and image headers.

    Attributes
    ----------
    hash : str
        Content hash, division included.
    image_size : tuple of int
        Height and width in pixels.
    in_chans, num_classes, fit, search, test : int
        Channels, classes, images to train on, to search fusion weights on, and to test on.
    calibration_images, calibration_batch : int
        Default size and batch of a calibration draw.
    calibration : int
        Images to draw from.
    notes : tuple of str
        What the user should know about how the data set is read.
    chance : float
        Share of the largest class of the test split: the accuracy of always predicting it; 0 where it is not known.
    """

    hash: str
    image_size: tuple[int, int]
    in_chans: int
    num_classes: int
    fit: int
    search: int
    test: int
    calibration_images: int
    calibration_batch: int
    calibration: int
    notes: tuple[str, ...] = ()
    chance: float = 0.0


@dataclass(frozen=True)
class Cell:
    """One point of the grid; `sparsity` is None where the allocation sets it."""

    id: str
    group: str
    position: int
    dataset: str
    model: str
    train_seed: int | None
    calibration: CalibrationSpec
    scorer: Choice
    search: Choice
    granularity: Granularity | None
    allocation: Choice | None
    sparsity: float | None
    correction: Choice
    recalibration: Choice
    precision: str
    skip: str | None = None

    @property
    def is_dense(self) -> bool:
        """Whether this is a reference row of the unpruned model."""
        return self.scorer.name == "dense"

    def methods(self) -> dict[str, Choice | None]:
        """Return the cell's methods by kind."""
        return {
            "scorer": self.scorer, "search": self.search, "allocation": self.allocation,
            "correction": self.correction, "recalibration": self.recalibration,
        }  # fmt: skip


@dataclass(frozen=True)
class Group:
    """The cells that share one dense model."""

    id: str
    dataset: str
    model: str
    train_seed: int | None
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Settings:
    """Execution settings, chosen once per study and reused by every resume.

    `measured`, the images per second of each candidate, says why they were chosen; empty where nothing was timed.
    """

    precision: str
    memory_format: str
    batch: int
    device: str
    threads: int
    device_class: str = "cpu"
    measured: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of one cell: its state and the values of its row."""

    cell: Cell
    state: State
    values: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
    traceback: str | None = None


@dataclass(frozen=True)
class Check:
    """A cell really evaluated again: `kind` is ``shared`` (same mask) or ``float32``."""

    cell: Cell
    kind: CheckKind
    accuracy: float
    mismatches: int
