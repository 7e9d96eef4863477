"""The analysis' only reader: a study's evidence from its store, or else from its report folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.errors import AnalysisError
from bench.store import schema
from bench.store.reader import StudyData, derive, no_curves, read_database

DATABASE = "results.db"
PARQUET = "report/data.parquet"
CURVES = "report/curves.parquet"
#: Where a run writes the curves, under the study's hash.
ARTIFACT_CURVES = "artifacts/curves"

_ARROW = {
    "text": pa.string(),
    "integer": pa.int64(),
    "real": pa.float64(),
    "boolean": pa.bool_(),
    "bytes": pa.binary(),
}
_PANDAS = {"text": "object", "integer": "Int64", "real": "float64", "boolean": "boolean", "bytes": "object"}
_ROWS = schema.ROWS + schema.DERIVED


def load(folder: Path, profile: str | None = None) -> StudyData:
    """Read the evidence of a study: its store and artifacts, or else the report's data files.

    Parameters
    ----------
    folder : Path
        Study folder.
    profile : str, optional
        Which run to read where a store holds several.

    Raises
    ------
    AnalysisError
        If the folder holds neither, or the data file is not one of ours.
    """
    if (folder / DATABASE).exists():
        data = _conformed(read_database(folder, profile))
    elif (folder / PARQUET).exists():
        data = read_parquet(folder / PARQUET)
        if profile is not None and data.meta.get("profile") != profile:
            raise AnalysisError(f"{folder / PARQUET}: holds profile {data.meta.get('profile')!r}, not {profile!r}")
    else:
        raise AnalysisError(
            f"{folder}: neither {DATABASE} nor {PARQUET} is there; `prunebench run {folder}` makes the first"
        )
    return dataclasses.replace(data, curves=_curves(folder, str(data.meta["study_hash"])))


def _curves(folder: Path, study_hash: str) -> pd.DataFrame:
    """Read the study's curves: those that its run wrote, or else those of its report."""
    written = folder / ARTIFACT_CURVES / f"{study_hash}.parquet"
    if written.exists():
        return _typed_curves(_table(written), written)
    kept = folder / CURVES
    return read_curves(kept, study_hash) if kept.exists() else no_curves()


def write_parquet(data: StudyData, path: Path) -> None:
    """Write all of `data` into one Parquet file; equal data give equal bytes.

    The rows are the table; checks, dense models and meta are JSON in its metadata.
    """
    metadata = {
        "prunebench_schema": str(schema.SCHEMA_VERSION),
        "checks": _records(data.checks, schema.CHECKS),
        "dense": _records(data.dense, schema.DENSE),
        "meta": json.dumps(dict(data.meta), sort_keys=True, allow_nan=False),
    }
    _write(data.rows, _ROWS, metadata, path)


def write_curves(data: StudyData, path: Path) -> None:
    """Write the study's curves into a Parquet file that says whose they are; equal data give equal bytes."""
    _write(data.curves, schema.CURVES, {"study_hash": str(data.meta["study_hash"])}, path)


def _write(frame: pd.DataFrame, columns: tuple[schema.Column, ...], metadata: dict[str, str], path: Path) -> None:
    fields = [pa.field(column.name, _ARROW[column.kind]) for column in columns]
    typed = _conform(frame, columns)
    arrays = [pa.array(typed[field.name], type=field.type, from_pandas=True) for field in fields]
    pq.write_table(pa.table(arrays, schema=pa.schema(fields, metadata=metadata)), path, compression="zstd")


def read_curves(path: Path, study_hash: str) -> pd.DataFrame:
    """Read what `write_curves` wrote; the curves of another study are none of this one's.

    Raises
    ------
    AnalysisError
        If the file cannot be read or lacks a column.
    """
    table = _table(path)
    if (table.schema.metadata or {}).get(b"study_hash", b"").decode() != study_hash:
        return no_curves()
    return _typed_curves(table, path)


def _typed_curves(table: pa.Table, path: Path) -> pd.DataFrame:
    missing = [column.name for column in schema.CURVES if column.name not in table.column_names]
    if missing:
        raise AnalysisError(f"{path}: has no column {missing[0]!r}, so these are not a study's curves; delete it")
    return _conform(table.to_pandas(integer_object_nulls=True), schema.CURVES)


def read_parquet(path: Path) -> StudyData:
    """Read what `write_parquet` wrote.

    Raises
    ------
    AnalysisError
        If the file cannot be read, is not ours or has another schema number.
    """
    table = _table(path)
    metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    if "prunebench_schema" not in metadata:
        raise AnalysisError(f"{path}: is not the data file of a report")
    if metadata["prunebench_schema"] != str(schema.SCHEMA_VERSION):
        raise AnalysisError(
            f"{path}: has schema {metadata['prunebench_schema']}, this version reads "
            f"{schema.SCHEMA_VERSION}; make the report again with the version that ran the study"
        )
    rows = _conform(table.to_pandas(integer_object_nulls=True), schema.ROWS)
    return StudyData(
        rows=_conform(derive(rows), _ROWS),
        checks=_from_records(metadata["checks"], schema.CHECKS),
        dense=_from_records(metadata["dense"], schema.DENSE),
        meta=json.loads(metadata["meta"]),
    )


def _table(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise AnalysisError(f"{path}: cannot be read as Parquet: {' '.join(str(error).split())}") from error


def data_hash(data: StudyData) -> str:
    """SHA-256 over what the verdicts rest on: per cell its state, mask hash and accuracy, and the checks.

    The same from the store and from the data file.
    """
    digest = hashlib.sha256()
    columns = [data.rows[name].tolist() for name in ("cell", "state", "mask", "accuracy")]
    for cell, state, mask, accuracy in sorted(zip(*columns, strict=True), key=lambda row: str(row[0])):
        digest.update(f"{cell}|{_text(state)}|{_text(mask)}|{float(accuracy).hex()}\n".encode())
    checks = [data.checks[name].tolist() for name in ("cell", "kind", "accuracy", "mismatches")]
    for cell, kind, accuracy, mismatches in sorted(zip(*checks, strict=True), key=str):
        digest.update(f"{cell}|{kind}|{float(accuracy).hex()}|{_text(mismatches)}\n".encode())
    return digest.hexdigest()


def _text(value: Any) -> str:
    return "" if value is None or pd.isna(value) else str(value)


def _conformed(data: StudyData) -> StudyData:
    return StudyData(
        rows=_conform(data.rows, _ROWS),
        checks=_conform(data.checks, schema.CHECKS),
        dense=_conform(data.dense, schema.DENSE),
        meta=data.meta,
        curves=_conform(data.curves, schema.CURVES),
    )


def _conform(frame: pd.DataFrame, columns: tuple[schema.Column, ...]) -> pd.DataFrame:
    """Give every column the dtype of its kind, and None for a missing text."""
    typed = {}
    for column in columns:
        values = frame[column.name]
        if column.kind in ("text", "bytes"):
            plain = values.astype("object")
            typed[column.name] = plain.where(plain.notna(), None)
        else:
            typed[column.name] = values.astype(pd.api.types.pandas_dtype(_PANDAS[column.kind]))
    return pd.DataFrame(typed, columns=[column.name for column in columns]).reset_index(drop=True)


def _records(frame: pd.DataFrame, columns: tuple[schema.Column, ...]) -> str:
    conformed = _conform(frame, columns).astype("object")
    return json.dumps(conformed.where(conformed.notna(), None).to_dict("list"), allow_nan=False)


def _from_records(text: str, columns: tuple[schema.Column, ...]) -> pd.DataFrame:
    return _conform(pd.DataFrame(json.loads(text), dtype="object"), columns)
