"""study.yaml -> a frozen, validated Study: what to run, every default resolved."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model, field_validator, model_validator

from bench.core.errors import UserError, suggest
from bench.core.identity import digest
from bench.core.types import AXIS_NAMES, GRID, Axis, CalibrationSpec
from bench.store.places import home
from bench.store.registration import derived_seed

STUDY_FILE = "study.yaml"
MOST_SEEDS = 10_000


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Normalisation(_Frozen):
    """Per-channel mean and standard deviation of inputs scaled to [0, 1]."""

    mean: tuple[Annotated[float, Field(allow_inf_nan=False)], ...]
    std: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...]

    @field_validator("mean")
    @classmethod
    def _scaled(cls, mean: tuple[float, ...]) -> tuple[float, ...]:
        for value in mean:
            if not 0 <= value <= 1:
                hint = f"; values of 0 to 255 are divided by 255: write {value / 255:.4g}" if 1 < value <= 255 else ""
                raise ValueError(f"{value:g} is no mean of inputs scaled to [0, 1]{hint}")
        return mean

    @property
    def shown(self) -> str:
        """The values as a study would write them, rounded to four digits.

        Examples
        --------
        >>> Normalisation(mean=(0.5,), std=(0.123456,)).shown
        '{mean: [0.5], std: [0.1235]}'
        """
        mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (self.mean, self.std))
        return f"{{mean: [{mean}], std: [{std}]}}"


class FoundNormalisation(Normalisation):
    """A normalisation that the study does not give, with the `source` of its values."""

    source: str = Field(exclude=True)


class Recipe(_Frozen):
    """How a dense model is trained: one-cycle schedule, cross-entropy with label smoothing."""

    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="sgd has Nesterov momentum")
    epochs: int = Field(30, ge=1, description="passes over the fit split; the last epoch is the result")
    batch: int = Field(
        128, ge=1, description="images per step, at most the fit split; an incomplete last batch is left out"
    )
    lr: float = Field(3e-3, gt=0, description="peak learning rate of the one-cycle schedule")
    weight_decay: float = Field(
        0.05, ge=0, description="of parameters with two or more dimensions: not of biases and normalisation"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd; adamw ignores it")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="share of each label spread over all classes")
    augmentation: Literal["none", "shift", "crop_flip"] = Field(
        "none",
        description="shift: random shifts over a black border; crop_flip: shifts, and half of the images mirrored",
    )
    shift: int = Field(1, ge=0, description="largest shift in pixels, in each direction, under augmentation")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of the forward pass: bfloat16 is autocast, parameters and updates stay in float32"
    )


class Limit(_Frozen):
    """Sizes of stratified subsets of the official train and test images; all of them where a size is not given."""

    train: int | None = Field(None, ge=2)
    test: int | None = Field(None, ge=2)

    @model_validator(mode="before")
    @classmethod
    def _not_empty(cls, value: Any) -> Any:
        if not isinstance(value, cls) and (not isinstance(value, dict) or all(size is None for size in value.values())):
            raise ValueError("expected 'train', 'test' or both; write limit: {train: 5000, test: 1000}")
        return value


class DataSpec(_Frozen):
    """A data set: `digits`, `cifar10`, `cifar100`, `fashion_mnist`, ``parquet:PATH`` or ``folder:PATH``."""

    name: str
    label: str | None = None
    path: str | None = Field(
        None,
        description="a local copy of cifar10 or cifar100 (Parquet folder), or of fashion_mnist (Parquet folder or idx "
        "files); ${VAR} allowed",
    )
    calibration: int | None = Field(None, ge=1, description="images in the calibration split")
    search: int | None = Field(None, ge=1, description="images in the search split")
    labels: str | None = Field(
        None,
        min_length=1,
        description="column of the labels of a Parquet folder; fine_label or coarse_label of cifar100",
    )
    limit: Limit | None = Field(None, description="use a stratified subset of the official train or test images")

    @property
    def title(self) -> str:
        """Label shown in tables."""
        return self.label or self.name


class ModelSpec(_Frozen):
    """A network: one of ours, any timm name, or ``package.module:function``."""

    name: str
    label: str | None = None
    args: dict[str, Any] = Field(default_factory=dict, description="arguments of the constructor")
    checkpoint: str | None = Field(None, description="weights to load, a path or fsspec URL; ${VAR} and {seed} allowed")
    normalisation: Normalisation | Literal["dataset"] | None = Field(
        None,
        description="of the inputs: 'dataset' or mean and std; default: the data set's for a model that is trained, "
        "the file's own or timm's for a checkpoint; required for other checkpoints",
    )
    recipe: dict[str, Any] = Field(
        default_factory=dict,
        description="overrides of the model's own recipe; `prunebench list recipes` lists its keys",
    )
    train_overlap: Literal["no", "yes", "unknown"] | None = Field(
        None, description="whether a given checkpoint saw our held-out splits; default unknown"
    )
    exclude: tuple[str, ...] = Field(("head",), description="'head', 'stem' or name patterns left dense")
    expected_accuracy: float | None = Field(
        None,
        description="of the dense model, in percentage points, such as 92.6; a warning is shown where it is missed by "
        "more than one point",
        json_schema_extra={"exclusiveMinimum": 1, "maximum": 100},
    )

    @field_validator("expected_accuracy")
    @classmethod
    def _in_points(cls, value: float | None) -> float | None:
        if value is None or 1 < value <= 100:
            return value
        if 0 < value <= 1:  # files of earlier versions have fractions
            raise ValueError(f"{value:g} is a fraction; write {100 * value:g}, in percentage points")
        raise ValueError(f"{value:g} is not an accuracy above 1 and up to 100, in percentage points; write 92.6")

    @field_validator("normalisation", mode="before")
    @classmethod
    def _named_dataset(cls, value: Any) -> Any:
        if value not in (None, "dataset") and not isinstance(value, (dict, Normalisation)):
            raise ValueError("write `dataset`, for the data set's own values, or {mean: [...], std: [...]}")
        return value

    @property
    def given_normalisation(self) -> Normalisation | None:
        """The values that the entry gives itself; None where the data set's are used."""
        return self.normalisation if isinstance(self.normalisation, Normalisation) else None

    @property
    def title(self) -> str:
        """Label shown in tables."""
        return self.label or self.name

    @property
    def seeded(self) -> bool:
        """Whether there is one dense model per train seed."""
        return self.checkpoint is None or "{seed}" in self.checkpoint


class Calibration(_Frozen):
    """Calibration draws; `images` and `batch` may be lists, which are then axes."""

    draws: int = Field(1, ge=1)
    images: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    batch: tuple[Annotated[int, Field(ge=1)], ...] | None = None

    @field_validator("images", "batch", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int) else value


class Execution(_Frozen):
    """Execution settings; ``auto`` is decided at the first run and then kept."""

    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "float32", description="of evaluations; auto: bfloat16 for inputs of 32 pixels and more, if clearly faster"
    )
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    batch: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    threads: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = "auto"
    passes: Literal["auto", "single", "graph", "stacked"] = Field(
        "auto",
        description="how evaluations call a network: single, one model after the other; graph, the same as CUDA graphs "
        "(GPU); stacked, many small networks at once; auto: single on a CPU, on a GPU another one if clearly faster",
    )


class Exclusion(_Frozen):
    """Cells left out: all those where every key of `where` matches.

    A value is a name or label, a list of them, or ``{not: ...}``.
    """

    name: str
    where: dict[str, Any] = Field(json_schema_extra={"propertyNames": {"enum": list(AXIS_NAMES)}})

    @field_validator("where")
    @classmethod
    def _known_axes(cls, where: dict[str, Any]) -> dict[str, Any]:
        for key in where:
            if key not in AXIS_NAMES:
                raise ValueError(f"no axis {key!r}: {suggest(key, AXIS_NAMES)}")
        return where


PluginEntry: TypeAlias = str | dict[str, Any]


def _listed(value: Any) -> Any:
    """Let one value stand for a list of one."""
    return value if isinstance(value, (list, tuple)) else (value,)


def _axis_field(axis: Axis) -> tuple[Any, Any]:
    """Return the type and default of the key of study.yaml that lists the values of an axis."""
    one: Any = PluginEntry if axis.plugin else axis.type
    if axis.limits is not None:
        one = Annotated[one, Field(ge=axis.limits[0], lt=axis.limits[1])]
    default = ... if axis.default is None else axis.default
    return Annotated[tuple[one, ...], BeforeValidator(_listed)], Field(default, min_length=1)


# The keys of the axes inside a group: `Study.values` has what a file gives for them.
if TYPE_CHECKING:
    _AxisKeys = _Frozen
else:
    _AxisKeys = create_model("_AxisKeys", __base__=_Frozen, **{axis.key: _axis_field(axis) for axis in GRID})


class StudyFile(_AxisKeys):
    """The schema of study.yaml."""

    name: str
    description: str = ""
    data: tuple[DataSpec, ...] = Field(min_length=1)
    models: tuple[ModelSpec, ...] = Field(min_length=1)
    train_seeds: tuple[int, ...] = Field(tuple(range(10)), min_length=1, description="a count or a list")
    calibration: Calibration = Calibration()
    exclude: tuple[Exclusion, ...] = ()
    execution: Execution = Execution()
    stop_after_failures: int = Field(20, ge=1, description="identical failures after which the run stops")
    profiles: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @field_validator("data", "models", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        values = value if isinstance(value, (list, tuple)) else [value]
        return [{"name": v} if isinstance(v, str) else v for v in values]

    @field_validator("train_seeds", mode="before")
    @classmethod
    def _counted(cls, value: Any) -> Any:
        if not isinstance(value, int) or isinstance(value, bool):
            return value
        if value > MOST_SEEDS:
            raise ValueError(f"more than {MOST_SEEDS:,} independently trained models")
        return tuple(range(value))


@dataclass(frozen=True)
class Study:
    """A study whose axes are resolved.

    Attributes
    ----------
    folder : Path
        Study folder; paths in the file are relative to it.
    file : StudyFile
        The validated file, profile applied.
    profile : str or None
        Name of the profile that was applied.
    values : mapping
        Axis inside a group (`bench.core.types.GRID`) -> its values; those of a plug-in axis are a `Choice` each.
    seed_source : str or None
        Digest from which the seeds of a registered study are derived; None if the study is not registered.
    """

    folder: Path
    file: StudyFile
    profile: str | None
    values: Mapping[str, tuple[Any, ...]]
    seed_source: str | None = None

    def train_seeds(self, model: ModelSpec) -> list[tuple[int | None, int | None]]:
        """Return the seeds of a model in the order of the file: as written there, and as used.

        Those of a given checkpoint are as written, since they name its files.
        """
        if not model.seeded:
            return [(None, None)]
        if model.checkpoint is not None or self.seed_source is None:
            return [(seed, seed) for seed in self.file.train_seeds]
        return [(seed, derived_seed(self.seed_source, "train", seed)) for seed in self.file.train_seeds]

    def draws(self) -> list[tuple[int, int]]:
        """Return the calibration draws: their number from 0, and the number that their random streams depend on."""
        numbers = range(self.file.calibration.draws)
        if self.seed_source is None:
            return [(number, number) for number in numbers]
        return [(number, derived_seed(self.seed_source, "calibration", number)) for number in numbers]

    def resolved(self) -> dict[str, Any]:
        """Return the whole study as plain JSON values, defaults included."""
        plain = self.file.model_dump(mode="json", exclude={"profiles"})
        for entry in plain["data"]:
            for key in ("labels", "limit"):  # newer keys: a study that does not use them keeps its hash
                if entry[key] is None:
                    del entry[key]
        for model in plain["models"]:
            if model["expected_accuracy"] is None:  # studies from before this key keep their hash
                del model["expected_accuracy"]
        for axis in GRID:
            values = self.values[axis.name]
            if all(axis.is_omitted(value) for value in values):
                del plain[axis.key]
            elif axis.plugin:
                plain[axis.key] = [choice.identity() for choice in values]
        return plain

    def digest(self) -> str:
        """Return the SHA-256 of `resolved`, equal for equal studies.

        Notes
        -----
        It leaves out `expected_accuracy`, which no result depends on. A file without ``execution.precision`` is hashed
        as if it had ``auto``, the default of earlier versions: so stores, registrations and reports of these versions
        keep their hash. The precision that a store was begun with is compared apart from the hash
        (`bench.run.settings.keep_settings`, `bench.store.merge`).
        """
        plain = self.resolved()
        for model in plain["models"]:
            model.pop("expected_accuracy", None)
        if "precision" not in self.file.execution.model_fields_set:
            plain["execution"]["precision"] = "auto"
        if plain["execution"]["passes"] == "auto":  # studies from before this key keep their hash
            del plain["execution"]["passes"]
        return digest(plain)

    def calibration_specs(self, default_images: int, default_batch: int) -> tuple[CalibrationSpec, ...]:
        """Return the calibration axis, with the data set's defaults filled in."""
        c = self.file.calibration
        return tuple(
            CalibrationSpec(draw, images, batch)
            for images in c.images or (default_images,)
            for batch in c.batch or (default_batch,)
            for _, draw in self.draws()
        )


def expand_path(text: str, folder: Path) -> Path:
    """Expand ``${VAR}`` and ``~`` in a path of a study; a relative one starts at the study folder.

    Raises
    ------
    UserError
        If a variable is not set.
    """
    return folder / home(_with_variables(text))


def expand_place(text: str, folder: Path) -> str:
    """Do as `expand_path` where `text` may also be a URL, which stays as it is but for its variables."""
    url = _with_variables(text)
    return url if "://" in url else str(expand_path(text, folder))


def _with_variables(text: str) -> str:
    missing = [name for name in re.findall(r"\$\{(\w+)\}", text) if name not in os.environ]
    if missing:
        raise UserError(f"path {text!r}: the environment variable {missing[0]} is not set; set it to the folder meant")
    return re.sub(r"\$\{(\w+)\}", lambda m: os.environ[m.group(1)], text)
