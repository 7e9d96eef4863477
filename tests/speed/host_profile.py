"""What the host does for a cell whose evaluation is known, function by function."""

from __future__ import annotations

import cProfile
import pstats
import tempfile
from pathlib import Path

from tests.speed.measure import Grid, Speed, grid_of

ROOT = Path(__file__).parents[2]
#: Functions that are shown.
SHOWN = 20


def host_profile(
    on: str, device: str = "auto", images: int | None = None, grid: Grid | None = None
) -> list[tuple[str, int, float]]:
    """Profile the sweep of a grid with every evaluation known, after one run that warms up.

    Parameters
    ----------
    on, device, images, grid
        As for `tests.speed.measure.measure`.

    Returns
    -------
    list of (str, int, float)
        Function of `bench`, calls, and milliseconds with all that it calls; the longest first. The profiler itself
        adds to functions that make many short calls.
    """
    with tempfile.TemporaryDirectory(prefix="prunebench-speed-") as name:
        speed = Speed(on, grid_of(on, grid), Path(name), device, images)
        _, rows, _ = speed.run(speed.sweep)
        profiler = cProfile.Profile()
        profiler.runcall(speed.run, speed.sweep, rows)
    found = []
    for (file, _, function), (_, calls, _, seconds, _) in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]
        if Path(file).is_relative_to(ROOT / "bench") and not function.startswith("<"):
            found.append((f"{Path(file).relative_to(ROOT)}: {function}", calls, 1e3 * seconds))
    return sorted(found, key=lambda row: -row[2])[:SHOWN]


def profile_lines(found: list[tuple[str, int, float]]) -> list[str]:
    """Lay the profile out as a table in Markdown."""
    rows = [f"| {name} | {calls} | {milliseconds:.1f} |" for name, calls, milliseconds in found]
    return ["| function | calls | ms, with what it calls |", "|---|---:|---:|", *rows]
