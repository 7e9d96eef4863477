"""A study that runs in a second, and all of its evidence that must be equal after any fault."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from bench.store.database import open_store
from bench.store.reader import read_database
from bench.store.schema import VOLATILE
from bench.store.tables import NothingRun

STUDY = """\
name: small
data: [digits]
models: [{name: digits_cnn, recipe: {epochs: 1}}]
train_seeds: 2
granularities: [channel]
scorers: [magnitude, exp_magnitude, taylor]
sparsities: [0.5]
corrections: [none, asr]
recalibrations: [none, cumulative]
"""


def write_study(folder: Path) -> Path:
    folder.mkdir()
    (folder / "study.yaml").write_text(STUDY)
    return folder


class Evidence(NamedTuple):
    """Rows, checks and dense models without their times; name and content of the artifacts that hold no time."""

    rows: pd.DataFrame
    checks: pd.DataFrame
    dense: pd.DataFrame
    tables: dict[str, bytes]

    @classmethod
    def of(cls, folder: Path) -> Evidence:
        data = read_database(folder)
        artifacts = folder / "artifacts"
        return cls(
            data.rows.drop(columns=list(VOLATILE)), data.checks, data.dense.drop(columns="seconds"),
            {str(path.relative_to(artifacts)): path.read_bytes() for path in artifacts.rglob("*.parquet")},
        )  # fmt: skip

    def assert_equal(self, other: Evidence, *, tables: bool = True) -> None:
        for ours, theirs in zip(self[:3], other[:3], strict=True):
            pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
        assert not tables or self.tables == other.tables


def assert_same(folder: Path, expected: Path) -> None:
    """Two study folders hold the same evidence, bit for bit."""
    Evidence.of(folder).assert_equal(Evidence.of(expected))


def finished(folder: Path) -> int:
    """Count the finished rows, also while a run goes on."""
    try:
        store = open_store(folder)
    except NothingRun:
        return 0
    with closing(store):
        return sum(state in ("done", "skipped") for state in store.states().values())


@dataclass(frozen=True)
class Kept:
    """What is done in a study folder, with its times: rows, checks, dense models."""

    rows: dict[str, tuple[Any, ...]]
    checks: set[tuple[Any, ...]]
    models: set[tuple[str, int]]

    @classmethod
    def of(cls, folder: Path) -> Kept:
        """Read a copy of the database, so that a run finds it as the killed one left it."""
        models = {(path.name, path.stat().st_mtime_ns) for path in (folder / "artifacts" / "dense").glob("[!.]*")}
        if not (folder / "results.db").exists():
            return cls({}, set(), models)
        copy = folder.with_name("copy")
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for path in folder.glob("results.db*"):
            shutil.copy(path, copy)
        connection = sqlite3.connect(copy / "results.db")
        try:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            if not {"rows", "checks"} <= tables:
                return cls({}, set(), models)
            rows = {row[0]: row for row in connection.execute("SELECT * FROM rows WHERE state = 'done'")}
            return cls(rows, set(connection.execute("SELECT * FROM checks")), models)
        finally:
            connection.close()

    def assert_in(self, later: Kept) -> None:
        """Nothing was lost or computed again: a row made anew has another time."""
        assert self.rows.items() <= later.rows.items()
        assert self.checks <= later.checks
        assert self.models <= later.models


def leftovers(folder: Path) -> list[str]:
    """Files that are not whole."""
    return [path.name for path in folder.rglob(".*") if path.name.endswith((".tmp", ".new", "-journal"))]
