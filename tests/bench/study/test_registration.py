"""Tests of `bench.study.registration`."""

from __future__ import annotations

import hashlib
import json

import pytest

from bench.core.errors import UserError
from bench.plugins.catalogue import make_registry
from bench.store.registration import Design, Pilot, portable
from bench.study.load import load_study
from bench.study.registration import (
    amend,
    changes_of_package,
    changes_of_plan,
    changes_since,
    package_state,
    read_record,
    register,
)

STUDY = """\
name: s
data: [digits]
models: [digits_cnn]
train_seeds: 2
scorers: [magnitude, taylor]
sparsities: [0.5, 0.9]
"""
CLAIMS, OTHER = "a" * 64, "b" * 64


def design_of(folder, text=STUDY, **changes):
    (folder / "study.yaml").write_text(text)
    study = load_study(folder, make_registry(folder))
    facts = {"plan": "p", "cells": 10, "data": ("d",), "checkpoints": (), "code": {}, "settings": {"device": "cpu"}}
    return Design(study=portable(study.resolved()), **{**facts, **changes})


@pytest.fixture
def folder(tmp_path):
    register(tmp_path, design_of(tmp_path), CLAIMS, name="s")
    return tmp_path


def test_an_unregistered_folder_has_no_record(tmp_path):
    assert read_record(tmp_path) is None


def test_what_is_registered_is_read_again(tmp_path):
    design, pilot = design_of(tmp_path), Pilot(name="pilot", data_hash="d" * 64)
    written = register(
        tmp_path, design, CLAIMS, name="s", profile="quick", gates={"a": [0.5]}, pilots=[pilot], seen="a pilot"
    )
    found = read_record(tmp_path)
    assert found == written
    content = (tmp_path / "registration.json").read_bytes()
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert json.dumps(json.loads(content), sort_keys=True, separators=(",", ":")).encode() == content
    registered = found.registration
    assert (registered.design, registered.claims, registered.pilots) == (design, CLAIMS, (pilot,))
    assert (registered.profile, registered.gates, registered.seen) == ("quick", {"a": [0.5]}, "a pilot")
    assert set(registered.package.libraries) == {"numpy", "pandas", "scipy", "statsmodels", "torch"}
    assert {
        "bench/core/identity.py",
        "analysis/evidence/load.py",
        "prunebench/api.py",
    } <= registered.package.files.keys()


def test_nothing_in_a_registration_names_the_machine(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from bench.scorers.magnitude import magnitude\n"
        "def score(view, calibration, generator):\n    return magnitude(view, calibration, generator)\n"
    )
    text = STUDY.replace("[digits]", f"[{{name: 'folder:{tmp_path}/images', label: birds}}]").replace(
        "[digits_cnn]", f"[{{name: digits_cnn, checkpoint: {tmp_path}/net.pt}}]"
    )
    text = text.replace("taylor", f"'{tmp_path}/mine.py:score'")
    register(tmp_path, design_of(tmp_path, text), CLAIMS, name="s")
    content = (tmp_path / "registration.json").read_text()
    assert str(tmp_path) not in content
    assert str(tmp_path.parent) not in content
    assert ".../net.pt" in content


def test_registrations_of_a_folder_are_chained(folder):
    first = read_record(folder)
    second = register(folder, design_of(folder), OTHER, name="s")
    third = register(folder, design_of(folder), CLAIMS, name="s")
    assert [one.registration.number for one in (first, second, third)] == [1, 2, 3]
    assert read_record(folder).earlier == (first.sha256, second.sha256)
    assert third.registration.previous == second.sha256
    (folder / "registrations" / "002.json").unlink()
    with pytest.raises(UserError, match="registration 2 of this folder is missing or altered"):
        read_record(folder)


def test_amendments_of_a_replaced_registration_do_not_count(folder):
    amend(folder, read_record(folder), design_of(folder), OTHER, reason="r", rows=0)
    register(folder, design_of(folder), OTHER, name="s")
    assert read_record(folder).amendments == ()
    assert (folder / "registrations" / "001.amendments.json").exists()


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[1]", b'{"version": 2}'])
def test_a_damaged_registration_is_refused(folder, content):
    (folder / "registration.json").write_bytes(content)
    with pytest.raises(UserError, match=r"registration.json: is not what `prunebench register` wrote there"):
        read_record(folder)


def test_damaged_amendments_are_refused(folder):
    (folder / "amendments.json").write_text("[{}]")
    with pytest.raises(UserError, match=r"amendments.json: is not what `prunebench amend` wrote there"):
        read_record(folder)


def test_amendments_change_what_holds_but_not_the_seeds(folder):
    before = read_record(folder)
    now = design_of(folder, STUDY.replace("[0.5, 0.9]", "[0.5]"))
    amend(folder, before, now, OTHER, reason="0.9 collapses", rows=3)
    record = read_record(folder)
    assert (record.sha256, record.seed_source) == (before.sha256, before.seed_source)
    [amendment] = record.amendments
    assert (amendment.reason, amendment.rows) == ("0.9 collapses", 3)
    assert amendment.changes == ("claims.yaml", "study.yaml, sparsities: [0.5, 0.9] -> [0.5]")
    assert changes_since(record, now, OTHER) == []
    assert changes_since(record, now, CLAIMS) == ["claims.yaml"]
    with pytest.raises(UserError, match="nothing to amend"):
        amend(folder, record, now, OTHER, reason="again", rows=3)


def test_an_edited_amendment_is_refused(folder):
    record = amend(folder, read_record(folder), design_of(folder), OTHER, reason="r", rows=0)
    amend(folder, record, design_of(folder), CLAIMS, reason="s", rows=0)
    path = folder / "amendments.json"
    path.write_text(path.read_text().replace('"reason": "r"', '"reason": "better"'))
    with pytest.raises(UserError, match=r"amendments.json: amendment 2 does not follow from what it amends"):
        read_record(folder)


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        (STUDY + "description: new\nstop_after_failures: 3\n", []),
        (STUDY.replace("[digits_cnn]", "[{name: digits_cnn, label: net}]"), []),
        (STUDY.replace("name: s", "name: t") + "profiles: {quick: {train_seeds: 1}}\n", []),
        (STUDY.replace("train_seeds: 2", "train_seeds: 3"), ["study.yaml, train_seeds: [0, 1] -> [0, 1, 2]"]),
        (
            STUDY.replace("[digits]", "[{name: digits, limit: {test: 100}}]"),
            ["study.yaml, data[0].limit: None -> {'test': 100, 'train': None}"],
        ),
        (STUDY.replace("[digits_cnn]", "[{name: digits_cnn, recipe: {epochs: 1}}]"), None),
    ],
)
def test_changes_of_study_yaml(folder, text, changes):
    found = changes_since(read_record(folder), design_of(folder, text), CLAIMS)
    assert found == changes if changes is not None else found[0].startswith("study.yaml, models[0].recipe.epochs")


def test_changed_inputs_are_changes(folder):
    record = read_record(folder)
    assert changes_since(record, design_of(folder, data=("e",)), CLAIMS) == ["the images of a data set"]
    assert changes_since(record, design_of(folder, checkpoints=("c",)), CLAIMS) == ["a given checkpoint"]
    coded = register(folder, design_of(folder, code={"./net.py:f": "1"}), CLAIMS, name="s")
    changed = design_of(folder, code={"./net.py:f": "2"})
    assert changes_since(coded, changed, CLAIMS) == ["the source of ./net.py:f"]


def test_keys_that_were_registered_without_a_later_key_are_unchanged(folder):
    record = read_record(folder)
    design = record.registration.design
    older = {key: value for key, value in design.study.items() if key not in ("stop_after_failures", "execution")}
    registration = record.registration.model_copy(update={"design": design.model_copy(update={"study": older})})
    earlier = record.model_copy(update={"text": registration.model_dump_json()})
    assert changes_since(earlier, design_of(folder), CLAIMS) == []


def test_changes_of_package_and_libraries_are_named(folder):
    record = read_record(folder)
    assert changes_of_package(record) == []
    package = package_state()
    files = {**package.files, "bench/core/identity.py": "0", "bench/core/gone.py": "1"}
    libraries = {**package.libraries, "numpy": "1.0"}
    then = package.model_copy(update={"version": "0.0", "files": files, "libraries": libraries})
    registration = record.registration.model_copy(update={"package": then})
    assert changes_of_package(record.model_copy(update={"text": registration.model_dump_json()})) == [
        f"prunebench 0.0 -> {package.version}",
        "files of the package: bench/core/gone.py, bench/core/identity.py",
        f"numpy 1.0 -> {package.libraries['numpy']}",
    ]


def test_other_cells_of_the_same_study_are_named(folder):
    record = read_record(folder)
    assert changes_of_plan(record, design_of(folder)) == []
    assert changes_of_plan(record, design_of(folder, plan="q", settings={"device": "cuda"})) == [
        "the ids of the planned cells (10 registered, 10 now): device cpu -> cuda"
    ]
    assert changes_of_plan(record, design_of(folder, plan="q")) == [
        "the ids of the planned cells (10 registered, 10 now): other versions of the methods or networks"
    ]
