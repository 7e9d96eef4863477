"""``list``, ``check`` and ``doctor``."""

from __future__ import annotations

import json

import pytest


@pytest.mark.parametrize(
    "kind", ["scorers", "searches", "repairs", "allocations", "models", "recipes", "datasets", "templates"]
)
def test_list_names_what_there_is(kind, command):
    entries = json.loads(command("list", kind, "--json").out)
    assert all(entry["name"] for entry in entries)
    assert len(entries) >= 2
    assert entries[0]["name"] in command("list", kind).out


def test_check_runs_the_conformance_suite(command):
    passed = command("check", "wanda")
    assert passed.code == 0
    assert all(line.startswith("ok     scorer wanda: ") for line in passed.out.splitlines())
    checks = json.loads(command("check", "uniform", "--json").out)
    assert {check["plugin"] for check in checks} == {"allocation uniform"}
    assert {check["problem"] for check in checks} == {None}


def test_doctor_prints_one_line_per_property(command):
    described = json.loads(command("doctor", "--json").out)
    assert "processor" in described
    shown = command("doctor").out
    assert all(name in shown for name in described)
