"""Tests of `bench.study.registered`."""

from __future__ import annotations

import base64
import subprocess
from contextlib import closing
from datetime import UTC, datetime

import pytest

from bench.core.errors import UserError
from bench.store.database import open_store
from bench.store.registration import Design
from bench.store.registration_level import CLAIMED_ORDER, SELF_ATTESTED, TIME_STAMPED, Level, Stamp
from bench.study.registered import (
    begin_registered,
    check_registration,
    files_differing,
    finished_rows,
    refuse_data,
    store_amendments,
    stored_record,
    verify_level,
)
from bench.study.registration import amend, read_record, register

CLAIMS, OTHER = "a" * 64, "b" * 64
DESIGN = Design(
    study={"name": "s", "data": [{"name": "digits"}], "models": [{"name": "net"}], "scorers": ["magnitude"],
           "sparsities": [0.5], "train_seeds": [0], "calibration": {"draws": 1}},
    plan="p", cells=2, data=("d",), checkpoints=(), code={}, settings={},
)  # fmt: skip


def design():
    return DESIGN


def verify(record):
    """Stand in for the verification of a time-stamp: the token is the content, signed by adding a letter."""
    token, certificates = (base64.b64decode(text) for text in (record.token, record.certificates))
    if token != record.text.encode() + b"s" or certificates != b"authority":
        raise UserError("the time-stamp is not valid")
    return Stamp(datetime(2026, 1, 2, tzinfo=UTC), "CN=root")


@pytest.fixture
def folder(tmp_path):
    register(tmp_path, DESIGN, CLAIMS, name="s")
    return tmp_path


@pytest.fixture
def store(folder):
    with closing(open_store(folder, create=True)) as store:
        yield store


@pytest.fixture
def add_row(store):
    """Write a finished row."""

    def add(cell="c"):
        store.write_rows([{"cell": cell, "group": "g", "state": "done", "written": "2026-01-03"}])

    return add


@pytest.fixture
def commit(folder):
    """Commit all files of the study and return the commit."""

    def run(*arguments):
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True).stdout

    def all_files():
        run("add", "--all")
        run("commit", "--quiet", "--allow-empty", "--message", "x")
        return run("rev-parse", "HEAD").decode().strip()

    run("init", "--quiet")
    (folder / ".gitignore").write_text("results.db*\n")
    return all_files


def stamp(folder):
    (folder / "registration.tsr").write_bytes((folder / "registration.json").read_bytes() + b"s")
    (folder / "registration.pem").write_bytes(b"authority")


def begin(store, folder):
    return begin_registered(store, folder, check_registration(folder, None, design, CLAIMS), design, verify)


def test_data_cannot_be_registered_afterwards(folder, add_row, tmp_path):
    refuse_data(folder)
    add_row()
    assert finished_rows(folder) == 1
    with pytest.raises(UserError, match=r"holds 1 rows already.*into a new folder and register that one"):
        refuse_data(folder)
    (tmp_path / "other" / "report").mkdir(parents=True)
    (tmp_path / "other" / "report" / "data.parquet").touch()
    with pytest.raises(UserError, match="holds a report already"):
        refuse_data(tmp_path / "other")


def test_a_study_that_is_not_registered_runs_and_keeps_nothing(tmp_path):
    with closing(open_store(tmp_path, create=True)) as store:
        assert check_registration(tmp_path, "quick", design, CLAIMS) is None
        assert begin_registered(store, tmp_path, None, design) is None
        assert store.meta("registration") is None


def test_changed_claims_study_or_profile_are_refused(folder):
    with pytest.raises(UserError, match=r"changed since the registration: claims.yaml: restore it, .* amend"):
        check_registration(folder, None, design, OTHER)
    changed = DESIGN.model_copy(update={"study": {**DESIGN.study, "sparsities": [0.9]}})
    with pytest.raises(UserError, match=r"changed since the registration: study.yaml, sparsities: \[0.5\] -> \[0.9\]"):
        check_registration(folder, None, lambda: changed, CLAIMS)
    with pytest.raises(UserError, match="was registered for a run with no --profile"):
        check_registration(folder, "quick", design, CLAIMS)
    amend(folder, read_record(folder), DESIGN, OTHER, reason="r", rows=0)
    assert check_registration(folder, None, design, OTHER) == read_record(folder)


def test_the_commit_is_that_of_the_first_run(folder, store, add_row, commit):
    first = commit()
    assert begin(store, folder).commit == first
    add_row()
    (folder / "note").touch()
    commit()
    assert begin(store, folder).commit == first
    assert stored_record(store).commit == first


def test_a_registration_that_is_committed_after_the_first_run_has_no_commit(folder, store, add_row, commit):
    assert begin(store, folder).commit is None
    add_row()
    commit()
    assert begin(store, folder).commit is None


def test_rows_belong_to_one_registration(folder, store, add_row):
    begin(store, folder)
    begin(store, folder)
    register(folder, DESIGN, CLAIMS, name="s", seen="now something")
    assert begin(store, folder).registration.number == 2  # nothing was computed yet
    add_row()
    register(folder, DESIGN, CLAIMS, name="s", seen="all of it")
    with pytest.raises(UserError, match=r"registration.json: is not the one under which the study was begun"):
        begin(store, folder)
    (folder / "registration.json").unlink()
    with pytest.raises(UserError, match=r"registration.json: is missing; restore it"):
        begin_registered(store, folder, None, design)


def test_a_registration_that_is_removed_before_the_first_row_leaves_the_store(folder, store):
    begin(store, folder)
    (folder / "registration.json").unlink()
    assert begin_registered(store, folder, None, design) is None
    assert stored_record(store) is None


def test_a_registration_that_is_newer_than_the_rows_is_refused(folder, store, add_row):
    add_row()
    with pytest.raises(UserError, match=r"registration.json: is newer than the rows of this study"):
        begin(store, folder)


def test_a_time_stamp_is_verified_at_the_first_run_and_stays(folder, store, add_row):
    stamp(folder)
    assert base64.b64decode(begin(store, folder).certificates) == b"authority"
    add_row()
    (folder / "registration.pem").write_bytes(b"another")  # the certificates of the first run stay
    assert base64.b64decode(begin(store, folder).certificates) == b"authority"
    (folder / "registration.tsr").unlink()
    with pytest.raises(UserError, match="is not the time-stamp under which the study was begun"):
        begin(store, folder)


def test_a_damaged_copy_in_the_store_is_refused(store):
    store.set_meta("registration", "{}")
    with pytest.raises(UserError, match="its copy of the registration is damaged"):
        stored_record(store)


def test_an_invalid_time_stamp_is_refused(folder, store):
    stamp(folder)
    (folder / "registration.tsr").write_bytes(b"forged")
    with pytest.raises(UserError, match="the time-stamp is not valid"):
        begin(store, folder)
    (folder / "registration.pem").unlink()
    with pytest.raises(UserError, match=r"registration.pem: is missing"):
        begin(store, folder)


def test_amendments_reach_the_store(folder, store):
    begin(store, folder)
    amended = amend(folder, read_record(folder), DESIGN, OTHER, reason="r", rows=1)
    store_amendments(store, amended)
    assert stored_record(store).amendments == amended.amendments
    other = register(folder, DESIGN, CLAIMS, name="s")
    store_amendments(store, other)
    assert stored_record(store).amendments == amended.amendments


def test_a_removed_amendment_is_refused(folder, store, add_row):
    begin(store, folder)
    add_row()
    store_amendments(store, amend(folder, read_record(folder), DESIGN, OTHER, reason="r", rows=1))
    (folder / "amendments.json").unlink()
    with pytest.raises(UserError, match=r"amendments\.json: lacks an amendment that was stored with the rows"):
        begin(store, folder)


def test_files_that_differ_from_the_evidence_are_named(folder, store):
    stored = begin(store, folder)
    assert files_differing(folder, stored) == []
    amend(folder, read_record(folder), DESIGN, OTHER, reason="r", rows=1)
    assert files_differing(folder, stored) == ["amendments.json"]
    stamp(folder)
    path = folder / "registration.json"
    path.write_text(path.read_text().replace('"seen":""', '"seen":"a"'))
    (folder / "amendments.json").unlink()
    assert files_differing(folder, stored) == ["registration.json", "registration.tsr"]
    path.write_text("{}")
    assert files_differing(folder, stored) == [f"{path}: is not what `prunebench register` wrote there; restore it"]
    path.unlink()
    assert files_differing(folder, stored) == ["registration.json (missing)"]


def test_the_order_holds_where_the_commit_is_an_ancestor_of_the_evidence(folder, store, commit):
    first = commit()
    level = Level(CLAIMED_ORDER, "", begin(store, folder))
    assert "the evidence is not committed yet" in verify_level(folder, level).reason
    (folder / "report").mkdir()
    (folder / "report" / "data.parquet").touch()
    second = commit()
    found = verify_level(folder, level)
    assert found.word == CLAIMED_ORDER
    assert first[:12] in found.reason
    assert second[:12] in found.reason


def test_an_order_that_the_history_does_not_show_is_self_attested(folder, store, commit):
    commit()
    (folder / "report").mkdir()
    (folder / "report" / "data.parquet").touch()
    together, later = commit(), commit()  # the evidence is not later than the registration's stored commit
    record = begin(store, folder)
    for stored, reason in (
        (together, "holds the registration and the evidence"),
        (later, "is no ancestor of"),
        ("0" * 40, "no repository here has commit 000000000000"),
        (None, "was not committed when the run began"),
    ):
        level = Level(CLAIMED_ORDER, "", record.model_copy(update={"commit": stored}))
        found = verify_level(folder, level)
        assert found.word == SELF_ATTESTED
        assert reason in found.reason
    other = record.model_copy(update={"text": record.text.replace("1", "2")})
    assert "holds another registration" in verify_level(folder, Level(CLAIMED_ORDER, "", other)).reason


def test_a_time_stamp_needs_no_history(folder, store):
    stamp(folder)
    level = Level(TIME_STAMPED, "signed", begin(store, folder))
    assert verify_level(folder, level) == level
