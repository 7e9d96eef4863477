"""What the registration of a study proves, decided from the evidence alone.

    level = registration_level(data.meta, data.rows, claims_hash)
    level.word       # "not registered", "self-attested", ...

The commit is taken as the evidence claims it; `bench.study.registered.verify_level` checks it. A time-stamp counts only
where it is verified here: without `verify` the level is that of a study without one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.core.errors import UserError
from bench.store.correctness import share_correct
from bench.store.registration import (
    REGISTRATION,
    Amendment,
    Record,
    Registration,
    derived_seed,
    portable,
    study_differences,
)

if TYPE_CHECKING:
    import pandas as pd

NOT_REGISTERED = "not registered"
SELF_ATTESTED = "self-attested"
CLAIMED_ORDER = "order claimed by the author's history"
TIME_STAMPED = "time-stamped"
#: From the weakest to the strongest.
LEVELS = (NOT_REGISTERED, SELF_ATTESTED, CLAIMED_ORDER, TIME_STAMPED)


@dataclass(frozen=True)
class Stamp:
    """A verified time-stamp: when it was signed, and a line that names the authority and its fingerprint."""

    time: datetime
    authority: str


#: Verifies the time-stamp of a record, or raises `UserError` (`bench.study.registered.verify_stamp`).
Verify = Callable[[Record], Stamp]


class _Entry(BaseModel):
    """A data set or model of a resolved study; the other keys are compared as they are."""

    model_config = ConfigDict(frozen=True)

    name: str
    label: str | None = None
    checkpoint: str | None = None

    @property
    def title(self) -> str:
        return self.label or self.name


class _Calibration(BaseModel):
    model_config = ConfigDict(frozen=True)

    draws: int = Field(ge=1, le=10**6)


class _Study(BaseModel):
    """What the level reads of a resolved study."""

    model_config = ConfigDict(frozen=True)

    data: tuple[_Entry, ...]
    models: tuple[_Entry, ...]
    train_seeds: tuple[int, ...]
    calibration: _Calibration


@dataclass(frozen=True)
class Level:
    """What a registration proves.

    Attributes
    ----------
    word : str
        One of `LEVELS`.
    reason : str
        Why the level is not higher, or what it rests on; one clause.
    record : Record or None
        What the evidence keeps of the registration; None if it keeps none, or a damaged one.
    missing : int
        Registered cells without a row in the evidence: never run, or deleted.
    failed : int
        Planned cells that failed.
    given : tuple of str
        Labels of the models that were given as checkpoints. They have no seeds, so their results may be older than any
        registration.
    """

    word: str
    reason: str
    record: Record | None = None
    missing: int = 0
    failed: int = 0
    given: tuple[str, ...] = ()

    @property
    def is_before_data(self) -> bool:
        """Whether the registration is proved to be older than all data."""
        return self.word == TIME_STAMPED and not self.given

    @property
    def number(self) -> int:
        """Number of registrations of the folder, up to this one; 0 without one."""
        return 0 if self.record is None else self.record.registration.number

    @property
    def changes(self) -> tuple[str, ...]:
        """Changes of package or libraries since the registration, a line each."""
        return () if self.record is None else self.record.changes

    @property
    def amendments(self) -> tuple[Amendment, ...]:
        """Recorded deviations, in order."""
        return () if self.record is None else self.record.amendments


def registration_level(
    meta: Mapping[str, Any], rows: pd.DataFrame, claims: str | None, verify: Verify | None = None
) -> Level:
    """Decide what the registration of a study proves.

    Parameters
    ----------
    meta : mapping
        `bench.store.reader.StudyData.meta`.
    rows : DataFrame
        `bench.store.reader.StudyData.rows`, all of them: ``dataset``, ``model``, ``train_seed``, ``calibration_draw``,
        ``state``, ``checkpoint``, ``accuracy``, ``correct`` and ``n_test``.
    claims : str or None
        SHA-256 of the content of claims.yaml; None if there is none.
    verify : callable, optional
        Verifies the time-stamp. Without it no study is `TIME_STAMPED`.
    """
    stored = meta.get(REGISTRATION)
    if stored is None:
        return Level(NOT_REGISTERED, "the evidence has no registration")
    try:
        record = Record.model_validate(stored)
        registration = record.registration
        for design in (registration.design, *(amendment.design for amendment in record.amendments)):
            _Study.model_validate(design.study)
        study = _Study.model_validate(meta["study"])
    except ValidationError:
        return Level(NOT_REGISTERED, "the stored registration is damaged")
    current = record.current
    fault = (
        record.chain_fault()
        or _fault_of_claims(record, registration, claims)
        or _fault_of_study(current, meta["study"])
        or _fault_of_seeds(record, study, rows)
        or _fault_of_rows(rows)
    )
    word, reason = (NOT_REGISTERED, fault) if fault is not None else _claimed(record, verify)
    return Level(
        word, reason, record,
        missing=int(rows["state"].isna().sum()) + max(0, current.design.cells - len(rows)),
        failed=int(rows["state"].eq("failed").sum()),
        given=tuple(model.title for model in study.models if model.checkpoint is not None),
    )  # fmt: skip


def _claimed(record: Record, verify: Verify | None) -> tuple[str, str]:
    """Return the level that the evidence claims, and what it rests on."""
    unverified = ""
    if record.token is not None:
        try:
            stamp = verify(record) if verify is not None else None
        except UserError as error:
            unverified = f"the time-stamp cannot be verified ({error}); "
        else:
            if stamp is not None:
                time = stamp.time.isoformat(timespec="seconds")
                return TIME_STAMPED, f"signed at {time} by the authority with the certificate {stamp.authority}"
            unverified = "the time-stamp was not verified; "
    if record.commit is not None:
        return CLAIMED_ORDER, (
            f"{unverified}by the author's record, the registration was in commit {record.commit[:12]} when the run "
            f"began; `prunebench verify` checks this"
        )
    return SELF_ATTESTED, f"{unverified}the registration was not committed when the run began"


def amended_after_data(record: Record) -> list[Amendment]:
    """Return the amendments that were recorded when data existed."""
    return [one for number, one in enumerate(record.amendments) if one.rows or number >= record.at_start]


def _fault_of_claims(record: Record, registration: Registration, claims: str | None) -> str | None:
    """Return that the claims are not the registered ones, or None.

    Amended claims are not registered, whenever they were amended: no seed depends on an amendment, and a study without
    data can be registered again.
    """
    if registration.claims == claims:
        return None
    if record.current.claims == claims:
        return "the claims were amended after the registration"
    return "claims.yaml is not the registered one"


def _fault_of_study(current: Registration | Amendment, study: Mapping[str, Any]) -> str | None:
    changed = study_differences(current.design.study, portable(study), ignore_new=True)
    return f"the study of the evidence is not the registered one ({changed[0]})" if changed else None


def _fault_of_seeds(record: Record, study: _Study, rows: pd.DataFrame) -> str | None:
    """Return that the seeds of the rows do not follow from the registration, or None."""
    wrong = "the seeds of the rows do not follow from the registration"
    source = record.seed_source
    draws = {derived_seed(source, "calibration", number) for number in range(study.calibration.draws)}
    if not set(rows["calibration_draw"].dropna()) <= draws or not set(rows["model"]) <= {m.title for m in study.models}:
        return wrong
    trained = {derived_seed(source, "train", number) for number in study.train_seeds}
    for model in study.models:
        found = rows.loc[rows["model"].eq(model.title), "train_seed"]
        if model.checkpoint is None and not (found.notna().all() and set(found) <= trained):
            return wrong
    return None


def _fault_of_rows(rows: pd.DataFrame) -> str | None:
    """Return that the rows contradict themselves, as after a replaced accuracy or a copied model, or None."""
    done = rows[rows["state"].eq("done")]
    columns = [done[name].tolist() for name in ("correct", "n_test", "accuracy")]
    changed = sum(share_correct(bits, images) != accuracy for bits, images, accuracy in zip(*columns, strict=True))
    if changed:
        return f"the accuracy is not the share of the correctness bits in {changed} row{'s' * (changed > 1)}"
    trained = done[["dataset", "model", "train_seed", "checkpoint"]].dropna().drop_duplicates()
    if trained.duplicated(["dataset", "model", "checkpoint"]).any():
        return "models of different seeds have the same weights"
    return None
