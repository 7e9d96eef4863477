"""Commands that register a study before its data exist: ``register``, ``amend`` and ``verify``."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.core.errors import UserError
from prunebench.cli.options import AsJson, Device, Profile, StudyFolder
from prunebench.cli.output import make_console, print_json
from prunebench.imports import quick_imports

if TYPE_CHECKING:
    from analysis.evidence.evidence import Evidence
    from bench.store.registration import Pilot, Record
    from bench.store.registration_level import Level

commands = typer.Typer()


@commands.command()
def register(
    study: StudyFolder,
    profile: Profile = None,
    device: Device = "auto",
    pilot: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="a study whose data were used to choose settings and margins (repeatable)"),
    ] = None,
    seen: Annotated[str, typer.Option(metavar="TEXT", help="what you have seen of such data before")] = "",
) -> None:
    """Freeze claims, study, plan and code in registration.json, and derive the seeds from it; computes no cell."""
    from analysis.evidence.files import refuse_without_evidence

    for folder in pilot or ():
        refuse_without_evidence(folder)
    claims = _claims_hash(study, profile)
    from bench.study.registered import refuse_data  # loads pandas

    refuse_data(study)
    with quick_imports():
        from analysis.claims.gates import gates_to_register
        from analysis.claims.read import read_claims
        from analysis.claims.schema import claims_path
        from analysis.evidence.load import load
        from bench.run.open_study import open_study
        from prunebench.planned_claims import plan_session
    from bench.study.registration import register as write_registration

    session = open_study(study, profile, device)
    pilots = {folder: load(folder) for folder in pilot or ()}
    _, warnings = plan_session(study, session, list(pilots.values()))
    for warning in warnings:
        typer.echo(f"warning: {warning}", err=True)
    gates = gates_to_register(read_claims(claims_path(study)).claims, list(pilots.values()))
    record = write_registration(
        study, session.design, claims, name=session.study.file.name, profile=profile, gates=gates,
        pilots=[_pilot(folder, evidence) for folder, evidence in pilots.items()], seen=seen,
    )  # fmt: skip
    registered = record.registration
    typer.echo(f"wrote {study / 'registration.json'} (SHA-256 {record.sha256})")
    typer.echo(f"registration {registered.number} of this folder: {registered.design.cells} cells; the seeds follow")
    if gates:
        parts = [f"{claim} {part}: {len(kept)}" for claim, of in gates.items() for part, kept in of.items()]
        typer.echo(f"informative settings in the pilot, by part: {', '.join(parts)}")
    typer.echo(f"next: git add {study}; git commit -m 'Registration'; prunebench run {study}{_option(profile)}")


@commands.command()
def amend(
    study: StudyFolder,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="why the study or its claims were changed")],
    device: Device = "auto",
) -> None:
    """Record that study.yaml or claims.yaml were changed after the registration; the seeds stay."""
    from bench.study.registration import read_record

    record = read_record(study)
    if record is None:
        raise UserError(f"{study}: is not registered; `prunebench register {study}` does that")
    if not reason.strip():
        raise UserError("--reason: is empty; give the reason in words, since the report prints it")
    profile = record.registration.profile
    claims = _claims_hash(study, profile)
    with quick_imports():
        from bench.run.open_study import open_study
        from prunebench.planned_claims import check_claims_against
    from bench.store.database import open_store
    from bench.store.places import is_begun
    from bench.study.registered import finished_rows, store_amendments
    from bench.study.registration import amend as write_amendment

    session = open_study(study, profile, device)
    for warning in check_claims_against(study, session):
        typer.echo(f"warning: {warning}", err=True)
    amended = write_amendment(study, record, session.design, claims, reason=reason, rows=finished_rows(study))
    if is_begun(study):
        with closing(open_store(study)) as store, store.lock():
            store_amendments(store, amended)
    typer.echo(f"amendment {len(amended.amendments)}: {'; '.join(amended.amendments[-1].changes)}")


@commands.command()
def verify(study: StudyFolder, profile: Profile = None, as_json: AsJson = False) -> None:
    """Print what the registration proves: its level, deviations, changes of the code, and missing cells."""
    from analysis.evidence.files import has_evidence
    from bench.study.registered import files_differing
    from bench.study.registration import changes_of_package, read_record

    level = _level(study, profile) if has_evidence(study) else None
    record = read_record(study) if level is None else level.record
    if level is None and record is None and not (study / "study.yaml").exists():
        raise UserError(f"{study}: there is no study; name a folder with a study.yaml or a report")
    facts: dict[str, Any] = {"level": "not registered", "because": "there is no registration.json"}
    if level is not None:
        facts = {"level": level.word, "because": level.reason}
    elif record is not None:
        facts = {"level": "registered", "because": "there are no data yet"}
    if record is not None:
        facts |= _describe(record)
        facts["changes on this machine"] = changes_of_package(record)
    if level is not None and record is not None:
        facts |= {
            "files that differ from the evidence": files_differing(study, record),
            "changes in the runs": list(level.changes), "cells without a row": level.missing,
            "failed cells": level.failed, "given checkpoints": list(level.given),
        }  # fmt: skip
    if as_json:
        print_json(facts)
        return
    out = make_console()
    for name, value in facts.items():
        for line in value if isinstance(value, list) else [value]:
            out.print(f"{name}: {line}")


def _claims_hash(study: Path, profile: str | None) -> str:
    """Check the files of a study and return the hash of its claims."""
    from bench.plugins.catalogue import make_registry
    from bench.study.load import check_study

    check_study(study, make_registry(study), profile)
    from analysis.claims.read import claims_hash  # loads pandas

    claims = study / "claims.yaml"
    if not claims.exists():
        raise UserError(f"{claims}: there is no such file, and a registration is about claims; write one")
    return claims_hash(claims)


def _pilot(folder: Path, evidence: Evidence) -> Pilot:
    """Describe a pilot by the name of its folder and the hash of its data."""
    from analysis.evidence.load import data_hash
    from bench.store.registration import Pilot

    return Pilot(name=folder.resolve().name, data_hash=data_hash(evidence))


def _level(study: Path, profile: str | None) -> Level:
    """Decide the level of a study from its evidence, and check it with Git and the time-stamp."""
    from analysis.claims.read import claims_hash
    from analysis.claims.schema import claims_path

    claims = claims_path(study)
    digest = claims_hash(claims) if claims.exists() else None
    with quick_imports():
        from analysis.evidence.load import load
    from bench.store.registration_level import registration_level
    from bench.study.registered import verify_level, verify_stamp

    data = load(study, profile)
    return verify_level(study, registration_level(data.meta, data.rows, digest, verify_stamp))


def _describe(record: Record) -> dict[str, Any]:
    """Return what a person should know of a registration, by title."""
    registered = record.registration
    return {
        "registration": f"SHA-256 {record.sha256}, {registered.time} by the author's clock",
        "registrations of this folder": registered.number,
        "registered cells": record.current.design.cells,
        "pilots": [f"{pilot.name} (data {pilot.data_hash[:12]})" for pilot in registered.pilots],
        "seen before": registered.seen or "nothing stated",
        "amendments": [
            f"{one.time}, after {one.rows} rows: {one.reason} ({'; '.join(one.changes)})" for one in record.amendments
        ],
    }


def _option(profile: str | None) -> str:
    return f" --profile {profile}" if profile else ""
