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


def test_check_and_doctor(command):
    assert command("check", "wanda").code == 0
    assert all(v["problem"] is None for v in json.loads(command("check", "uniform", "--json").out))
    doctor = json.loads(command("doctor", "--json").out)
    assert "torch" in doctor["versions"]
    assert doctor["database"] == "SQLite with WAL works in this folder"
