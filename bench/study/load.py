"""Read study.yaml: every error has file, line and column, and the nearest valid name."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from bench.core.errors import UserError, suggest
from bench.core.registry import Registry
from bench.core.types import GRID, PLUGIN_AXES, Axis, Choice
from bench.core.yaml_file import Document, DocumentError, read_document
from bench.study.spec import (
    STUDY_FILE,
    Calibration,
    DataSpec,
    Exclusion,
    Execution,
    Limit,
    ModelSpec,
    Normalisation,
    PluginEntry,
    Study,
    StudyFile,
)


def load_study(folder: Path, registry: Registry, profile: str | None = None) -> Study:
    """Read ``folder/study.yaml``.

    Parameters
    ----------
    folder : Path
        Study folder.
    registry : Registry
        Plug-ins that the study may name.
    profile : str, optional
        One of the file's profiles; its keys replace those of the file.

    Raises
    ------
    UserError
        For anything wrong, with file, line and column and the nearest valid name.
    """
    document, file = _read(folder, profile)
    values = {
        axis.name: _resolve(document, registry, axis, getattr(file, axis.key))
        if axis.plugin
        else getattr(file, axis.key)
        for axis in GRID
    }
    _check_duplicates(document, _listed(file))
    _check_duplicates(document, {axis.key: [choice.label for choice in values[axis.name]] for axis in PLUGIN_AXES})
    return Study(folder, file, profile, values)


def check_study(folder: Path, registry: Registry, profile: str | None = None) -> None:
    """Check the keys and values of ``folder/study.yaml`` and the names in it, but import no method.

    The options of methods, references such as ``./file.py:function`` and names of timm's models are left to
    `load_study` and its callers: they need torch, which takes longer to import than all other checks to run.

    Parameters
    ----------
    folder : Path
        Study folder.
    registry : Registry
        Plug-ins that the study may name.
    profile : str, optional
        One of the file's profiles.

    Raises
    ------
    UserError
        As `load_study`.
    """
    document, file = _read(folder, profile)
    for axis in PLUGIN_AXES:
        for where, name, _ in _entries(document, axis, getattr(file, axis.key)):
            if ":" not in name:
                with _located(where):
                    registry.get(axis.name, name)
    _check_duplicates(document, _listed(file))


def _read(folder: Path, profile: str | None) -> tuple[Document, StudyFile]:
    """Read study.yaml and check its keys and values against the schema, with a profile applied."""
    path = folder / STUDY_FILE
    try:
        document = read_document(path, f"{path}: there is no such file; `prunebench new {folder}` makes a study")
    except DocumentError as error:
        raise UserError(str(error)) from error
    plain = document.values
    if profile is not None:
        profiles = plain.get("profiles") or {}
        if not isinstance(profiles, dict) or not all(isinstance(keys, dict) for keys in profiles.values()):
            raise UserError(f"{document.place('profiles')}: every profile needs keys and values of its own")
        if profile not in profiles:
            raise UserError(
                f"{path}: no profile {profile!r}: {suggest(profile, profiles) if profiles else 'it has none'}"
            )
        plain = {**plain, **profiles[profile]}
    try:
        file = StudyFile.model_validate(plain)
    except ValidationError as error:
        raise UserError(_explain(document, error, profile)) from error
    return document, file


def place_of_model(study: Study, number: int) -> str:
    """Return file, line and column of the model entry at index `number`, for messages."""
    document = read_document(study.folder / STUDY_FILE, f"{study.folder / STUDY_FILE}: there is no such file")
    profiled = study.profile is not None and "models" in document.values["profiles"][study.profile]
    return document.place(*(("profiles", study.profile) if profiled else ()), "models", number)


def _explain(document: Document, error: ValidationError, profile: str | None) -> str:
    # an unknown key is often the misspelt one that is reported as missing
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    loc = tuple(part for part in first["loc"] if part != Normalisation.__name__)  # the branch of a union is no key
    name = ".".join(str(part) for part in loc)
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = f"unknown key {str(loc[-1])!r}: {suggest(str(loc[-1]), _keys_at(StudyFile, loc[:-1]))}"
    elif first["type"] == "missing":
        message = f"the key {str(loc[-1])!r} is missing"
    else:
        given = reprlib.repr(first["input"])
        given = "" if message.startswith(f"{given} ") else f" (got {given})"
        message = f"{name}: {message}{given}" if name else message
    if profile is not None and loc and loc[0] in document.values["profiles"][profile]:
        loc = ("profiles", profile, *loc)
    return f"{document.place(*loc)}: {message}"


def _keys_at(schema: type[BaseModel], loc: tuple[Any, ...]) -> list[str]:
    inner: dict[str, type[BaseModel]] = {
        "data": DataSpec, "models": ModelSpec, "calibration": Calibration, "execution": Execution, "exclude": Exclusion,
        "normalisation": Normalisation, "limit": Limit,
    }  # fmt: skip
    found = schema
    for key in loc:
        found = inner.get(str(key), found)
    return list(found.model_fields)


def _entries(
    document: Document, axis: Axis, values: tuple[PluginEntry, ...]
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Iterate over the entries of an axis of plug-ins: place in the file, name and options of each."""
    for number, value in enumerate(values):
        where = document.place(axis.key, number)
        if isinstance(value, str):
            yield where, value, {}
        elif isinstance(value.get("name"), str):
            yield where, value["name"], {key: option for key, option in value.items() if key != "name"}
        else:
            raise UserError(f"{where}: {axis.key}[{number}] needs a 'name'")


@contextmanager
def _located(where: str) -> Iterator[None]:
    """Put a place in the file before the message of a UserError."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _resolve(document: Document, registry: Registry, axis: Axis, values: tuple[PluginEntry, ...]) -> tuple[Choice, ...]:
    choices = []
    for where, name, options in _entries(document, axis, values):
        with _located(where):
            choices.append(registry.get(axis.name, name).resolve(options))
            for half in ("correction", "recalibration") if axis.name == "search" else ():
                registry.get(half, choices[-1].options.get(half, "none"))  # candidates are compared under this repair
    return tuple(choices)


def _listed(file: StudyFile) -> dict[str, list[Any]]:
    """Return the values that the keys of study.yaml list, but for the methods."""
    return {
        "data": [spec.title for spec in file.data],
        "models": [spec.title for spec in file.models],
        "train_seeds": list(file.train_seeds),
        **{axis.key: list(getattr(file, axis.key)) for axis in GRID if not axis.plugin},
    }


def _check_duplicates(document: Document, listed: Mapping[str, Sequence[Any]]) -> None:
    for key, values in listed.items():
        seen: set[Any] = set()
        for number, value in enumerate(values):
            if value in seen:
                hint = "; give one of them another label" if key in ("data", "models") else ""
                raise UserError(f"{document.place(key, number)}: duplicate cells: {key} lists {value!r} twice{hint}")
            seen.add(value)
