"""Run the R scripts of this folder and hold what they print against the stored files.

Usage: ``python tests/reference/regenerate.py [--write]``. Exit code 1, with the reason, where R or a package is missing
or a value moved by more than the tolerance. ``--write`` stores what R says now.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
TOPICS = ("correction", "effects", "images", "intervals", "mixed", "paired", "power", "ranks", "trend")
PACKAGES = ("boot", "coin", "jsonlite", "lme4")
INSTALL = "apt-get install r-base-core r-recommended r-cran-jsonlite r-cran-coin r-cran-lme4"
#: Relative difference up to which two runs of R agree: another BLAS sums in another order.
TOLERANCE = 1e-9
#: Absolute difference that is rounding: a variance estimated as zero may come out as 1e-18.
ROUNDING = 1e-12
#: Where lme4's optimiser stops depends on such sums.
TOLERANCES = {"mixed": 1e-5}


def main(write: bool) -> int:
    """Regenerate every topic; return the exit code."""
    absent = missing()
    if absent:
        print(f"cannot regenerate the reference values: missing {', '.join(absent)}. On Debian: {INSTALL}")
        return 1
    moved = False
    for topic in TOPICS:
        printed = run(f"{topic}.R")
        found = json.loads(printed)
        stored_file = FOLDER / f"{topic}.json"
        stored = json.loads(stored_file.read_text()) if stored_file.exists() else {"versions": {}, "values": {}}
        tolerance = TOLERANCES.get(topic, TOLERANCE)
        changes = list(differences(stored["values"], found["values"], tolerance))
        versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
        other = "" if found["versions"] == stored["versions"] else f"; stored under {stored['versions']}"
        print(f"{topic}: {len(changes)} values moved by more than {tolerance:g} ({versions}{other})")
        for change in changes:
            print(f"  {change}")
        moved |= bool(changes)
        if write:
            stored_file.write_text(printed)
    return int(moved and not write)


def missing() -> list[str]:
    """Return the names of what must be installed first."""
    if shutil.which("Rscript") is None:
        return ["Rscript", *(f"the R package {name}" for name in PACKAGES)]
    names = ", ".join(f"'{name}'" for name in PACKAGES)
    absent = run("-e", f"for (p in c({names})) if (!requireNamespace(p, quietly = TRUE)) cat(p, '')").split()
    return [f"the R package {name}" for name in absent]


def run(*arguments: str) -> str:
    """Return what Rscript prints; its messages and errors go to the terminal."""
    done = subprocess.run(
        ["Rscript", "--vanilla", *arguments], cwd=FOLDER, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def differences(stored: Any, found: Any, tolerance: float, place: str = "") -> Iterator[str]:
    """Yield one line for each value that is missing, new or too far from the stored one.

    Examples
    --------
    >>> list(differences({"a": [1.0, 2.0]}, {"a": [1.0, 2.0 + 1e-12]}, 1e-9))
    []
    >>> list(differences({"a": [1.0, 2.0]}, {"a": [1.0, 2.1], "b": 3}, 1e-9))
    ['/a/1: stored 2.0, now 2.1', '/b: stored nothing, now 3']
    """
    if isinstance(stored, dict) and isinstance(found, dict):
        for key in stored | found:
            yield from differences(stored.get(key), found.get(key), tolerance, f"{place}/{key}")
    elif isinstance(stored, list) and isinstance(found, list) and len(stored) == len(found):
        for index, (old, new) in enumerate(zip(stored, found, strict=True)):
            yield from differences(old, new, tolerance, f"{place}/{index}")
    elif isinstance(stored, int | float) and isinstance(found, int | float):
        if not math.isclose(stored, found, rel_tol=tolerance, abs_tol=ROUNDING):
            yield f"{place}: stored {stored}, now {found}"
    elif stored != found:
        old, new = ("nothing" if value is None else str(value)[:60] for value in (stored, found))
        yield f"{place}: stored {old}, now {new}"


if __name__ == "__main__":
    sys.exit(main("--write" in sys.argv[1:]))
