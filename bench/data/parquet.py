"""Parquet folders in the layout of Hugging Face image data sets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from bench.core.errors import UserError, suggest
from bench.core.identity import digest, file_digest
from bench.data.dataset import Facts, Raw
from bench.data.decode import decode_images, read_headers
from bench.data.labels import listed, number_labels, refuse_other_names

#: Usual names of label columns, in lower case.
LABELS = (
    "label", "labels", "fine_label", "coarse_label", "class", "class_id", "class_label", "category", "target",
    "targets", "y",
)  # fmt: skip
#: The two label columns of CIFAR-100; the first is the default.
CIFAR100_LABELS = ("fine_label", "coarse_label")
#: Usual names of image columns.
IMAGES = ("image", "img")
#: A few bytes of Parquet can repeat a value any number of times.
MOST_ROWS = 20_000_000
SHARD = re.compile(r"(.+)-(\d+)-of-(\d+)(?:-[0-9a-f]+)?\.parquet")  # older files end with a fingerprint


@dataclass(frozen=True)
class ParquetSource:
    """``train-*.parquet`` and ``test-*.parquet`` (or ``validation-*.parquet``) in one folder.

    Each row has a struct column with the encoded image in its field ``bytes`` and a label: an integer, whose names
    are in the ``huggingface`` schema metadata, or a text, which is the name.

    Attributes
    ----------
    folder : Path
        Where the files are.
    labels : str, optional
        The label column; by default the only one with a usual name, and ``fine_label`` of CIFAR-100's two.
    """

    folder: Path
    labels: str | None = None

    def facts(self) -> Facts:
        """Read all labels and the headers of all images.

        Raises
        ------
        UserError
            Naming the file, and the row where one is at fault.
        """
        facts = _facts(self.folder, self._rows())
        _give_back()
        return facts

    def content_hash(self) -> str:
        """SHA-256 over the files, in the order of their names."""
        train, test = self._files()
        return digest([[file_digest(file) for file in files] for files in (train, test)])

    def read(self) -> Raw:
        """Decode all rows.

        Raises
        ------
        UserError
            Naming the file, and the row where one is at fault.
        """
        rows = self._rows()
        facts = _facts(self.folder, rows)
        images = decode_images(rows.images())
        del rows
        _give_back()
        return Raw.of(facts, images)

    def _rows(self) -> _Rows:
        train, test = self._files()
        schemas = {file: _schema(file) for file in (*train, *test)}
        label, default, notes = _label_column(train[0], schemas[train[0]], self.labels)
        image = _image_column(train[0], schemas[train[0]])
        for file, schema in schemas.items():
            _check_columns(train[0], schemas[train[0]], file, schema, image, label)
        variant = {} if label == default else {"labels": label}
        if any(_image_columns(schema)[0] != image for schema in schemas.values()):
            variant["images"] = image
        tables = {file: _read(file, (image, label)) for file in schemas}
        return _Rows(tables, train, test, image, label, variant, notes)

    def _files(self) -> tuple[list[Path], list[Path]]:
        if not self.folder.is_dir():
            raise UserError(f"data folder {self.folder}: there is no such folder")
        parts = ("train", "test", "validation")
        # hidden files such as ._train-0.parquet do not match
        found = {
            part: sorted(file for file in self.folder.glob(f"{part}-*.parquet") if file.is_file()) for part in parts
        }
        test = found["test"] or found["validation"]
        if not found["train"] or not test:
            raise UserError(
                f"data folder {self.folder}: has no {'test-*' if found['train'] else 'train-*'}.parquet; "
                "expected train-*.parquet and test-*.parquet (or validation-*.parquet)"
            )
        for files in (found["train"], test):
            _check_shards(files)
        return found["train"], test


@dataclass(frozen=True)
class _Rows:
    """The image and label columns of all files, train files first, and how they were chosen."""

    tables: Mapping[Path, pa.Table]
    train: list[Path]
    test: list[Path]
    image: str
    label: str
    variant: Mapping[str, Any]
    notes: tuple[str, ...]

    def images(self) -> Iterator[tuple[str, bytes]]:
        """Iterate over the encoded images of all rows, each with its file and row."""
        for file, table in self.tables.items():
            row = 0
            for chunk in table.column(self.image).chunks:
                for content in chunk.field("bytes"):
                    if not content.is_valid:
                        raise UserError(f"{file}: row {row}: has no image bytes")
                    yield f"{file}: row {row}", content.as_py()
                    row += 1

    def column(self, file: Path) -> pa.ChunkedArray:
        """Labels of one file, all of them valid."""
        column = self.tables[file].column(self.label)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if column.null_count:
            raise UserError(f"{file}: row {pc.index(column.is_null(), True).as_py()}: has no label")
        return column


def _facts(folder: Path, rows: _Rows) -> Facts:
    variant, notes = dict(rows.variant), list(rows.notes)
    if _kind(rows.tables[rows.train[0]].schema.field(rows.label).type) == "text":
        train, test, classes = _text_labels(folder, rows)
    else:
        names = {file: _class_names(file, table.schema, rows.label) for file, table in rows.tables.items()}
        for file, others in names.items():
            refuse_other_names(rows.train[0], names[rows.train[0]], file, others)
        stored, other = (torch.cat([_numbers(rows, file) for file in files]) for files in (rows.train, rows.test))
        train, test, classes = number_labels(f"data folder {folder}", stored, other, names[rows.train[0]])
        if first := int(stored[0] - train[0]):
            variant["first_label"] = first
            notes.append(
                f"the labels {first} to {first + len(classes) - 1} have no names; the classes are named by them, and "
                f"class 0 is {classes[0]!r}"
            )
    headers = read_headers(rows.images())
    if headers.rotated:
        variant["orientation"] = "exif"
    return Facts(headers.image_size, headers.in_chans, classes, train, test, variant, (*notes, *headers.notes))


def _check_shards(files: list[Path]) -> None:
    """Refuse a set of shards that is not complete, or that holds more than one set."""
    shards = {file: m.groups() for file in files if (m := SHARD.fullmatch(file.name)) is not None}
    if not shards:
        return
    place, first = f"data folder {files[0].parent}", next(iter(shards))
    prefix, count = shards[first][0], int(shards[first][2])
    numbers: dict[int, Path] = {}
    for file in files:
        if file not in shards or (shards[file][0], int(shards[file][2])) != (prefix, count):
            raise UserError(f"{place}: {file.name} does not belong to the set of {first.name}; keep one set of shards")
        number = int(shards[file][1])
        if number in numbers:
            raise UserError(f"{place}: {numbers[number].name} and {file.name} are the same shard; remove one of them")
        if number >= count:
            raise UserError(f"{place}: {file.name}: is number {number} of a set of {count}; expected 0 to {count - 1}")
        numbers[number] = file
    if len(numbers) < count:
        missing = next(number for number in range(count) if number not in numbers)
        raise UserError(
            f"{place}: {count - len(numbers)} of the {count} shards of the set of {first.name} are missing, the first "
            f"is number {missing}; copy all of them"
        )


def _give_back() -> None:
    """Give the memory of tables that are no more back to the system: Arrow would keep as much as the files held."""
    pa.default_memory_pool().release_unused()


def _schema(file: Path) -> pa.Schema:
    try:
        with pq.ParquetFile(file) as opened:
            rows, schema = opened.metadata.num_rows, opened.schema_arrow
    except Exception as error:  # pyarrow raises anything on damaged files
        raise _damaged(file, error) from error
    if rows > MOST_ROWS:
        raise UserError(f"{file}: has {rows:,} rows, more than {MOST_ROWS:,}")
    if rows == 0:
        raise UserError(f"{file}: has no rows")
    if twice := [name for name in schema.names if schema.names.count(name) > 1]:
        raise UserError(f"{file}: has two columns named {twice[0]!r}; rename one of them")
    return schema


def _read(file: Path, columns: Iterable[str]) -> pa.Table:
    try:
        with pq.ParquetFile(file) as opened:
            return opened.read(list(columns))
    except Exception as error:  # pyarrow raises anything on damaged files
        raise _damaged(file, error) from error


def _damaged(file: Path, error: Exception) -> UserError:
    return UserError(f"{file}: cannot be read as Parquet: {' '.join(str(error).split())}")


def _label_column(file: Path, schema: pa.Schema, requested: str | None) -> tuple[str, str | None, tuple[str, ...]]:
    """Return the label column, the one that is read by default (None if there is no such one), and notes."""
    usual = [name for name in schema.names if name.lower() in LABELS]
    pair = set(usual) == set(CIFAR100_LABELS)
    default = usual[0] if len(usual) == 1 else CIFAR100_LABELS[0] if pair else None
    if requested is None and default is None:
        problem = f"has several label columns: {listed(usual)}" if usual else "has no label column with a usual name"
        raise UserError(f"{file}: {problem}; {_choices(schema)}")
    if requested is not None and requested not in schema.names:
        raise UserError(f"{file}: has no column {requested!r}: {suggest(requested, schema.names)}")
    chosen = requested or str(default)
    if _kind(schema.field(chosen).type) is None:
        raise UserError(
            f"{file}: the column {chosen!r} is of type {schema.field(chosen).type}; expected labels that are integers "
            f"or texts; {_choices(schema)}"
        )
    # up to version 0.1, `label` came first and `fine_label` second, whatever else there was
    before = next((name for name in ("label", "fine_label") if name in schema.names), default)
    notes: tuple[str, ...] = ()
    if requested is None and pair:
        notes = (f"the labels are those of the column 'fine_label'; `labels: {CIFAR100_LABELS[1]}` chooses the other",)
    return chosen, before, notes


def _choices(schema: pa.Schema) -> str:
    names = listed(field.name for field in schema if _kind(field.type))
    return f"write `labels: NAME`, one of {names}" if names else f"found {listed(schema.names)}"


def _kind(found: pa.DataType) -> str | None:
    if pa.types.is_dictionary(found):
        found = found.value_type
    if pa.types.is_integer(found) or pa.types.is_boolean(found):
        return "integer"
    return "text" if pa.types.is_string(found) or pa.types.is_large_string(found) else None


def _image_columns(schema: pa.Schema) -> list[str]:
    return [field.name for field in schema if pa.types.is_struct(field.type) and _holds_bytes(field.type)]


def _image_column(file: Path, schema: pa.Schema) -> str:
    found = _image_columns(schema)
    if not found:
        raise _no_image(file, schema)
    usual = [name for name in found if name in IMAGES]
    if len(found) > 1 and len(usual) != 1:
        raise UserError(
            f"{file}: has several image columns: {listed(found)}; expected one of them to be named 'image' or 'img'; "
            f"rename it, or remove the others"
        )
    return usual[0] if usual else found[0]


def _no_image(file: Path, schema: pa.Schema) -> UserError:
    return UserError(f"{file}: has no struct column with a field 'bytes' of type binary; found {listed(schema.names)}")


def _check_columns(first: Path, expected: pa.Schema, file: Path, schema: pa.Schema, image: str, label: str) -> None:
    """Refuse a file that lacks a column of the first file, or holds another kind of label."""
    if not _image_columns(schema):
        raise _no_image(file, schema)
    for column, there in ((image, _image_columns(schema)), (label, schema.names)):
        if column not in there:
            raise UserError(f"{file}: has no column {column!r}, which {first} has; found {listed(schema.names)}")
    kinds = [_kind(known.field(label).type) for known in (expected, schema)]
    if kinds[0] != kinds[1]:
        types = [known.field(label).type for known in (expected, schema)]
        raise UserError(f"{file}: the column {label!r} is of type {types[1]}, in {first} of type {types[0]}; use one")


def _numbers(rows: _Rows, file: Path) -> Tensor:
    """Labels of one file as int64, none of them negative."""
    try:
        labels = torch.from_numpy(rows.column(file).cast(pa.int64()).to_numpy().copy())
    except pa.ArrowInvalid as error:
        raise UserError(f"{file}: labels are no numbers of classes: {error}") from error
    if len(unlabelled := (labels < 0).nonzero()):
        row = int(unlabelled[0])
        remedy = "remove these rows"
        if file in rows.test and len(unlabelled) == len(labels):
            remedy = "remove the file and use another labelled split, such as validation-*.parquet, for the test"
        raise UserError(
            f"{file}: row {row}: has the label {int(labels[row])}, which marks an image without a label; expected "
            f"labels from 0; {remedy}"
        )
    return labels


def _text_labels(folder: Path, rows: _Rows) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Return the numbers of text labels, in the alphabetical order of the training images' names, and the names."""
    texts = [
        np.concatenate([rows.column(file).cast(pa.string()).to_numpy() for file in files])
        for files in (rows.train, rows.test)
    ]
    classes = sorted(set(texts[0]))
    if unknown := sorted(set(texts[1]) - set(classes)):
        raise UserError(
            f"data folder {folder}: test images have labels that no training image has: {listed(map(repr, unknown))}"
        )
    number = {name: label for label, name in enumerate(classes)}
    train, test = (torch.tensor([number[text] for text in part]) for part in texts)
    return train, test, tuple(classes)


def _class_names(file: Path, schema: pa.Schema, label: str) -> tuple[str, ...]:
    """Names of the classes of a label column, or none if the metadata have none."""
    try:
        metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = metadata.get("info", {}).get("features", {}).get(label, {}).get("names", ())
        return tuple(str(name) for name in names)
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise UserError(f"{file}: its metadata 'huggingface' cannot be read: {error}") from error


def _holds_bytes(struct: pa.DataType) -> bool:
    place = struct.get_field_index("bytes")
    return place >= 0 and struct[place].type in (pa.binary(), pa.large_binary())
