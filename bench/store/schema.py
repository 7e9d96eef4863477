"""The columns of the store, with their types and units; the one list that writer, reader and report share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from bench.core.types import AXES as GRID_AXES
from bench.core.types import ColumnKind

#: 2: the speed-up counts all products of the forward pass and input channels that are zero, on dense rows too.
SCHEMA_VERSION = 2
#: Versions that are still read. Of version 1 no network table is known, and the speed-up counts the zero weights of
#: ``nn.Conv2d`` and ``nn.Linear`` alone.
READABLE = (1, SCHEMA_VERSION)


class ColumnType(NamedTuple):
    """Names of a column's types in SQLAlchemy, Arrow and pandas, none of which is imported here."""

    database: str
    arrow: str
    pandas: str


TYPES: dict[ColumnKind, ColumnType] = {
    "text": ColumnType("Text", "string", "object"),
    "integer": ColumnType("BigInteger", "int64", "Int64"),
    "real": ColumnType("Double", "float64", "float64"),
    "boolean": ColumnType("Boolean", "bool", "boolean"),
    "bytes": ColumnType("LargeBinary", "binary", "object"),
}


@dataclass(frozen=True)
class Column:
    """One column: its name, kind, unit and meaning, and the first schema version that has it."""

    name: str
    kind: ColumnKind
    unit: str
    meaning: str
    since: int = 1

    @property
    def type(self) -> ColumnType:
        """Its types in the database, Arrow and pandas."""
        return TYPES[self.kind]


def known(columns: tuple[Column, ...], version: int) -> tuple[Column, ...]:
    """Return the columns that a schema version has.

    Examples
    --------
    >>> {column.name for column in DENSE} - {column.name for column in known(DENSE, 1)}
    {'network'}
    """
    return tuple(column for column in columns if column.since <= version)


#: The axes of a cell; null where the axis does not apply (a dense row has no allocation).
AXES: tuple[Column, ...] = (
    Column("cell", "text", "-", "cell id, SHA-256 of the resolved spec"),
    Column("group", "text", "-", "id of the group that shares one dense model"),
    Column("position", "integer", "-", "place in the plan, from 0"),
    *(Column(axis.name, axis.kind, axis.unit, axis.meaning) for axis in GRID_AXES),
    Column("precision", "text", "-", "precision of the evaluation"),
)

#: Outcome of a cell.
OUTCOME: tuple[Column, ...] = (
    Column("state", "text", "-", "done, failed, skipped or running"),
    Column("reason", "text", "-", "why it was skipped or failed, one line"),
    Column("traceback", "text", "-", "traceback of a failure"),
    Column("evaluation", "text", "-", "hash of mask set, repair, draw and precision: equal = one evaluation"),
    Column("mask", "text", "-", "hash of the mask set"),
    Column("checkpoint", "text", "-", "content hash of the dense model"),
    Column("accuracy", "real", "fraction", "top-1 accuracy on the test split"),
    Column("loss", "real", "nats", "mean cross-entropy on the test split"),
    Column("n_test", "integer", "images", "size of the test split"),
    Column("correct", "bytes", "bits", "one bit per test image, big-endian (numpy.packbits)"),
    Column("sparsity_achieved", "real", "fraction", "removed share of the prunable units"),
    Column("sparsity_parameters", "real", "fraction", "share of zeros over all parameters"),
    Column(
        "speedup",
        "real",
        "ratio",
        "theoretical: MACs of all products / those without zero weights and zero input channels; null if none remain",
    ),
    Column("emptied_layers", "integer", "layers", "layers left with no unit"),
    Column("exact_removal", "boolean", "-", "false where a removed channel still leaves a constant"),
    Column("tied_units", "integer", "units", "units of different magnitude whose scores tie"),
    Column("magnitude_overlap", "real", "Jaccard", "overlap with the magnitude mask of the same budget"),
    Column("train_overlap", "text", "-", "whether the dense model saw the held-out splits: no, yes, unknown"),
    Column(
        "identity_covered",
        "boolean",
        "-",
        "every corrected layer is in the scope of the cancellation identity",
    ),
    Column("identity_ratio", "real", "ratio", "largest change that BatchNorm's eps lets a live channel keep"),
    Column("device_class", "text", "-", "cpu or the name of the GPU"),
    Column("batch", "integer", "images", "evaluation batch"),
    Column("batch_halved", "integer", "times", "how often the batch was halved for memory"),
    Column("seeds", "text", "JSON", "named seeds of the random streams that were used"),
    Column("notes", "text", "JSON", "what the methods of the cell had to say; `channels`: see bench.repairs.channels"),
    Column("seconds", "real", "s", "time of this cell alone; not part of the bit-for-bit promise"),
    Column("written", "text", "UTC", "when the row was written; likewise"),
)

ROWS: tuple[Column, ...] = AXES + OUTCOME

#: Columns that may differ between two runs of one study.
VOLATILE: frozenset[str] = frozenset({"seconds", "written", "traceback"})

#: Columns that the reader derives.
DERIVED: tuple[Column, ...] = (
    Column("method", "text", "-", "scorer, with the search of its fusion weights and a budget under 600"),
    Column("shared_with", "text", "-", "first cell of the plan with the same evaluation, if another"),
    Column("dense_accuracy", "real", "fraction", "accuracy of the group's dense row without recalibration"),
)

#: A study's score functions, in a file of their own next to the store.
CURVES: tuple[Column, ...] = (
    Column("scorer", "text", "-", "scorer label"),
    Column("sparsity", "real", "fraction", "requested sparsity; null where the curve does not depend on it"),
    Column("draw", "integer", "-", "number of the calibration draw, which seeds random features"),
    Column("feature", "text", "-", "name of the feature"),
    Column("u", "real", "-", "rank by magnitude within the layer, from 0.1 (smallest) to 1"),
    Column("value", "real", "-", "the feature at u, scaled to [0, 1]"),
)


def _columns(stage: str) -> dict[str, Column]:
    names = [axis.name for axis in GRID_AXES if axis.stage == stage]
    return {column.name: column for column in AXES if column.name in names}


_OF_MASK = _columns("mask") | {
    "scorer": Column("scorer", "text", "-", "scorer label"),
    "allocation": Column("allocation", "text", "-", "allocation label; null where the scores do not depend on it"),
}
_SCORE_SET: tuple[Column, ...] = (
    Column("group", "text", "-", "group id"), *_columns("calibration").values(), _OF_MASK.pop("scorer"),
)  # fmt: skip

#: How scores align with magnitude, layer by layer, in files of their own next to the store.
ALIGNMENT: tuple[Column, ...] = (
    *_SCORE_SET,
    *(
        _OF_MASK
        | {
            "sparsity": replace(
                _OF_MASK["sparsity"], meaning="requested sparsity, at whose rank the window lies; null without one"
            ),
        }
    ).values(),
    Column("layer", "text", "-", "layer name"),
    Column("units", "integer", "units", "units of the layer"),
    Column("rho", "real", "-", "Spearman correlation of scores and ranks of magnitude; null if constant"),
    Column("window_units", "integer", "units", "units whose rank is within 0.15 of that at the sparsity"),
    Column("window_rho", "real", "-", "the correlation among these units"),
)

#: A sample of units, the same for all scorers of a dense model and granularity; likewise.
UNITS: tuple[Column, ...] = (
    *_SCORE_SET,
    _OF_MASK["granularity"],
    Column("sparsity", "real", "fraction", "requested sparsity; null where the scores do not depend on it"),
    Column("layer", "text", "-", "layer name"),
    Column("unit", "integer", "-", "flat index of the unit in its layer"),
    Column("magnitude", "real", "-", "magnitude of the unit"),
    Column("u", "real", "-", "rank by magnitude within the layer, from 0.1 (smallest) to 1"),
    Column("score", "real", "-", "score of the unit"),
)

CHECKS: tuple[Column, ...] = (
    Column("cell", "text", "-", "the cell that was evaluated again"),
    Column("kind", "text", "-", "shared: a shared evaluation redone; float32: redone in float32"),
    Column("accuracy", "real", "fraction", "accuracy of the second evaluation"),
    Column("mismatches", "integer", "images", "test images whose correctness differs"),
)

DENSE: tuple[Column, ...] = (
    Column("group", "text", "-", "group id"),
    Column("dataset", "text", "-", "data set label"),
    Column("model", "text", "-", "model label"),
    Column("train_seed", "integer", "-", "training seed"),
    Column("checkpoint", "text", "-", "content hash of the weights"),
    Column("dataset_hash", "text", "-", "content hash of the data set"),
    Column("recipe", "text", "JSON", "training recipe, or where the checkpoint came from"),
    Column("history", "text", "JSON", "training loss and learning rate per epoch"),
    Column("parameters", "integer", "parameters", "size of the model"),
    Column("prunable", "integer", "weights", "prunable weights"),
    Column("network", "text", "JSON", "its layers: `bench.store.network.Network`", since=2),
    Column("train_overlap", "text", "-", "no, yes or unknown"),
    Column("uncovered_layers", "text", "JSON", "layers outside the cancellation identity, found by perturbation"),
    Column("seconds", "real", "s", "time to train or load"),
)
