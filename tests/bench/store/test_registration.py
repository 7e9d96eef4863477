"""Tests of `bench.store.registration`."""

from __future__ import annotations

import hashlib

import pytest

from bench.core.identity import canonical_json
from bench.store.registration import (
    Amendment,
    Design,
    Package,
    Record,
    Registration,
    derived_seed,
    portable,
    study_differences,
)

STUDY = {
    "name": "s",
    "description": "",
    "data": [{"name": "digits", "label": None}],
    "models": [{"name": "net", "label": "A", "recipe": {"epochs": 3}}, {"name": "net", "label": "B", "recipe": {}}],
    "train_seeds": [0, 1],
    "scorers": [{"name": "taylor", "options": {"order": 1}, "version": 1}, {"name": "./a.py:f", "version": "ab"}],
}
DESIGN = Design(study=STUDY, plan="0" * 64, cells=4, data=("d",), checkpoints=(), code={}, settings={})


def record_of(**changes):
    registration = Registration(
        name="s", profile=None, claims="0" * 64, design=DESIGN, package=Package(version="1", files={}, libraries={}),
        gates={}, pilots=(), seen="", number=1, previous=None, time="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    return Record(text=canonical_json(registration.model_dump(mode="json")), **changes)


def amendment_of(previous, claims="0" * 64, rows=0):
    return Amendment(reason="r", time="t", rows=rows, changes=("c",), claims=claims, design=DESIGN, previous=previous)


def test_seeds_have_32_bits_and_depend_on_source_stream_and_number():
    seeds = {derived_seed(source, stream, number) for source in "ab" for stream in ("train", "calibration")
             for number in range(50)}  # fmt: skip
    assert len(seeds) == 200
    assert 2**31 < max(seeds) < 2**32


def test_the_digest_of_a_registration_is_that_of_its_bytes():
    record = record_of()
    assert record.sha256 == hashlib.sha256(record.text.encode()).hexdigest()
    assert record.seed_source == record.sha256
    assert record_of(token="YQ==").seed_source not in (record.sha256, record_of(token="Yg==").seed_source)


def test_amendments_follow_from_the_registration_and_each_other():
    first = amendment_of(record_of().sha256)
    second = amendment_of(first.digest())
    assert record_of(amendments=(first, second)).chain_fault() is None
    assert record_of(amendments=(first, second)).current == second
    edited = first.model_copy(update={"reason": "another"})
    assert record_of(amendments=(edited, second)).chain_fault() == "amendment 2 does not follow from what it amends"
    assert record_of(amendments=(second,)).chain_fault() == "amendment 1 does not follow from what it amends"


def test_the_record_of_two_copies_is_as_weak_as_the_weaker_one():
    mine, theirs = record_of(commit="c", at_start=1, changes=("a",)), record_of(changes=("b", "a"))
    joined = mine.joined(theirs)
    assert (joined.commit, joined.at_start, joined.changes) == (None, 0, ("a", "b"))
    other = theirs.model_copy(update={"text": theirs.text.replace('"seen":""', '"seen":"x"')})
    assert mine.joined(other) == mine


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/home/ada/cifar/", ".../cifar"),
        ("~/nets/a.pt", ".../a.pt"),
        (r"C:\Users\ada\a.pt", ".../a.pt"),
        ("folder:/data/birds", "folder:.../birds"),
        ("/home/ada/mine.py:score", ".../mine.py:score"),
        ("./mine.py:score", "./mine.py:score"),
        ("s3://bucket/a.pt", "s3://bucket/a.pt"),
        ("${DATA}/cifar", "${DATA}/cifar"),
    ],
)
def test_absolute_paths_are_cut(path, kept):
    assert portable({"a": [{"b": path}]}) == {"a": [{"b": kept}]}


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"description": "new", "name": "t", "stop_after_failures": 3}, []),
        ({"models": [{**STUDY["models"][0], "label": "C", "expected_accuracy": 90}, STUDY["models"][1]]}, []),
        ({"scorers": [{**STUDY["scorers"][0], "version": 2}, STUDY["scorers"][1]]}, []),
        ({"train_seeds": [0]}, ["train_seeds: [0, 1] -> [0]"]),
        ({"sparsities": [0.5]}, ["sparsities: None -> [0.5]"]),
        (
            {"models": [{**STUDY["models"][0], "recipe": {"epochs": 4}}, STUDY["models"][1]]},
            ["models[0].recipe.epochs: 3 -> 4"],
        ),
        (
            {"scorers": [STUDY["scorers"][0], {"name": "./a.py:f", "version": "cd"}]},
            ["scorers[1].version: 'ab' -> 'cd'"],
        ),
    ],
)
def test_differences_of_studies(changes, difference):
    assert study_differences(STUDY, {**STUDY, **changes}) == difference


def test_a_label_may_not_move_to_another_model():
    first, second = STUDY["models"]
    swapped = {**STUDY, "models": [{**first, "label": "B"}, {**second, "label": "A"}]}
    assert study_differences(STUDY, swapped) == [
        "models: the label 'B' now names another entry",
        "models: the label 'A' now names another entry",
    ]


def test_keys_that_a_later_version_adds_may_be_ignored():
    later = {**STUDY, "data": [{**STUDY["data"][0], "rotation": 0}]}
    assert study_differences(STUDY, later, ignore_new=True) == []
    assert study_differences(STUDY, later) == ["data[0].rotation: None -> 0"]
