"""The files in which a study folder holds its evidence, looked up without reading them."""

from __future__ import annotations

from pathlib import Path

from analysis.errors import AnalysisError
from bench.store.places import DATABASE_FILE, is_begun

#: Names of files in a study folder.
PARQUET, CLAIMS_FILE = "report/data.parquet", "claims.yaml"


def has_evidence(folder: Path) -> bool:
    """Whether a study folder holds a store or the data of a report."""
    return is_begun(folder) or (folder / PARQUET).exists()


def refuse_without_evidence(folder: Path) -> None:
    """Raise AnalysisError if a study folder holds neither a store nor the data of a report."""
    if not has_evidence(folder):
        raise AnalysisError(
            f"{folder}: neither {DATABASE_FILE} nor {PARQUET} is there; `prunebench run {folder}` makes the first"
        )
