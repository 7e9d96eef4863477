"""Describe the machine for ``prunebench doctor``: processor, memory, GPU, database, data folders, versions."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import psutil
import torch

from bench.core.errors import UserError
from bench.core.provenance import package_versions, processor_name
from bench.run.settings import device_class, has_fast_bfloat16
from bench.store.database import open_store


def describe_machine() -> dict[str, str]:
    """Return one text per property of the machine that matters to a run.

    Returns
    -------
    dict of str to str
        Keys ``processor``, ``memory``, ``disk``, ``GPU``, ``bfloat16``, ``database``, ``PRUNEBENCH_DATA``,
        ``PRUNEBENCH_CACHE`` and ``versions``.
    """
    gpu = torch.cuda.is_available()
    return {
        "processor": f"{processor_name()}, {psutil.cpu_count(logical=False)} cores, "
        f"torch uses {torch.get_num_threads()} threads",
        "memory": f"{psutil.virtual_memory().available / 2**30:.1f} of "
        f"{psutil.virtual_memory().total / 2**30:.1f} GiB free",
        "disk": f"{shutil.disk_usage(Path.cwd()).free / 2**30:.1f} GiB free in this folder",
        "GPU": device_class("cuda") if gpu else "no usable GPU: studies run on the CPU",
        "bfloat16": "native"
        if has_fast_bfloat16("cuda" if gpu else "cpu")
        else "not native: precision auto selects float32",
        "database": _try_database(),
        "PRUNEBENCH_DATA": _data_folder(),
        "PRUNEBENCH_CACHE": os.environ.get("PRUNEBENCH_CACHE", "not set: dense models are stored in each study"),
        "versions": ", ".join(f"{name} {version}" for name, version in package_versions().items()),
    }


def _try_database() -> str:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        try:
            open_store(Path(folder), create=True).close()
        except UserError as error:
            return f"cannot be written here: {error}"
    return "SQLite with WAL works in this folder"


def _data_folder() -> str:
    value = os.environ.get("PRUNEBENCH_DATA")
    if value is None:
        return "not set: CIFAR-10 and the published checkpoints are not available"
    if not Path(value).is_dir():
        return f"{value}: there is no such folder"
    return f"{value}: " + ", ".join(sorted(entry.name for entry in Path(value).iterdir() if entry.is_dir()))
