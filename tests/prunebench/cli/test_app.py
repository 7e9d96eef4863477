"""Help, and errors as one line with exit code 2."""

from __future__ import annotations

import re
import sqlite3

import pytest
import typer

from prunebench.cli import app

COMMANDS = tuple(typer.main.get_command(app).commands)


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_help_lists_every_command_from_the_first_to_use(command, arguments):
    result = command(*arguments)
    assert result.code == 0
    assert tuple(re.findall(r"^│ ([a-z][a-z-]*) ", result.out, re.MULTILINE)) == COMMANDS
    assert COMMANDS[:7] == ("new", "plan", "register", "amend", "verify", "timestamp", "run")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(command, name):
    result = command(name, "--help")
    assert result.code == 0
    assert f"Usage: prunebench {name}" in result.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "{tiny}", "--only", "scorrer=x"], "did you mean 'scorer'"),
        (["run", "{tiny}", "--engine", "spark"], "no engine named 'spark'"),
        (["run", "{tiny}", "--device", "tpu"], "valid: auto, cpu, cuda"),
        (["run", "{tiny}", "--profile", "on"], "did you mean 'one'"),
        (["plan", "{tiny}/absent"], "there is no such file"),
        (["status", "{tiny}"], "nothing has been run yet"),
        (["report", "{tiny}"], "`prunebench run {tiny}` makes the first"),
        (["prune", "{tiny}", "0", "-o", "x.safetensors"], "`prunebench run {tiny}` starts"),
        (["new", "{tiny}"], "exists already"),
        (["new", "{tiny}/x", "--from", "digit"], "did you mean 'digits'"),
        (["list", "scorer"], "did you mean 'scorers'"),
        (["check", "magnitud"], "did you mean 'magnitude'"),
        (["check", "./absent.py:f"], "there is no file"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_and_exit_code_2(tiny, command, arguments, message):
    result = command(*(word.replace("{tiny}", str(tiny)) for word in arguments))
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert message.replace("{tiny}", str(tiny)) in result.err


def test_a_store_of_another_schema_is_refused_and_kept(finished, command):
    connection = sqlite3.connect(finished / "results.db")
    connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
    connection.commit()
    connection.close()
    before = (finished / "results.db").read_bytes()
    for verb in ("run", "status", "report"):
        result = command(verb, finished)
        assert result.code == 2
        assert "schema 99" in result.err
    assert (finished / "results.db").read_bytes() == before
