"""Progress of a run: a live bar on a terminal, plain lines in a file or pipe."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

#: Seconds between two plain lines of progress.
INTERVAL = 10.0


class Reporter:
    """Shows finished cells, rate, remaining time and failures.

    Parameters
    ----------
    total : int
        Cells to compute.
    console : Console
        Destination; a terminal gets a live bar.
    interval : float
        Least number of seconds between two plain lines.
    """

    def __init__(self, total: int, console: Console, interval: float = INTERVAL) -> None:
        self._total, self._console, self._interval = total, console, interval
        self._done = self._failed = 0
        self._start = self._printed = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:.1f} cells/s"), TimeRemainingColumn(),
            TextColumn("{task.fields[failed]} failed"), console=console, disable=not console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("starting", total=total, rate=0.0, failed=0)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def stage(self, text: str) -> None:
        """Show what is being computed."""
        self._bar.update(self._task, description=text)
        if not self._console.is_terminal:
            self._console.print(text, highlight=False)

    def warn(self, text: str) -> None:
        """Print a line that stays on the screen."""
        self._console.print(f"note: {text}", style="yellow", highlight=False)

    def cell(self, *, failed: bool) -> None:
        """Count one finished cell."""
        self._done += 1
        self._failed += failed
        elapsed = time.monotonic() - self._start
        rate = self._done / elapsed if elapsed else 0.0
        self._bar.update(self._task, advance=1, rate=rate, failed=self._failed)
        if not self._console.is_terminal and time.monotonic() - self._printed >= self._interval:
            self._printed = time.monotonic()
            remaining = (self._total - self._done) / rate
            self._console.print(
                f"{self._done}/{self._total} cells, {rate:.1f} cells/s, about {duration(remaining)} left, "
                f"{self._failed} failed",
                highlight=False,
            )


def duration(seconds: float) -> str:
    """Format a time span in seconds for people.

    Examples
    --------
    >>> duration(5), duration(125), duration(7300)
    ('5 s', '2 min 5 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
