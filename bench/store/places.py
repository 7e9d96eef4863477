"""Where a study's rows and artifacts lie: in its folder, or at the places that its first run was given."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.core.errors import UserError

DATABASE_FILE = "results.db"
PLACES_FILE = "places.json"
LOCK_FILE = ".prunebench.lock"


@dataclass(frozen=True)
class Places:
    """URLs of what does not lie in the study folder.

    Attributes
    ----------
    store : str or None
        ``postgresql+psycopg://...``; None for SQLite in the study folder.
    artifacts : str or None
        Any fsspec URL, such as ``s3://bucket/folder``; None for ``artifacts/`` in the study folder.
    """

    store: str | None = None
    artifacts: str | None = None


def home(path: str) -> Path:
    """Expand ``~`` in a path; that of a user who is not there stays as it is, as in a shell."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises for a user who is not there


def read_places(folder: Path) -> Places:
    """Return where the rows and artifacts of a study folder lie.

    Raises
    ------
    UserError
        If the folder's ``places.json`` cannot be read.
    """
    path = folder / PLACES_FILE
    if not path.exists():
        return Places()
    unusable = UserError(f"{path}: is not what a run wrote there; restore it, or delete it and give the URLs again")
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise unusable from error
    names = asdict(Places()).keys()
    if not isinstance(found, dict) or not all(n in names and isinstance(v, str) for n, v in found.items()):
        raise unusable
    if "://" not in (place := found.get("artifacts", "/")) and not Path(place).is_absolute():
        raise unusable  # it would be another place in every folder
    return Places(**found)


def refuse_links(folder: Path) -> None:
    """Raise `UserError` where what a run writes into a study folder would land outside it."""
    inside, kept = os.path.realpath(folder), folder / "artifacts"
    files = (DATABASE_FILE, f"{DATABASE_FILE}-wal", f"{DATABASE_FILE}-shm", PLACES_FILE, LOCK_FILE)
    for path in (*(folder / name for name in files), kept, *kept.glob("*")):
        if not Path(os.path.realpath(path)).is_relative_to(inside):
            raise UserError(f"{path}: leads out of the study; remove the link (`run --artifacts` names another place)")


def is_begun(folder: Path) -> bool:
    """Whether a first run has settled where the rows of a study folder lie."""
    return (folder / PLACES_FILE).exists() or (folder / DATABASE_FILE).exists()


def refuse_other_places(folder: Path, requested: Places) -> None:
    """Raise `UserError` where a study was begun elsewhere than the command line names."""
    known = asdict(read_places(folder))
    for name, value in asdict(requested).items():
        if value is not None and value != known[name] and is_begun(folder):
            raise UserError(
                f"{folder}: this study was begun with its {name} in {known[name] or 'the study folder'}, not in "
                f"{value}: leave --{name} out, or make a new study folder"
            )


def keep_places(folder: Path, requested: Places) -> None:
    """Keep the URLs of a study's first run, which every command reads from then on.

    Parameters
    ----------
    folder : Path
        Study folder.
    requested : Places
        What the command line names; None leaves a place as it is.

    Raises
    ------
    UserError
        If the study was begun elsewhere, or the folder cannot be written.
    """
    refuse_other_places(folder, requested)
    wanted = {name: value for name, value in asdict(requested).items() if value is not None}
    if not wanted or is_begun(folder):
        return
    path = folder / PLACES_FILE
    scratch = path.with_name(f".{PLACES_FILE}.new")
    try:
        with scratch.open("w") as stream:
            stream.write(json.dumps(wanted, indent=1, sort_keys=True) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        scratch.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error
