"""The registration of a study: claims, study, plan and code are frozen before the first cell, and the seeds follow.

A study folder has ``registration.json`` (its SHA-256 is the source of all seeds), ``amendments.json`` (recorded
deviations) and ``registrations/`` (earlier registrations, ``001.json`` first).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from bench.core.errors import UserError
from bench.core.identity import canonical_json, file_digest
from bench.store.registration import (
    PRESENTATION,
    PRESENTATION_OF_ENTRIES,
    Amendment,
    Design,
    Package,
    Pilot,
    Record,
    Registration,
    study_differences,
)
from bench.study.spec import StudyFile

REGISTRATION_FILE = "registration.json"
AMENDMENTS_FILE = "amendments.json"
EARLIER_FOLDER = "registrations"
TOKEN_FILE = "registration.tsr"

#: Top-level packages whose files are registered, and the libraries that decide claims or compute rows.
PACKAGES = ("analysis", "bench", "prunebench")
LIBRARIES = ("numpy", "pandas", "scipy", "statsmodels", "torch")
#: Changed files that a line names; of the others it gives the number.
NAMED = 5

_AMENDMENTS = TypeAdapter(tuple[Amendment, ...])


def read_record(folder: Path) -> Record | None:
    """Read the registration of a study folder; None if it is not registered.

    Raises
    ------
    UserError
        If a file of the registration is damaged, or was edited.
    """
    path, amended, token = (folder / name for name in (REGISTRATION_FILE, AMENDMENTS_FILE, TOKEN_FILE))
    if not path.exists():
        return None
    try:
        amendments = _AMENDMENTS.validate_json(amended.read_bytes()) if amended.exists() else ()
    except ValueError as error:
        raise UserError(f"{amended}: is not what `prunebench amend` wrote there; restore it") from error
    try:
        record = Record(
            text=path.read_bytes().decode(),
            amendments=amendments,
            token=base64.b64encode(token.read_bytes()).decode() if token.exists() else None,
            earlier=tuple(file_digest(file) for file in earlier_files(folder)),
        )
        number = record.registration.number
    except ValueError as error:  # what is no UTF-8, no JSON or of another form
        raise UserError(f"{path}: is not what `prunebench register` wrote there; restore it") from error
    if (fault := record.chain_fault()) is not None:
        raise UserError(f"{amended}: {fault}; restore the file")
    if record.registration.previous != (record.earlier[-1] if record.earlier else None):
        raise UserError(
            f"{folder / EARLIER_FOLDER}: registration {number - 1} of this folder is missing or altered; restore it"
        )
    return record


def earlier_files(folder: Path) -> list[Path]:
    """Return the earlier registrations of a folder, the oldest first."""
    return sorted(path for path in (folder / EARLIER_FOLDER).glob("*.json") if path.stem.isdigit())


def register(
    folder: Path,
    design: Design,
    claims: str,
    *,
    name: str,
    profile: str | None = None,
    gates: Mapping[str, Any] | None = None,
    pilots: Sequence[Pilot] = (),
    seen: str = "",
) -> Record:
    """Write the registration of a study that has no data yet, in place of an earlier one.

    Parameters
    ----------
    folder : Path
        Study folder.
    design : Design
        What shall be run (`bench.run.open_study.OpenStudy.design`).
    claims : str
        SHA-256 of the content of claims.yaml.
    name, profile : str
        Of the study.
    gates : mapping, optional
        Informative settings, as plain JSON values.
    pilots : sequence of Pilot, optional
        The studies they come from.
    seen : str, default ""
        What the author has seen before.

    Returns
    -------
    Record
        As `read_record` reads it.

    Raises
    ------
    UserError
        If the earlier registration is damaged.

    Notes
    -----
    The caller refuses a folder that holds data (`bench.study.registered.refuse_data`).
    """
    before = read_record(folder)
    registration = Registration(
        name=name, profile=profile, claims=claims, design=design, package=package_state(), gates=dict(gates or {}),
        pilots=tuple(pilots), seen=seen, number=1 if before is None else before.registration.number + 1,
        previous=None if before is None else before.sha256, time=_now(),
    )  # fmt: skip
    if before is not None:
        _keep_earlier(folder, before.registration.number)
    path = folder / REGISTRATION_FILE
    path.write_bytes(canonical_json(registration.model_dump(mode="json")).encode())
    return Record(text=path.read_text(), earlier=tuple(map(file_digest, earlier_files(folder))))


def _keep_earlier(folder: Path, number: int) -> None:
    """Move the files of the present registration to those of the earlier ones."""
    (folder / EARLIER_FOLDER).mkdir(exist_ok=True)
    for file, ending in ((REGISTRATION_FILE, "json"), (AMENDMENTS_FILE, "amendments.json"), (TOKEN_FILE, "tsr")):
        if (folder / file).exists():
            (folder / file).rename(folder / EARLIER_FOLDER / f"{number:03d}.{ending}")


def amend(folder: Path, record: Record, design: Design, claims: str, *, reason: str, rows: int) -> Record:
    """Record a deviation from a registration: the study and the claims as they are now.

    Parameters
    ----------
    folder : Path
        Study folder.
    record : Record
        Its registration.
    design, claims
        As for `register`.
    reason : str
        Why the study or its claims were changed.
    rows : int
        Finished cells.

    Returns
    -------
    Record
        With the amendment.

    Raises
    ------
    UserError
        If nothing has changed.
    """
    changes = changes_since(record, design, claims)
    if not changes:
        raise UserError(f"{folder}: nothing to amend: study and claims are as they were registered")
    previous = record.amendments[-1].digest() if record.amendments else record.sha256
    amendment = Amendment(
        reason=reason, time=_now(), rows=rows, changes=tuple(changes), claims=claims, design=design, previous=previous,
    )  # fmt: skip
    amended = record.model_copy(update={"amendments": (*record.amendments, amendment)})
    content = [one.model_dump(mode="json", exclude_unset=True) for one in amended.amendments]
    (folder / AMENDMENTS_FILE).write_text(json.dumps(content, sort_keys=True, indent=1) + "\n")
    return amended


def changes_since(record: Record, design: Design, claims: str) -> list[str]:
    """Return in what a study or its claims differ from what was registered, amendments included; a line each."""
    registered = record.current
    found = [] if claims == registered.claims else ["claims.yaml"]
    found += [f"study.yaml, {line}" for line in study_differences(*map(_with_defaults, (registered.design, design)))]
    for name, of in (("data", "the images of a data set"), ("checkpoints", "a given checkpoint")):
        if getattr(registered.design, name) != getattr(design, name) and not found:
            found.append(of)
    before, now = registered.design.code, design.code
    return found + [f"the source of {name}" for name in now if before.get(name, now[name]) != now[name]]


def _with_defaults(design: Design) -> dict[str, Any]:
    """Return a resolved study with the default of every key that has been added since."""
    plain = {key: value for key, value in design.study.items() if key not in PRESENTATION - {"name"}}
    for key in ("data", "models"):
        plain[key] = [
            {k: v for k, v in one.items() if k not in PRESENTATION_OF_ENTRIES - {"label"}} for one in plain[key]
        ]
    try:
        return StudyFile.model_validate(plain).model_dump(mode="json")
    except ValidationError:  # a key that this version no longer has
        return design.study


def changes_of_package(record: Record) -> list[str]:
    """Return in what the package and the libraries differ from the registered ones; a line each."""
    before, now = record.registration.package, package_state()
    lines = [f"prunebench {before.version} -> {now.version}"] if before.version != now.version else []
    files = sorted(
        name for name in before.files.keys() | now.files.keys() if before.files.get(name) != now.files.get(name)
    )
    if files:
        more = f" and {len(files) - NAMED} more" if len(files) > NAMED else ""
        lines.append(f"files of the package: {', '.join(files[:NAMED])}{more}")
    return lines + [
        f"{name} {before.libraries.get(name, 'absent')} -> {found}"
        for name, found in now.libraries.items()
        if before.libraries.get(name) != found
    ]


def changes_of_plan(record: Record, design: Design) -> list[str]:
    """Return in what the planned cells differ from the registered ones, although the study is the same."""
    kept = record.current.design
    if kept.plan == design.plan:
        return []
    changed = [
        f"{name} {kept.settings.get(name)} -> {now}"
        for name, now in design.settings.items()
        if kept.settings.get(name) != now
    ]
    because = ", ".join(changed) or "other versions of the methods or networks"
    return [f"the ids of the planned cells ({kept.cells} registered, {design.cells} now): {because}"]


def package_state() -> Package:
    """Return version and files of the installed package, and the versions of the deciding libraries."""
    return Package(
        version=_version("prunebench"),
        files={name: file_digest(path) for name, path in _package_files().items()},
        libraries={name: _version(name) for name in LIBRARIES},
    )


def _package_files() -> dict[str, Path]:
    """Return the files of the package by their path below it: the same on every machine."""
    found = {}
    for package in PACKAGES:
        spec = find_spec(package)
        for place in (spec and spec.submodule_search_locations) or ():
            for path in Path(place).rglob("*"):
                if path.is_file() and "__pycache__" not in path.parts:
                    found[f"{package}/{path.relative_to(place).as_posix()}"] = path
    return dict(sorted(found.items()))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
