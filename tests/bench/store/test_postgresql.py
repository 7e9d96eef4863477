"""URLs of PostgreSQL stores, and mistakes that need no server; tests/slow has one."""

from __future__ import annotations

import json
import sys

import psycopg
import pytest
import sqlalchemy as sa

from bench.core.errors import UserError
from bench.store.database import fix_places, open_store
from bench.store.places import PLACES_FILE, Places
from bench.store.postgresql import PostgreSQL, parse_url, schema_name, study_url

SECRET = "hunter2"
WRONG = {
    "not a url": "not a URL; valid: postgresql+psycopg://user@host:port/database",
    "postgresql+psycopg://me@db:port/x": "not a URL; valid",
    "": "not a URL",
    "postgres://me@db/x": "did you mean postgresql+psycopg://me@db/x?",
    "postgresql://me@db:5432/x": "did you mean postgresql+psycopg://me@db:5432/x?",
    "postgresql+psycopg2://me@db/x": "did you mean postgresql+psycopg://me@db/x?",
    "mysql://me@db/x": "did you mean postgresql+psycopg://user@host:port/database?",
    "sqlite:///rows.db": "leave --store out",
    f"postgres://me:{SECRET}@db/x": "did you mean postgresql+psycopg://me@db/x?",
    f"postgresql+psycopg://me:{SECRET}@db/x": "~/.pgpass or PGPASSWORD",
    f"postgresql+psycopg://me@db/x?password={SECRET}": "~/.pgpass or PGPASSWORD",
    f"postgresql+psycopg://me:{SECRET}@db:port/x": "not a URL",
}


@pytest.mark.parametrize("url", WRONG)
def test_a_wrong_url_is_one_line_that_names_the_right_form(url, tiny, command):
    before = sorted(tiny.iterdir())
    result = command("run", tiny, "--store", url)
    assert result.code == 2
    assert len(result.err.splitlines()) == 1
    assert WRONG[url] in result.err
    assert SECRET not in result.err + result.out
    assert sorted(tiny.iterdir()) == before


def test_no_server_is_one_line_and_leaves_nothing(tiny, command, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", SECRET)
    before = sorted(tiny.iterdir())
    result = command("run", tiny, "--store", "postgresql+psycopg://me@127.0.0.1:1/x")
    assert result.code == 2
    assert len(result.err.splitlines()) == 1
    assert result.err.startswith("error: postgresql+psycopg://me@127.0.0.1:1/x: connection failed")
    assert "see that the server runs" in result.err
    assert SECRET not in result.err
    assert sorted(tiny.iterdir()) == before


@pytest.mark.parametrize("verb", ["status", "report", "claims", "run", "plan"])
def test_every_command_says_where_it_looked(verb, tiny, command):
    (tiny / PLACES_FILE).write_text(json.dumps({"store": "postgresql+psycopg://me@127.0.0.1:1/x"}))
    result = command(verb, tiny)
    assert result.code == 2
    assert len(result.err.splitlines()) == 1
    assert "postgresql+psycopg://me@127.0.0.1:1/x: connection failed" in result.err


def test_a_password_written_into_the_places_is_refused(tmp_path):
    (tmp_path / PLACES_FILE).write_text(json.dumps({"store": f"postgresql+psycopg://me:{SECRET}@db/x"}))
    with pytest.raises(UserError, match="must not hold a password") as caught:
        open_store(tmp_path)
    assert SECRET not in str(caught.value)


def test_a_missing_driver_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UserError, match=r"pip install 'psycopg\[binary\]'"):
        PostgreSQL("postgresql+psycopg://me@db/x")


def test_a_study_begun_in_its_folder_is_not_taken_elsewhere(tmp_path):
    open_store(tmp_path, create=True).close()
    with pytest.raises(UserError, match="begun with its store in the study folder"):
        fix_places(tmp_path, Places(store="postgresql+psycopg://me@127.0.0.1:1/x"), "digits", "hash")


def test_the_study_has_a_schema_of_its_own_unless_the_url_names_one():
    plain = "postgresql+psycopg://me@db/x"
    url = study_url(plain, "digits")
    assert parse_url(url).query == {"options": "-csearch_path=prunebench_digits"}
    assert study_url(url, "digits") == url
    own = f"{plain}?options=-csearch_path%3Dlab"
    assert study_url(own, "digits") == own
    other = parse_url(study_url(f"{plain}?options=-cwork_mem%3D64MB&sslmode=require", "digits"))
    assert other.query == {"options": "-cwork_mem=64MB -csearch_path=prunebench_digits", "sslmode": "require"}


def test_names_of_schemas_are_plain_short_and_different():
    names = ["digits", "Digits", "my digits", "my-digits", "my_digits", "x" * 300, "x" * 301, "été", "a;b", "pg_x", ""]
    schemas = [schema_name(name) for name in names]
    assert len(set(schemas)) == len(names)
    assert all(name.isidentifier() and name.islower() and name.isascii() and len(name) <= 63 for name in schemas)


def test_a_server_that_is_gone_is_noticed_soon_or_when_the_url_says(monkeypatch):
    server = PostgreSQL("postgresql+psycopg://me@db/x?connect_timeout=3")
    seen = {}

    def connect(*_arguments, **options):
        seen.update(options)
        raise psycopg.OperationalError("nobody there")

    monkeypatch.setattr(server.engine.dialect, "connect", connect)
    with pytest.raises(sa.exc.OperationalError):
        server.engine.connect()
    assert seen["connect_timeout"] == "3"
    assert int(seen["keepalives_idle"]) < 60
