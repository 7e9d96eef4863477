"""Writes the rows of a run to its store, several in one transaction where cells are short."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from bench.store.database import Store

#: Seconds of work that a kill may lose. A cell that takes longer is written as soon as it is finished.
PERIOD = 0.25


class RowWriter:
    """Gathers finished rows and writes them together, at most every `PERIOD` seconds.

    Parameters
    ----------
    store : Store
        Where the rows are written.
    period : float
        Seconds: rows wait for each other until the last transaction is so long ago, or they took so long to compute.
    """

    def __init__(self, store: Store, period: float = PERIOD) -> None:
        self._store, self._period = store, period
        self._finished: dict[str, Mapping[str, Any]] = {}
        self._running: dict[str, Mapping[str, Any]] = {}
        self._written = -period
        self._unwritten = 0.0

    def add(self, row: Mapping[str, Any], running: Mapping[str, Any] | None = None) -> None:
        """Take a finished row, and the row that marks the next cell of its group as running, if there is one."""
        self._finished[row["cell"]] = row
        self.mark(row["group"], running)
        self._unwritten += row.get("seconds") or 0.0
        if self._unwritten >= self._period or time.monotonic() - self._written >= self._period:
            self.flush()

    def mark(self, group: str, running: Mapping[str, Any] | None) -> None:
        """Note which cell of a group is running; None if none is, or if its earlier row has to stay."""
        self._running.pop(group, None)
        if running is not None:
            self._running[group] = running

    def flush(self) -> None:
        """Write the rows since the last transaction; they are not kept if the write fails."""
        rows = [*self._finished.values(), *self._running.values()]
        self._finished, self._running, self._unwritten = {}, {}, 0.0
        if rows:
            self._store.write_rows(rows)
        self._written = time.monotonic()
