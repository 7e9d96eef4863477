"""The analysis' only reader: a study's evidence from its store, or else from its report folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.errors import AnalysisError
from analysis.evidence.evidence import Evidence
from analysis.evidence.files import PARQUET, refuse_without_evidence
from analysis.evidence.validate import Meta, fault, network_fault
from bench.core.method import dump_methods, load_methods
from bench.store import schema
from bench.store.files import arrow_schema
from bench.store.places import is_begun
from bench.store.reader import StudyData, derive, empty, read_database, read_tables, with_newer_axes

#: Frames of `StudyData` in files of their own: a run writes ``artifacts/NAME/STUDY_HASH.parquet``, or a file per
#: group in ``artifacts/NAME/STUDY_HASH/``; a report keeps ``report/NAME.parquet``.
ADDITIONAL = {"curves": schema.CURVES, "alignment": schema.ALIGNMENT, "units": schema.UNITS}

_ROWS = schema.ROWS + schema.DERIVED


def load(folder: Path, profile: str | None = None) -> Evidence:
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
    refuse_without_evidence(folder)
    if is_begun(folder):
        data = _conformed(read_database(folder, profile))
    else:
        data = read_parquet(folder / PARQUET)
        if profile is not None and data.meta.get("profile") != profile:
            raise AnalysisError(f"{folder / PARQUET}: holds profile {data.meta.get('profile')!r}, not {profile!r}")
    additional: dict[str, Any] = {name: _additional(folder, name, data) for name in ADDITIONAL}
    return Evidence.of(dataclasses.replace(data, **additional))


def _additional(folder: Path, name: str, data: StudyData) -> pd.DataFrame:
    """Read one of the tables `ADDITIONAL`, from the files of the run or else from the report."""
    study_hash, groups = str(data.meta["study_hash"]), data.rows["group"].unique()
    written = [_additional_table(table, name, place) for place, table in read_tables(folder, name, study_hash, groups)]
    if written:
        return _conform(pa.concat_tables(written).to_pandas(integer_object_nulls=True), ADDITIONAL[name])
    kept = folder / "report" / f"{name}.parquet"
    return read_additional(kept, name, study_hash) if kept.exists() else empty(ADDITIONAL[name])


def write_parquet(data: StudyData, path: Path | BinaryIO) -> None:
    """Write all of `data` into one Parquet file; equal data give equal bytes.

    The rows are the table; checks, dense models, methods and meta are JSON in its metadata. Data read from an older
    schema are written in that schema, so that a report rebuilt from its own data keeps them byte for byte.
    """
    version = data.meta.get("schema", schema.SCHEMA_VERSION)
    meta = {key: value for key, value in data.meta.items() if key != "schema"}
    metadata = {
        "prunebench_schema": str(version),
        "checks": _records(data.checks, schema.CHECKS),
        "dense": _records(data.dense, schema.known(schema.DENSE, version)),
        "meta": json.dumps(meta, sort_keys=True, allow_nan=False),
    }
    if data.recorded:
        metadata["methods"] = dump_methods(data.recorded)
    _write(data.rows, _ROWS, metadata, path)


def write_additional(data: StudyData, name: str, path: Path | BinaryIO) -> None:
    """Write one of `ADDITIONAL` into a Parquet file with the hash of its study; equal data give equal bytes."""
    _write(getattr(data, name), ADDITIONAL[name], {"study_hash": str(data.meta["study_hash"])}, path)


def _write(
    frame: pd.DataFrame, columns: tuple[schema.Column, ...], metadata: dict[str, str], path: Path | BinaryIO
) -> None:
    fields = arrow_schema(columns)
    typed = _conform(frame, columns)
    arrays = [pa.array(typed[field.name], type=field.type, from_pandas=True) for field in fields]
    pq.write_table(pa.table(arrays, schema=fields.with_metadata(metadata)), path, compression="zstd")


def read_additional(path: Path, name: str, study_hash: str) -> pd.DataFrame:
    """Read a file of `write_additional`; one that belongs to another study counts as missing.

    Raises
    ------
    AnalysisError
        If the file cannot be read or lacks a column.
    """
    table = _additional_table(_table(path), name, str(path))
    if (table.schema.metadata or {}).get(b"study_hash", b"") != study_hash.encode():
        return empty(ADDITIONAL[name])
    return _conform(table.to_pandas(integer_object_nulls=True), ADDITIONAL[name])


def _additional_table(table: pa.Table, name: str, place: str) -> pa.Table:
    """Return the columns of one of `ADDITIONAL`, each as the type of its kind."""
    missing = [column.name for column in ADDITIONAL[name] if column.name not in table.column_names]
    if missing:
        raise AnalysisError(f"{place}: has no column {missing[0]!r}, so this is not a study's {name} file; delete it")
    try:
        return _typed(table, ADDITIONAL[name])
    except pa.ArrowException as error:
        raise AnalysisError(f"{place}: is damaged: {' '.join(str(error).split())}; delete it") from error


def read_parquet(path: Path | BinaryIO) -> StudyData:
    """Read what `write_parquet` wrote.

    Raises
    ------
    AnalysisError
        If the file cannot be read, is not ours or has another schema number.
    """
    table = with_newer_axes(_table(path))
    metadata = {key.decode(errors="replace"): value for key, value in (table.schema.metadata or {}).items()}
    found = metadata.get("prunebench_schema", b"").decode(errors="replace")
    if not found:
        raise AnalysisError(f"{path}: is not the data file of a report")
    if found not in map(str, schema.READABLE):
        raise AnalysisError(
            f"{path}: has schema {found[:20]}, this version reads {schema.SCHEMA_VERSION}; make the report again with "
            f"the version that ran the study"
        )
    try:
        rows = _conform(_typed(table, schema.ROWS).to_pandas(integer_object_nulls=True), schema.ROWS)
        problem = fault(rows)
        data = StudyData(
            rows=_conform(derive(rows), _ROWS) if problem is None else rows,
            checks=_from_records(metadata["checks"], schema.CHECKS),
            dense=_from_records(metadata["dense"], schema.DENSE),
            meta={**json.loads(metadata["meta"]), "schema": int(found)},
            recorded=load_methods(metadata["methods"]) if "methods" in metadata else (),
        )
        Meta.model_validate(data.meta)
        problem = problem or network_fault(rows, data.dense)
    except (pa.ArrowException, ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        problem = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    if problem is not None:
        raise AnalysisError(f"{path}: is damaged, or no report wrote it: {problem}")
    return data


def _typed(table: pa.Table, columns: tuple[schema.Column, ...]) -> pa.Table:
    """Return the columns, each as the type of its kind."""
    fields = arrow_schema(columns)
    return table.select(fields.names).cast(fields.with_metadata(table.schema.metadata))


def _table(path: Path | BinaryIO) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:
            return file.read()
    except Exception as error:  # pyarrow raises anything on damaged files
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
    return dataclasses.replace(
        data, rows=_conform(data.rows, _ROWS), checks=_conform(data.checks, schema.CHECKS),
        dense=_conform(data.dense, schema.DENSE),
    )  # fmt: skip


def _conform(frame: pd.DataFrame, columns: tuple[schema.Column, ...]) -> pd.DataFrame:
    """Give every column the dtype of its kind, and None for a missing text."""
    typed = {}
    for column in columns:
        values = frame[column.name]
        if column.kind in ("text", "bytes"):
            plain = values.astype("object")
            typed[column.name] = plain.where(plain.notna(), None)
        else:
            typed[column.name] = values.astype(pd.api.types.pandas_dtype(column.type.pandas))
    return pd.DataFrame(typed, columns=[column.name for column in columns]).reset_index(drop=True)


def _records(frame: pd.DataFrame, columns: tuple[schema.Column, ...]) -> str:
    conformed = _conform(frame, columns).astype("object")
    return json.dumps(conformed.where(conformed.notna(), None).to_dict("list"), allow_nan=False)


def _from_records(text: bytes, columns: tuple[schema.Column, ...]) -> pd.DataFrame:
    frame = pd.DataFrame(json.loads(text), dtype="object")
    return _conform(frame.reindex(columns=[column.name for column in columns]), columns)  # an older schema lacks some
