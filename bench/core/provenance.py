"""What a number must be traceable to: versions, hardware, source revision."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import torch

PACKAGES = (
    "prunebench", "torch", "torchvision", "timm", "numpy", "scipy", "statsmodels", "pingouin", "pandas", "scikit-learn",
    "pyarrow", "SQLAlchemy", "pydantic", "matplotlib",
)  # fmt: skip


def package_versions() -> dict[str, str]:
    """Installed version of each package whose version may matter to a number."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def device_class(device: str) -> str:
    """Return ``cpu``, or the GPU's name: rows of different device classes are never compared."""
    return torch.cuda.get_device_name() if device == "cuda" else "cpu"


def processor_name() -> str:
    """Return the processor's model name."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def git_revision(folder: Path) -> dict[str, Any] | None:
    """Commit of the repository that `folder` lies in and whether it has changes; None outside one."""
    try:
        _git(folder, "ls-files", "--error-unmatch", ".")  # an installed copy inside some repository is not its code
        commit = _git(folder, "rev-parse", "HEAD")
        dirty = bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit, "uncommitted_changes": dirty}


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def provenance(device: str) -> dict[str, Any]:
    """Versions, hardware and the revision of this source tree, as plain JSON values."""
    return {
        "python": sys.version.split()[0],
        "system": f"{platform.system()} {platform.machine()}",
        "packages": package_versions(),
        "processor": processor_name(),
        "cores": psutil.cpu_count(logical=False) or psutil.cpu_count() or 1,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "device": device_class(device),
        "git": git_revision(Path(__file__).parent),
    }
