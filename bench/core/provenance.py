"""Provenance of a study's numbers: versions of packages, hardware and source revision, stored with every study."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

#: Packages whose version may change a number.
PACKAGES = (
    "prunebench", "torch", "torchvision", "timm", "numpy", "scipy", "statsmodels", "pingouin", "pandas", "scikit-learn",
    "pyarrow", "SQLAlchemy", "pydantic", "matplotlib",
)  # fmt: skip


def package_versions() -> dict[str, str]:
    """Return the installed version of each package in `PACKAGES`; ``absent`` if it is not installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def processor_name() -> str:
    """Return the model name of the processor."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def git_revision(folder: Path) -> dict[str, Any] | None:
    """Return the commit of the repository that tracks a folder, and whether its files were modified.

    Parameters
    ----------
    folder : Path
        Any folder.

    Returns
    -------
    dict or None
        ``commit`` (40 hexadecimal digits) and ``uncommitted_changes`` (bool). None if Git is not installed, or if no
        repository tracks the folder.
    """
    try:
        _git(folder, "ls-files", "--error-unmatch", ".")  # fails for a copy that is installed inside a repository
        commit = _git(folder, "rev-parse", "HEAD")
        changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit, "uncommitted_changes": bool(changes)}


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def provenance(device_class: str) -> dict[str, Any]:
    """Return versions, hardware and the revision of this source tree.

    Parameters
    ----------
    device_class : str
        ``cpu``, or the name of the GPU that computes.

    Returns
    -------
    dict
        Plain JSON values; memory in GiB.
    """
    return {
        "python": sys.version.split()[0],
        "system": f"{platform.system()} {platform.machine()}",
        "packages": package_versions(),
        "processor": processor_name(),
        "cores": psutil.cpu_count(logical=False) or psutil.cpu_count() or 1,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "device": device_class,
        "git": git_revision(Path(__file__).parent),
    }
