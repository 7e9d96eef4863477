"""Parquet folders in the layout of Hugging Face image data sets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from bench.data.dataset import Facts, ImageSet, Raw
from bench.data.decode import decode_images
from bench.errors import UserError
from bench.identity import digest, file_digest

LABELS = ("label", "fine_label")  # the second is CIFAR-100's
#: A few bytes of Parquet can repeat a value any number of times.
MOST_ROWS = 20_000_000


@dataclass(frozen=True)
class ParquetSource:
    """``train-*.parquet`` and ``test-*.parquet`` (or ``validation-*.parquet``) in one folder.

    Each row has a struct column with the encoded image in its field ``bytes`` and an integer label;
    class names stand in the ``huggingface`` schema metadata, or else the classes are numbered.
    """

    folder: Path

    def facts(self) -> Facts:
        """Read the first file and the labels of the others; the first row's image tells its size."""
        train, test = self._files()
        first = _read(train[0])
        image = decode_images([next(_images(train[0], first))])
        labels = {file: _labels(file, _read(file, LABELS)) for file in (*train, *test)}
        classes = self._classes(train[0], first, torch.cat(list(labels.values())))
        sizes = [sum(len(labels[file]) for file in files) for files in (train, test)]
        del first
        _give_back()
        return Facts((image.shape[2], image.shape[3]), image.shape[1], len(classes), *sizes)

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
        train_files, test_files = self._files()
        tables = [(file, _read(file)) for file in (*train_files, *test_files)]
        labels = torch.cat([_labels(file, table) for file, table in tables])
        classes = self._classes(*tables[0], labels)
        images = decode_images(item for file, table in tables for item in _images(file, table))
        n = sum(table.num_rows for _, table in tables[: len(train_files)])
        del tables
        _give_back()
        return Raw(ImageSet(images[:n], labels[:n]), ImageSet(images[n:], labels[n:]), classes)

    def _classes(self, file: Path, table: pa.Table, labels: Tensor) -> tuple[str, ...]:
        """Return the names of the classes, which are numbered where the metadata do not tell."""
        least, most = int(labels.min()), int(labels.max())
        names = _class_names(file, table)
        count = len(names) or min(most + 1, len(labels))  # numbers are no classes where most of them have no image
        if not 0 <= least <= most < count:
            raise UserError(
                f"data folder {self.folder}: has labels from {least} to {most} for {count} classes; "
                f"expected 0 to {count - 1}"
            )
        return names or tuple(str(number) for number in range(count))

    def _files(self) -> tuple[list[Path], list[Path]]:
        if not self.folder.is_dir():
            raise UserError(f"data folder {self.folder}: there is no such folder")
        parts = ("train", "test", "validation")
        found = {part: sorted(self.folder.glob(f"{part}-*.parquet")) for part in parts}
        test = found["test"] or found["validation"]
        if not found["train"] or not test:
            raise UserError(
                f"data folder {self.folder}: has no {'test-*' if found['train'] else 'train-*'}.parquet; "
                "expected train-*.parquet and test-*.parquet (or validation-*.parquet)"
            )
        return found["train"], test


def _give_back() -> None:
    """Give the memory of tables that are no more back to the system: Arrow would keep as much as the files held."""
    pa.default_memory_pool().release_unused()


def _read(file: Path, columns: Iterable[str] | None = None) -> pa.Table:
    """Read a file, or those of the named columns that it has."""
    try:
        table = _columns(file, columns)
    except Exception as error:  # pyarrow raises anything on damaged files
        raise UserError(f"{file}: cannot be read as Parquet: {' '.join(str(error).split())}") from error
    if table.num_rows == 0:
        raise UserError(f"{file}: has no rows")
    return table


def _columns(file: Path, columns: Iterable[str] | None) -> pa.Table:
    with pq.ParquetFile(file) as opened:
        if opened.metadata.num_rows > MOST_ROWS:
            raise ValueError(f"has {opened.metadata.num_rows:,} rows, more than {MOST_ROWS:,}")
        names = opened.schema_arrow.names
        return opened.read([name for name in names if columns is None or name in columns])


def _labels(file: Path, table: pa.Table) -> Tensor:
    name = next((name for name in LABELS if name in table.schema.names), None)
    if name is None or not pa.types.is_integer(table.schema.field(name).type):
        raise UserError(f"{file}: has no integer column 'label'; found {', '.join(table.schema.names)}")
    column = table.column(name)
    if column.null_count:
        raise UserError(f"{file}: row {column.to_pylist().index(None)}: has no label")
    try:
        return torch.from_numpy(column.cast(pa.int64()).to_numpy().copy())
    except pa.ArrowInvalid as error:
        raise UserError(f"{file}: labels are no numbers of classes: {error}") from error


def _class_names(file: Path, table: pa.Table) -> tuple[str, ...]:
    """Names of the classes, or none where the metadata do not tell."""
    try:
        metadata = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
        features = metadata.get("info", {}).get("features", {})
        names = tuple(next((features[name].get("names", ()) for name in LABELS if name in features), ()))
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise UserError(f"{file}: its metadata 'huggingface' cannot be read: {error}") from error
    return tuple(str(name) for name in names)


def _images(file: Path, table: pa.Table) -> Iterator[tuple[str, bytes]]:
    for column in table.schema:
        if pa.types.is_struct(column.type) and _holds_bytes(column.type):
            break
    else:
        names = ", ".join(table.schema.names)
        raise UserError(f"{file}: has no struct column with a field 'bytes' of type binary; found {names}")
    row = 0
    for chunk in table.column(column.name).chunks:
        for content in chunk.field("bytes"):
            if not content.is_valid:
                raise UserError(f"{file}: row {row}: has no image bytes")
            yield f"{file}: row {row}", content.as_py()
            row += 1


def _holds_bytes(struct: pa.DataType) -> bool:
    place = struct.get_field_index("bytes")
    return place >= 0 and struct[place].type in (pa.binary(), pa.large_binary())
