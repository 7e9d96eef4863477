"""Files that are whole or not there, in a folder or behind any fsspec URL, and that tell when they were altered."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from bench.core.errors import UserError
from bench.store import schema
from bench.store.places import Places, home, read_places, refuse_other_places

#: Protocols with atomic writes and without folders; elsewhere a temporary file is written and renamed.
OBJECT_STORES = frozenset({"s3", "gs", "abfs", "oci", "oss", "hf"})

#: What a file holds in place of its own SHA-256 until `sealed`; a checksum of Parquet covers its pages, not its footer.
BLANK = "prunebench-sha256:" + "0" * 64
#: Seconds before a file system behind a URL is tried again.
PAUSES = (1.0, 5.0, 15.0)
#: Written and deleted to see whether that is possible.
PROBE = ".writable"
REACH = "check the address, the network and your rights there"
_LOG = logging.getLogger(__name__)
T = TypeVar("T")
_LEFT_OVER = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
_SEAL = re.compile(rb"prunebench-sha256:([0-9a-f]{64})")


def sealed(content: bytes) -> bytes:
    """Put the SHA-256 of `content` where it holds `BLANK`.

    Examples
    --------
    >>> whole = sealed(b"weights " + BLANK.encode())
    >>> is_altered(whole), is_altered(whole.replace(b"w", b"v")), is_altered(b"of someone else")
    (False, True, False)
    """
    seal = f"prunebench-sha256:{hashlib.sha256(content).hexdigest()}"
    return content.replace(BLANK.encode(), seal.encode(), 1)


def is_altered(content: bytes) -> bool:
    """Whether a file was changed since it was `sealed`; one that never was cannot tell."""
    found = _SEAL.search(content)
    if found is None:
        return False
    view = memoryview(content)
    sha = hashlib.sha256(view[: found.start(1)])
    sha.update(b"0" * 64)
    sha.update(view[found.end(1) :])
    return sha.hexdigest().encode() != found[1]


def typed(frame: pd.DataFrame, columns: tuple[schema.Column, ...]) -> pd.DataFrame:
    """Give every column the pandas type of its kind."""
    return frame.astype({column.name: column.type.pandas for column in columns})


def arrow_schema(columns: Iterable[schema.Column]) -> pa.Schema:
    """Return the Arrow schema of some columns.

    Examples
    --------
    >>> arrow_schema(schema.CHECKS).types
    [DataType(string), DataType(string), DataType(double), DataType(int64)]
    """
    return pa.schema([(column.name, pa.type_for_alias(column.type.arrow)) for column in columns])


def read_file(place: str | Path) -> bytes:
    """Read a whole file.

    Parameters
    ----------
    place : str or Path
        A path, or a URL that fsspec knows.

    Raises
    ------
    UserError
        If it is absent or cannot be read or reached, or a package for the protocol is missing.
    """
    fs, path = _locate(place)
    _refuse_device(fs, path)
    try:
        content: bytes = fs.cat_file(path) if isinstance(fs, LocalFileSystem) else _patiently(lambda: fs.cat_file(path))
    except Exception as error:  # every protocol has errors of its own
        raise _unreadable(place, error) from error
    return content


def digest_file(place: str | Path) -> str:
    """SHA-256 (hex) of a file's bytes, read in pieces; see `read_file`."""
    fs, path = _locate(place)
    _refuse_device(fs, path)
    try:
        with fs.open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except Exception as error:  # every protocol has errors of its own
        raise _unreadable(place, error) from error


def _refuse_device(fs: Any, path: str) -> None:
    """Refuse what may never end: a device, a pipe."""
    if isinstance(fs, LocalFileSystem) and Path(path).exists() and not Path(path).is_file():
        raise UserError(f"{path}: is not a regular file")


def write_file(place: str | Path, content: bytes) -> None:
    """Write a file so that a kill leaves the old one or the new one.

    Parameters
    ----------
    place : str or Path
        A path, or a URL that fsspec knows. Its folder is made if missing; a file there is replaced.
    content : bytes
        The whole file.

    Raises
    ------
    UserError
        If it cannot be written (no space, no permission, not reached), or a package for the protocol is missing.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_file(Path(folder) / "curves" / "a.txt", b"whole")
    ...     [(p.name, p.read_bytes()) for p in sorted(Path(folder).rglob("*.*"))]
    [('a.txt', b'whole')]
    """
    fs, path = _locate(place)
    folder, _, name = path.rpartition("/")
    temporary = f"{folder}/.{name}.{secrets.token_hex(4)}.tmp"  # no process id: machines that share a disk share those
    if isinstance(fs, LocalFileSystem):
        _write_local(Path(path), Path(temporary), content)
        return
    protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)

    def write() -> None:
        if protocols & OBJECT_STORES:
            fs.pipe_file(path, content)
        else:
            fs.makedirs(folder, exist_ok=True)
            fs.pipe_file(temporary, content)
            fs.mv(temporary, path)

    try:
        _patiently(write)
    except Exception as error:  # every protocol has errors of its own
        raise UserError(f"{place}: cannot be written: {_reason(error)}; {REACH}") from error


def _patiently(work: Callable[[], T]) -> T:
    """Do `work` again after each of `PAUSES` where a file system that is far away fails; some failures are final."""
    for pause in PAUSES:
        try:
            return work()
        except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError):
            raise
        except Exception as error:  # every protocol has errors of its own
            _LOG.warning("%s; trying again in %g s", _reason(error), pause)
            time.sleep(pause)
    return work()


def _write_local(path: Path, temporary: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):  # it may never have been made
            temporary.unlink()
        reason = f"{error.strerror}; make room or choose another folder"
        raise UserError(f"{path}: cannot be written: {reason}") from error


@dataclass(frozen=True)
class Artifacts:
    """The files of a study that are no rows: dense models, curves, alignment.

    Attributes
    ----------
    place : str
        An absolute path or a URL that fsspec knows; see `at`.

    Notes
    -----
    Names are relative to the place, with ``/``. All methods raise `UserError` where the place cannot be reached.

    Examples
    --------
    >>> artifacts = Artifacts.at("memory://study")
    >>> artifacts.write("curves/a.txt", b"whole")
    >>> artifacts.exists("curves/a.txt"), artifacts.names(), artifacts.read("curves/a.txt")
    (True, ['curves/a.txt'], b'whole')
    """

    place: str

    @classmethod
    def at(cls, place: str | Path) -> Artifacts:
        """Return the artifacts of a folder or URL, the same from whatever folder they are used later."""
        return cls(str(place) if "://" in str(place) else str(home(str(place)).absolute()))

    @classmethod
    def of(cls, folder: Path) -> Artifacts:
        """Return the artifacts of a study folder: in it, or where its first run put them."""
        return cls.at(read_places(folder).artifacts or folder / "artifacts")

    def where(self, name: str) -> str:
        """Return the path or URL of a file."""
        return f"{self.place.rstrip('/')}/{name}"

    def exists(self, name: str) -> bool:
        """Whether a file is there."""
        place = self.where(name)
        fs, path = _locate(place)
        fs.invalidate_cache()  # another process may have written it
        try:
            return bool(fs.info(path)["type"] == "file")
        except FileNotFoundError:
            return False
        except Exception as error:  # every protocol has errors of its own
            raise _unreadable(place, error) from error

    def names(self, under: str = "") -> list[str]:
        """Return the names of all files in a folder and its folders, sorted; left-over temporary ones do not count."""
        fs, root = _locate(self.place)
        fs.invalidate_cache()  # another process may have written some
        try:
            found = fs.find(f"{root}/{under}".rstrip("/"))
        except Exception as error:  # every protocol has errors of its own
            raise _unreadable(self.where(under), error) from error
        names = (path.removeprefix(root).lstrip("/") for path in found)
        return sorted(name for name in names if not any(part.startswith(".") for part in name.split("/")))

    def read(self, name: str) -> bytes:
        """Return the content of a file; see `read_file`."""
        return read_file(self.where(name))

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all; see `write_file`."""
        write_file(self.where(name), content)

    def refuse_unwritable(self) -> None:
        """Raise `UserError` if no file can be written, before hours of work would end in one."""
        self.write(PROBE, b"")
        fs, path = _locate(self.where(PROBE))
        try:
            fs.rm_file(path)
        except Exception as error:  # every protocol has errors of its own
            raise UserError(f"{self.where(PROBE)}: cannot be deleted: {_reason(error)}; {REACH}") from error

    def read_table(self, name: str) -> pa.Table:
        """Read what `write_table` wrote.

        Raises
        ------
        UserError
            Also if the file is damaged.
        """
        content, reason = self.read(name), "it was altered after it was written"
        if not is_altered(content):
            try:
                return pq.read_table(io.BytesIO(content))
            except Exception as error:  # Arrow raises anything on damaged bytes
                reason = _reason(error)
        raise UserError(
            f"{self.where(name)}: cannot be read as Parquet: {reason}; delete it, and `prunebench run` writes it again"
        )

    def write_table(self, name: str, frame: pd.DataFrame, columns: tuple[schema.Column, ...]) -> None:
        """Write a frame with the given columns as Parquet; equal frames give equal bytes."""
        table = pa.Table.from_pandas(typed(frame, columns), preserve_index=False)
        buffer = io.BytesIO()
        pq.write_table(table.replace_schema_metadata({"sha256": BLANK}), buffer, compression="zstd")
        self.write(name, sealed(buffer.getvalue()))


def remove_left_over(folder: Path) -> None:
    """Remove what a killed run left half written in a study's own folder; only for the run that holds the study.

    Elsewhere another study may be at work.
    """
    for path in (folder / "artifacts").rglob(".*.tmp"):
        if _LEFT_OVER.fullmatch(path.name):
            path.unlink()


def resolve_artifacts(folder: Path, requested: str) -> str:
    """Return the place that ``--artifacts`` names, the same from whatever folder, once a file could be written there.

    Raises
    ------
    UserError
        If the study was begun elsewhere, no file can be written and kept there, or the URL holds a password.
    """
    scheme, colons, _ = requested.partition("://")
    if not requested or (colons and not scheme):
        raise UserError(f"--artifacts {requested!r}: give a folder or a URL such as s3://bucket/folder")
    if scheme == "memory":
        raise UserError(f"--artifacts {requested}: a process' memory is gone when it ends; give a folder or a URL")
    artifacts = Artifacts.at(requested)
    refuse_other_places(folder, Places(artifacts=artifacts.place))
    artifacts.refuse_unwritable()
    return artifacts.place


def _locate(place: str | Path) -> tuple[Any, str]:
    """Return the file system of a path or URL, and the path in it.

    A chain of URLs (``::``) is refused, and with it what fsspec makes of one: references run templates of the file.
    """
    if "://" in str(place) and ("::" in str(place) or str(place).startswith("reference:")):
        raise UserError(
            f"{_shown(str(place))}: a chain of URLs or a file of references; give the URL of the files themselves"
        )
    _refuse_password(str(place))
    try:
        if "://" not in str(place):  # fsspec would take "::" in a name for a chain
            return LocalFileSystem(), home(str(place)).absolute().as_posix()
        fs, path = url_to_fs(str(place))
    except ImportError as error:
        raise UserError(f"{place}: {_reason(error)}, on every machine that the study runs on") from error
    except Exception as error:  # an unknown protocol, a host that does not answer
        raise UserError(f"{place}: {_reason(error)}; {REACH}") from error
    return fs, path.rstrip("/")


def _refuse_password(place: str) -> None:
    if re.search(r"^[^/]*://[^/@]*:[^/@]*@", place):
        raise UserError(
            f"{_shown(place)}: a URL is kept and shown, so it must not hold a password; put that where fsspec's "
            f"configuration or the environment has it"
        )


def _shown(place: str) -> str:
    """Return a URL without user and password, for messages."""
    return re.sub(r"//[^/@]*@", "//...@", place)


def _unreadable(place: str | Path, error: Exception) -> UserError:
    what = "there is no such file" if isinstance(error, FileNotFoundError) else f"cannot be read: {_reason(error)}"
    return UserError(f"{place}: {what}; {REACH}" if "://" in str(place) else f"{place}: {what}")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
