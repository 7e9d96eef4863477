"""Frozen records that travel between the stages, and the list of the axes of the grid; nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Granularity = Literal["weight", "channel", "head", "group"]
#: What a method is defined for that does not name it: the granularities whose units belong to a single layer.
OF_ONE_LAYER: tuple[Granularity, ...] = ("weight", "channel")
#: Type of a stored column; `bench.store.columns` has the database, Arrow and pandas type of each.
ColumnKind = Literal["text", "integer", "real", "boolean", "bytes"]
Stage = Literal["model", "calibration", "mask", "evaluation"]
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
class Axis:
    """One axis of the grid.

    Attributes
    ----------
    name : str
        Its column in the rows, and its name in exclusions, claims and reports.
    key : str
        Key of study.yaml that lists its values; ``calibration.draws`` is a key inside another one.
    stage : str
        What its values change first: the dense ``model``, the ``calibration`` draw, the ``mask``, or the ``evaluation``
        of the masked model. The cells of a group have the same ``model`` values.
    unit, meaning : str
        Of the column.
    kind : str
        Type of the column.
    plugin : bool
        Whether its values are plug-ins of the kind `name`.
    type : type
        Type of one value in study.yaml; a plug-in is a name or a mapping.
    limits : (float, float), optional
        Smallest valid value, and the value that all must be below.
    default : tuple, optional
        Values where study.yaml does not have the key; None if it must.
    varies_on_dense : bool
        Whether dense rows differ along the axis and an exclusion by it applies to them.
    on_dense
        Value on dense rows, for an axis inside a group along which they do not differ.
    newer : bool
        Whether the axis was added after the first release: at its default (one value) it is no part of any hash, so
        that the ids of earlier cells and studies stay valid.
    """

    name: str
    key: str
    stage: Stage
    unit: str
    meaning: str
    kind: ColumnKind = "text"
    plugin: bool = False
    type: Any = str
    limits: tuple[float, float] | None = None
    default: tuple[Any, ...] | None = None
    varies_on_dense: bool = False
    on_dense: Any = None
    newer: bool = False

    @property
    def heading(self) -> str:
        """Title of its column in a table for people."""
        return "Data set" if self.name == "dataset" else self.name.replace("_", " ").capitalize()

    @property
    def field(self) -> str:
        """Field of `Cell` that holds the value."""
        return "calibration" if self.stage == "calibration" else self.name

    @property
    def attribute(self) -> str | None:
        """Attribute of that field which is stored in the column; None if the field itself is."""
        if self.stage == "calibration":
            return self.name.removeprefix("calibration_")
        return "label" if self.plugin else None

    def is_omitted(self, value: Any) -> bool:
        """Whether hashes leave out this value: the default of a `newer` axis."""
        if not self.newer or self.default is None:
            return False
        plain = value.label if isinstance(value, Choice) else value
        return bool(plain == self.default[0])


DENSE = Choice("dense", label="dense")
NONE = Choice("none", label="none")

#: The axes in the order of their columns. Nothing else lists them: study.yaml, plan, rows and reports follow from here.
AXES: tuple[Axis, ...] = (
    Axis("dataset", "data", "model", "-", "data set label", varies_on_dense=True),
    Axis("model", "models", "model", "-", "model label; the architecture", varies_on_dense=True),
    Axis("train_seed", "train_seeds", "model", "-", "training seed; null for a single given checkpoint", "integer",
         varies_on_dense=True),
    Axis("calibration_draw", "calibration.draws", "calibration", "-", "number of the calibration draw", "integer",
         varies_on_dense=True),
    # Dense rows of every size and batch are kept, whatever is excluded: pruned rows are compared with them.
    Axis("calibration_images", "calibration.images", "calibration", "images", "size of the calibration draw",
         "integer"),
    Axis("calibration_batch", "calibration.batch", "calibration", "images", "calibration batch", "integer"),
    Axis("scorer", "scorers", "mask", "-", "scorer label; 'dense' for the unpruned reference", plugin=True,
         on_dense=DENSE),
    Axis("search", "searches", "mask", "-", "search label", plugin=True, default=("none",), on_dense=NONE),
    Axis("granularity", "granularities", "mask", "-", "weight, channel, head or group", type=Granularity,
         default=("weight",)),
    Axis("allocation", "allocations", "mask", "-", "allocation label", plugin=True, default=("uniform",)),
    Axis("sparsity", "sparsities", "mask", "fraction", "requested sparsity; null where the allocation sets it", "real",
         type=float, limits=(0, 1), on_dense=0.0),
    Axis("correction", "corrections", "evaluation", "-", "correction label", plugin=True, default=("none",),
         on_dense=NONE),
    Axis("recalibration", "recalibrations", "evaluation", "-", "recalibration label", plugin=True, default=("none",),
         varies_on_dense=True),
)  # fmt: skip

AXIS_NAMES: tuple[str, ...] = tuple(axis.name for axis in AXES)
#: Axes along which dense rows vary.
DENSE_AXES: frozenset[str] = frozenset(axis.name for axis in AXES if axis.varies_on_dense)
#: Axes whose values are plug-ins; the kind of the plug-in is the name of the axis.
PLUGIN_AXES: tuple[Axis, ...] = tuple(axis for axis in AXES if axis.plugin)
#: Axes that study.yaml lists under a key of their own and that vary inside a group.
GRID: tuple[Axis, ...] = tuple(axis for axis in AXES if axis.stage in ("mask", "evaluation"))

#: Value of each axis of the evaluation on rows without repair: its default.
UNREPAIRED: dict[str, Any] = {
    axis.name: axis.default[0] for axis in GRID if axis.stage == "evaluation" and axis.default
}
#: Values that dense rows have which pruned ones are compared with: without repair.
BASELINE: dict[str, Any] = {
    "scorer": DENSE.label,
    **{name: value for name, value in UNREPAIRED.items() if name in DENSE_AXES},
}


@dataclass(frozen=True)
class CalibrationSpec:
    """A calibration draw: its number, its size in images and the batch size."""

    draw: int
    images: int
    batch: int


@dataclass(frozen=True)
class DataFacts:
    """Facts of a data set that the plan requires, from its labels and image headers.

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
        return self.scorer.name == DENSE.name

    def methods(self) -> dict[str, Choice | None]:
        """Return the cell's methods by kind."""
        return {
            "scorer": self.scorer, "search": self.search, "allocation": self.allocation,
            "correction": self.correction, "recalibration": self.recalibration,
        }  # fmt: skip


@dataclass(frozen=True)
class Group:
    """The cells that share one dense model.

    `source` is the digest that its random streams depend on in addition to data, model and train seed: that of the
    registration, for a given checkpoint of a registered study (`bench.store.registration`), otherwise None.
    """

    id: str
    dataset: str
    model: str
    train_seed: int | None
    cells: tuple[Cell, ...]
    source: str | None = None


@dataclass(frozen=True)
class Settings:
    """Execution settings, chosen once per study and reused by every resume.

    `passes` is how evaluations call the network: ``single``, one model after the other; ``graph``, the same as CUDA
    graphs; ``stacked``, small networks many at once. `measured` has the images per second of each candidate; it is
    empty where nothing was timed.
    """

    precision: str
    memory_format: str
    batch: int
    device: str
    threads: int
    device_class: str = "cpu"
    passes: str = "single"
    measured: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """Outcome of one cell: its state and the values of its row."""

    cell: Cell
    state: State
    values: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
    traceback: str | None = None


@dataclass(frozen=True)
class Check:
    """A second evaluation of a cell: `kind` is ``shared`` (same mask) or ``float32``."""

    cell: Cell
    kind: CheckKind
    accuracy: float
    mismatches: int
