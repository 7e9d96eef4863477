"""Parquet folders in the layout of Hugging Face image data sets."""

from __future__ import annotations

import json
from collections.abc import Iterator
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


@dataclass(frozen=True)
class ParquetSource:
    """``train-*.parquet`` and ``test-*.parquet`` (or ``validation-*.parquet``) in one folder.

    Each row has a struct column with the encoded image in its field ``bytes`` and an integer label;
    class names stand in the ``huggingface`` schema metadata, or else the classes are numbered.
    """

    folder: Path

    def facts(self) -> Facts:
        """Read the first file and the sizes of the others; the first row's image tells its size."""
        train, test = self._files()
        table = _read(train[0])
        image = decode_images([next(_images(train[0], table))])
        classes = len(_class_names(table)) or int(_labels(train[0], table).max()) + 1
        sizes = [sum(_row_count(file) for file in files) for files in (train, test)]
        return Facts((image.shape[2], image.shape[3]), image.shape[1], classes, *sizes)

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
        classes = _class_names(tables[0][1]) or tuple(str(k) for k in range(int(labels.max()) + 1))
        if not 0 <= int(labels.min()) <= int(labels.max()) < len(classes):
            raise UserError(
                f"data folder {self.folder}: has labels from {int(labels.min())} to {int(labels.max())} "
                f"for {len(classes)} classes; expected 0 to {len(classes) - 1}"
            )
        images = decode_images(item for file, table in tables for item in _images(file, table))
        n = sum(table.num_rows for _, table in tables[: len(train_files)])
        return Raw(ImageSet(images[:n], labels[:n]), ImageSet(images[n:], labels[n:]), classes)

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


def _read(file: Path) -> pa.Table:
    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{file}: cannot be read as Parquet: {' '.join(str(error).split())}") from error
    if table.num_rows == 0:
        raise UserError(f"{file}: has no rows")
    return table


def _row_count(file: Path) -> int:
    try:
        return int(pq.read_metadata(file).num_rows)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{file}: cannot be read as Parquet: {' '.join(str(error).split())}") from error


def _labels(file: Path, table: pa.Table) -> Tensor:
    name = next((name for name in LABELS if name in table.schema.names), None)
    if name is None or not pa.types.is_integer(table.schema.field(name).type):
        raise UserError(f"{file}: has no integer column 'label'; found {', '.join(table.schema.names)}")
    column = table.column(name)
    if column.null_count:
        raise UserError(f"{file}: row {column.to_pylist().index(None)}: has no label")
    return torch.tensor(column.to_pylist(), dtype=torch.int64)


def _class_names(table: pa.Table) -> tuple[str, ...]:
    """Names of the classes, or none where the metadata do not tell."""
    metadata = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
    features = metadata.get("info", {}).get("features", {})
    names = (features[name].get("names", ()) for name in LABELS if name in features)
    return tuple(next(names, ()))


def _images(file: Path, table: pa.Table) -> Iterator[tuple[str, bytes]]:
    for column in table.schema:
        if pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
            break
    else:
        names = ", ".join(table.schema.names)
        raise UserError(f"{file}: has no struct column with a field 'bytes'; found {names}")
    row = 0
    for chunk in table.column(column.name).chunks:
        for content in chunk.field("bytes"):
            if not content.is_valid:
                raise UserError(f"{file}: row {row}: has no image bytes")
            yield f"{file}: row {row}", content.as_py()
            row += 1
