"""Writing files that are either complete or not there."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pandas as pd

from bench.errors import UserError
from bench.store import schema
from bench.store.reader import typed


def write_artifact(path: Path, content: bytes) -> None:
    """Write by temporary file, fsync and rename, so that a kill leaves the old file or the new one.

    Parameters
    ----------
    path : Path
        Its folder is made if missing; a file there is replaced.
    content : bytes
        The whole file.

    Raises
    ------
    UserError
        If it cannot be written (no space, no permission).

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_artifact(Path(folder) / "curves" / "a.txt", b"whole")
    ...     [(p.name, p.read_bytes()) for p in sorted(Path(folder).rglob("*.*"))]
    [('a.txt', b'whole')]
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        reason = f"{error.strerror}; make room or choose another folder"
        raise UserError(f"{path}: cannot be written: {reason}") from error


def write_table(path: Path, frame: pd.DataFrame, columns: tuple[schema.Column, ...]) -> None:
    """Write a frame with the given columns as Parquet, whole or not at all; equal frames give equal bytes.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    buffer = io.BytesIO()
    typed(frame, columns).to_parquet(buffer, index=False, compression="zstd")
    write_artifact(path, buffer.getvalue())
