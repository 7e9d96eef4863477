"""Where a study's rows and artifacts lie: in its folder, or where its first run was told to put them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.errors import UserError

PLACES_FILE = "places.json"


class Places(BaseModel):
    """URLs of what does not lie in the study folder.

    Attributes
    ----------
    store : str or None
        ``postgresql+psycopg://...``; None for SQLite in the study folder.
    artifacts : str or None
        Any fsspec URL, such as ``s3://bucket/folder``; None for ``artifacts/`` in the study folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: str | None = None
    artifacts: str | None = None


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
    try:
        return Places.model_validate_json(path.read_bytes())
    except (ValidationError, OSError) as error:
        raise UserError(
            f"{path}: is not what a run wrote there; restore it, or delete it and give the URLs again"
        ) from error


def keep_places(folder: Path, asked: Places) -> Places:
    """Keep the URLs of a study's first run, which every command reads from then on; return them.

    Parameters
    ----------
    folder : Path
        Study folder.
    asked : Places
        What the command line names; None leaves a place as it is.

    Raises
    ------
    UserError
        If the study was begun elsewhere.
    """
    known = read_places(folder)
    wanted: dict[str, Any] = {name: value for name, value in asked if value is not None}
    path = folder / PLACES_FILE
    begun = path.exists() or (folder / "results.db").exists()
    for name, value in wanted.items():
        if begun and getattr(known, name) != value:
            here = getattr(known, name) or "the study folder"
            raise UserError(
                f"{folder}: this study was begun with its {name} in {here}, not in {value}: leave --{name} out, "
                f"or make a new study folder"
            )
    if wanted and not begun:
        path.write_text(json.dumps(wanted, indent=1, sort_keys=True) + "\n")
        return Places(**wanted)
    return known
