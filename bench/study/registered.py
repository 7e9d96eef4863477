"""What a run does with the registration of its study, and how the level that the evidence claims is verified."""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.core.errors import UserError
from bench.core.git import commit_with, committed_content, first_commit, is_ancestor
from bench.store.database import Store, open_store
from bench.store.places import DATABASE_FILE
from bench.store.registration import REGISTRATION, Design, Record
from bench.store.registration_level import CLAIMED_ORDER, SELF_ATTESTED, Level, Stamp, Verify
from bench.store.tables import NothingRun
from bench.study.registration import (
    AMENDMENTS_FILE,
    REGISTRATION_FILE,
    TOKEN_FILE,
    changes_of_package,
    changes_of_plan,
    changes_since,
    read_record,
)
from bench.study.timestamp import describe_certificates, read_certificates, verify_token

#: The data file of a report.
EVIDENCE_FILE = "report/data.parquet"
CERTIFICATES_FILE = "registration.pem"


def refuse_data(folder: Path) -> None:
    """Raise `UserError` if a study folder holds rows or a report: a registration of these proves nothing."""
    rows = finished_rows(folder)
    found = f"{rows} rows" if rows else "a report" if (folder / EVIDENCE_FILE).exists() else None
    if found is not None:
        raise UserError(
            f"{folder}: holds {found} already, and only what has no data yet can be registered; copy study.yaml and "
            f"claims.yaml into a new folder and register that one, with `--pilot {folder}`"
        )


def finished_rows(folder: Path) -> int:
    """Return the number of rows in the store of a study folder, 0 without a store."""
    try:
        with closing(open_store(folder)) as store:
            return len(store.states())
    except NothingRun:
        return 0


def stored_record(store: Store) -> Record | None:
    """Return the registration that the runs of a store had, or None.

    Raises
    ------
    UserError
        If the store's copy is damaged.
    """
    found = json.loads(store.meta(REGISTRATION) or "null")
    try:
        return None if found is None else Record.model_validate(found)
    except ValidationError as error:
        raise UserError(
            f"{store.place}: its copy of the registration is damaged; restore a copy of it, or make a new study folder"
        ) from error


def store_record(store: Store, record: Record | None) -> None:
    """Write the registration into the store, from where the evidence takes it; None removes it."""
    store.set_meta(REGISTRATION, "null" if record is None else record.model_dump_json())


def store_amendments(store: Store, record: Record) -> None:
    """Write the amendments of a registration into a store that has a run of it."""
    stored = stored_record(store)
    if stored is not None and stored.sha256 == record.sha256:
        store_record(store, stored.model_copy(update={"amendments": record.amendments}))


def check_registration(
    folder: Path, profile: str | None, design: Callable[[], Design], claims: str | None
) -> Record | None:
    """Return the registration of a study folder, or refuse a study that has changed since.

    Parameters
    ----------
    folder : Path
        Study folder.
    profile : str or None
        Of the run.
    design : callable
        Returns what a run would compute; called only for a registered study.
    claims : str or None
        SHA-256 of the content of claims.yaml; None if there is none.

    Raises
    ------
    UserError
        If the registration is damaged, or the claims, the study or its profile are not the registered ones.
    """
    record = read_record(folder)
    if record is None:
        return None
    registered = record.registration.profile
    if profile != registered:
        how = f"--profile {registered}" if registered else "no --profile"
        raise UserError(f"{folder}: was registered for a run with {how}; use that, or another folder for other runs")
    changes = changes_since(record, design(), claims or "")
    if changes:
        raise UserError(
            f"{folder}: changed since the registration: {'; '.join(changes)}: restore it, record it with `prunebench "
            f"amend {folder} --reason TEXT`, or register in a new folder"
        )
    return record


def begin_registered(
    store: Store, folder: Path, record: Record | None, design: Callable[[], Design], verify: Verify | None = None
) -> Record | None:
    """Write the registration of a run into its store, with what belongs to the first run.

    Parameters
    ----------
    store : Store
        Of the study, locked.
    folder : Path
        Study folder.
    record : Record or None
        From `check_registration`.
    design : callable
        As for `check_registration`.
    verify : callable, optional
        Verifies a time-stamp; default: `verify_stamp`.

    Returns
    -------
    Record or None
        With the commit and the certificates of the first run, and the changes of package and libraries that this run
        and earlier ones found. None if the study is not registered.

    Raises
    ------
    UserError
        If the study was begun without a registration, or with another one or another time-stamp, or if the time-stamp
        is not valid.
    """
    stored, begun = stored_record(store), bool(store.states())
    if begun:
        _refuse_other(folder, record, stored)
    if record is None:
        if stored is not None:
            store_record(store, None)
        return None
    first: dict[str, Any]
    if begun and stored is not None:
        first = {"commit": stored.commit, "certificates": stored.certificates, "at_start": stored.at_start}
    else:
        first = {
            "commit": commit_with(folder / REGISTRATION_FILE),
            "certificates": None if record.token is None else _certificates(folder),
            "at_start": len(record.amendments),
        }
        if record.token is not None:
            (verify or verify_stamp)(record.model_copy(update=first))
    before = stored.changes if begun and stored is not None else ()
    changes = tuple(dict.fromkeys((*before, *changes_of_package(record), *changes_of_plan(record, design()))))
    found = record.model_copy(update={**first, "changes": changes})
    store_record(store, found)
    return found


def _refuse_other(folder: Path, record: Record | None, stored: Record | None) -> None:
    """Raise `UserError` if a study that has rows was begun under another registration."""
    path, token = folder / REGISTRATION_FILE, folder / TOKEN_FILE
    if stored is None and record is not None:
        raise UserError(
            f"{path}: is newer than the rows of this study, which were computed with other seeds; remove it, or "
            f"register in a new folder"
        )
    if stored is not None and (record is None or record.sha256 != stored.sha256):
        fault = "is missing" if record is None else "is not the one under which the study was begun"
        raise UserError(f"{path}: {fault}; restore it, or make a new study folder")
    if stored is not None and record is not None and record.token != stored.token:
        raise UserError(
            f"{token}: is not the time-stamp under which the study was begun, so that the seeds have changed; "
            f"restore it, or make a new study folder"
        )
    if stored is not None and record is not None and record.amendments[: len(stored.amendments)] != stored.amendments:
        raise UserError(
            f"{folder / AMENDMENTS_FILE}: lacks an amendment that was stored with the rows; restore the file (to undo "
            f"an amendment, change the study again and record that with `prunebench amend`)"
        )


def files_differing(folder: Path, stored: Record) -> list[str]:
    """Return the registration files of a folder that are not those that the evidence keeps.

    Parameters
    ----------
    folder : Path
        Study folder.
    stored : Record
        What the evidence keeps of the registration.
    """
    try:
        found = read_record(folder)
    except UserError as error:
        return [str(error)]
    if found is None:
        return [f"{REGISTRATION_FILE} (missing)"]
    pairs = (
        (REGISTRATION_FILE, found.sha256, stored.sha256),
        (AMENDMENTS_FILE, found.amendments, stored.amendments),
        (TOKEN_FILE, found.token, stored.token),
    )
    return [name for name, here, there in pairs if here != there]


def _certificates(folder: Path) -> str:
    """Return the file with the certificates of the time-stamping authority, base64."""
    path = folder / CERTIFICATES_FILE
    if not path.exists():
        raise UserError(f"{path}: is missing; put the certificates of the time-stamping authority there")
    return base64.b64encode(path.read_bytes()).decode()


def verify_stamp(record: Record) -> Stamp:
    """Verify the time-stamp of a registration with the certificates that the record keeps.

    Raises
    ------
    UserError
        If the time-stamp is not valid for this registration under these certificates.
    """
    with tempfile.TemporaryDirectory() as folder:
        certificates = Path(folder, CERTIFICATES_FILE)
        certificates.write_bytes(base64.b64decode(record.certificates or ""))
        time = verify_token(base64.b64decode(record.token or ""), record.text.encode(), certificates)
        lines = describe_certificates(read_certificates(certificates))
    return Stamp(time, " or ".join(lines))


def verify_level(folder: Path, level: Level) -> Level:
    """Check with Git the commit that a level rests on, and lower the level where it does not hold.

    Parameters
    ----------
    folder : Path
        Study folder, in the repository that holds registration and evidence.
    level : Level
        From `bench.store.registration_level.registration_level`.
    """
    record = level.record
    if record is None or level.word != CLAIMED_ORDER:
        return level
    fault = _fault_of_history(folder, record)
    if fault is None:
        return replace(level, reason=_order(folder, record))
    return replace(level, word=SELF_ATTESTED, reason=fault)


def _evidence_commit(folder: Path) -> str | None:
    """Return the first commit with the report's data or, without one, with the store."""
    return first_commit(folder, EVIDENCE_FILE) or first_commit(folder, DATABASE_FILE)


def _order(folder: Path, record: Record) -> str:
    evidence = _evidence_commit(folder) or ""
    return f"the registration is in commit {str(record.commit)[:12]}, an ancestor of {evidence[:12]} with the evidence"


def _fault_of_history(folder: Path, record: Record) -> str | None:
    """Return why Git does not show that the registration is older than the evidence, or None."""
    if record.commit is None:
        return "the registration was not committed when the run began"
    content = committed_content(folder, REGISTRATION_FILE, record.commit)
    if content is None:
        return f"no repository here has commit {record.commit[:12]} with the registration, which the first run stored"
    if hashlib.sha256(content).hexdigest() != record.sha256:
        return f"commit {record.commit[:12]}, which the first run stored, holds another registration"
    evidence = _evidence_commit(folder)
    if evidence is None:
        return "the evidence is not committed yet; commit the report, then verify again"
    if evidence == record.commit:
        return f"commit {record.commit[:12]} holds the registration and the evidence, so that it shows no order"
    if not is_ancestor(folder, record.commit, evidence):
        return f"commit {record.commit[:12]} of the registration is no ancestor of {evidence[:12]} with the evidence"
    return None
