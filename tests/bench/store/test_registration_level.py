"""Tests of `bench.store.registration_level`."""

from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd
import pytest

from bench.core.errors import UserError
from bench.core.identity import canonical_json
from bench.store.registration import Amendment, Design, Package, Record, Registration, derived_seed
from bench.store.registration_level import (
    CLAIMED_ORDER,
    NOT_REGISTERED,
    SELF_ATTESTED,
    TIME_STAMPED,
    Stamp,
    amended_after_data,
    registration_level,
)

CLAIMS, OTHER = "a" * 64, "b" * 64
STUDY = {
    "data": [{"name": "digits"}],
    "models": [{"name": "net", "label": None, "checkpoint": None}],
    "train_seeds": [0, 1],
    "calibration": {"draws": 2},
}
DESIGN = Design(study=STUDY, plan="0" * 64, cells=4, data=(), checkpoints=(), code={}, settings={})


def record_of(claims=CLAIMS, design=DESIGN, **changes):
    registration = Registration(
        name="s", profile=None, claims=claims, design=design, package=Package(version="1", files={}, libraries={}),
        gates={}, pilots=(), seen="", number=2, previous=OTHER, time="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    return Record(text=canonical_json(registration.model_dump(mode="json")), **changes)


def amended(record, claims, rows=0):
    amendment = Amendment(
        reason="r", time="t", rows=rows, changes=("c",), claims=claims, design=DESIGN, previous=record.sha256
    )
    return record.model_copy(update={"amendments": (*record.amendments, amendment)})


def rows_of(source=None):
    """Rows of two models and two draws, with seeds that follow from a source, or as the study numbers them."""
    seed = (lambda _stream, number: number) if source is None else (lambda stream, n: derived_seed(source, stream, n))
    cells = [(seed("train", model), seed("calibration", draw), f"m{model}") for model in range(2) for draw in range(2)]
    return pd.DataFrame(
        [("digits", "net", *cell, "done", 0.5, 4, bytes([0b10100000])) for cell in cells],
        columns=["dataset", "model", "train_seed", "calibration_draw", "checkpoint", "state", "accuracy", "n_test",
                 "correct"],
    )  # fmt: skip


def level_of(record, rows=None, claims=CLAIMS, study=STUDY, verify=None):
    rows = rows_of(record.seed_source) if rows is None else rows
    return registration_level({"registration": record.model_dump(mode="json"), "study": study}, rows, claims, verify)


def verify(_record):
    return Stamp(datetime(2026, 1, 2, tzinfo=UTC), "CN=root, SHA-256 ab")


def refuse(_record):
    raise UserError("it was altered")


def test_evidence_without_a_registration_is_not_registered():
    level = registration_level({"study": STUDY, "claims_hash": CLAIMS}, rows_of(), CLAIMS)
    assert (level.word, level.reason) == (NOT_REGISTERED, "the evidence has no registration")
    assert (level.number, level.changes, level.amendments) == (0, (), ())


@pytest.mark.parametrize(
    ("facts", "word", "before_data"),
    [
        ({}, SELF_ATTESTED, False),
        ({"commit": "c" * 40}, CLAIMED_ORDER, False),
        ({"commit": "c" * 40, "token": "YQ=="}, TIME_STAMPED, True),
    ],
)
def test_the_level_rests_on_commit_and_token(facts, word, before_data):
    level = level_of(record_of(**facts), verify=verify)
    assert (level.word, level.is_before_data, level.number, level.missing) == (word, before_data, 2, 0)


def test_a_time_stamp_counts_only_where_it_is_verified():
    stored = record_of(token="YQ==").model_dump(mode="json") | {
        "stamped": "2020-01-01"
    }  # a time that anybody can write
    rows = rows_of(record_of(token="YQ==").seed_source)
    meta = {"registration": stored, "study": STUDY}
    level = registration_level(meta, rows, CLAIMS)
    assert (level.word, level.is_before_data) == (SELF_ATTESTED, False)
    assert level.reason.startswith("the time-stamp was not verified; ")
    level = registration_level(meta, rows, CLAIMS, refuse)
    assert (level.word, level.is_before_data) == (SELF_ATTESTED, False)
    assert level.reason.startswith("the time-stamp cannot be verified (it was altered); ")
    level = registration_level(meta, rows, CLAIMS, verify)
    assert level.reason == (
        "signed at 2026-01-02T00:00:00+00:00 by the authority with the certificate CN=root, SHA-256 ab"
    )


def test_seeds_that_do_not_follow_from_the_registration():
    record = record_of(commit="c" * 40)
    rows = rows_of(record.seed_source)
    wrong = "the seeds of the rows do not follow from the registration"
    assert level_of(record, rows_of()).reason == wrong
    assert level_of(record_of(claims=OTHER), rows, claims=OTHER).reason == wrong  # the stored hash was replaced
    assert level_of(record, rows.assign(calibration_draw=0)).reason == wrong
    assert level_of(record, rows.assign(train_seed=pd.NA)).reason == wrong
    assert level_of(record, rows.assign(model="other")).reason == wrong
    assert level_of(record.model_copy(update={"token": "YQ=="}), rows).reason == wrong


def test_other_claims_and_another_study_are_not_registered():
    record = record_of(commit="c" * 40)
    assert level_of(record, claims=OTHER).reason == "claims.yaml is not the registered one"
    assert level_of(record, claims=None).reason == "claims.yaml is not the registered one"
    level = level_of(record, study={**STUDY, "train_seeds": [0]})
    assert level.word == NOT_REGISTERED
    assert level.reason == "the study of the evidence is not the registered one (train_seeds: [0, 1] -> [0])"


@pytest.mark.parametrize("stored", [{}, {"text": "{}"}, {"text": 3}, [], "x", {"text": "{}", "more": 1}])
def test_a_damaged_record_is_not_registered(stored):
    level = registration_level({"registration": stored, "study": STUDY}, rows_of(), CLAIMS)
    assert (level.word, level.reason) == (NOT_REGISTERED, "the stored registration is damaged")


@pytest.mark.parametrize("study", [{}, {**STUDY, "models": [{}]}, {**STUDY, "calibration": {"draws": "many"}}])
def test_a_damaged_study_is_not_registered(study):
    assert level_of(record_of(), study=study).reason == "the stored registration is damaged"
    record = record_of(design=DESIGN.model_copy(update={"study": study}))
    assert level_of(record, study=study).reason == "the stored registration is damaged"


def test_amended_claims_are_not_registered_even_if_the_amendment_names_no_data():
    record = record_of(commit="c" * 40)
    early = amended(record, OTHER).model_copy(update={"at_start": 1})  # what an author can write at any time
    for one in (early, amended(record, OTHER), amended(record, OTHER, rows=3)):
        level = level_of(one, claims=OTHER)
        assert (level.word, level.reason) == (NOT_REGISTERED, "the claims were amended after the registration")
    assert level_of(amended(record, OTHER, rows=3)).word == CLAIMED_ORDER  # the registered claims, restored


def test_amendments_after_the_first_run_are_distinguished_from_earlier_ones():
    early = amended(record_of(), CLAIMS).model_copy(update={"at_start": 1})
    assert amended_after_data(early) == []
    for late in (amended(record_of(), CLAIMS), amended(record_of(), CLAIMS, rows=3).model_copy(update={"at_start": 1})):
        assert amended_after_data(late) == list(late.amendments)


def test_an_amended_study_keeps_its_level_and_shows_the_amendment():
    level = level_of(amended(record_of(commit="c" * 40), CLAIMS, rows=2))
    assert level.word == CLAIMED_ORDER
    assert [one.rows for one in level.amendments] == [2]


def test_missing_and_failed_cells_are_counted():
    record = record_of()
    rows = rows_of(record.seed_source)
    rows.loc[0, "state"] = None
    rows.loc[1, "state"] = "failed"
    level = level_of(record, rows)
    assert (level.missing, level.failed) == (1, 1)
    assert level_of(record, rows.iloc[:2]).missing == 3  # two cells are gone from the plan, too


def test_given_checkpoints_are_never_before_the_data():
    study = {**STUDY, "models": [{"name": "net", "label": "ours", "checkpoint": "a.pt"}]}
    record = record_of(design=DESIGN.model_copy(update={"study": study}), token="YQ==")
    rows = rows_of(record.seed_source).assign(model="ours", train_seed=pd.NA)
    level = level_of(record, rows, study=study, verify=verify)
    assert (level.word, level.given, level.is_before_data) == (TIME_STAMPED, ("ours",), False)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("accuracy", 0.75, "the accuracy is not the share of the correctness bits in 1 row"),
        ("correct", None, "the accuracy is not the share of the correctness bits in 1 row"),
        ("checkpoint", "m1", "models of different seeds have the same weights"),
    ],
)
def test_rows_that_contradict_themselves_are_not_registered(column, value, reason):
    record = record_of()
    rows = rows_of(record.seed_source)
    rows.loc[0, column] = value
    level = level_of(record, rows)
    assert (level.word, level.reason) == (NOT_REGISTERED, reason)
