"""A study in PostgreSQL, on a real server: what SQLite gives, from several machines, through restarts."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest
import sqlalchemy as sa
from evidence import assert_same
from safetensors.torch import load_file

from bench.core.errors import UserError
from bench.store import database
from bench.store.database import open_store
from bench.store.places import PLACES_FILE, Places
from bench.store.reader import read_database
from bench.store.tables import RUNS

psycopg = pytest.importorskip("psycopg")
pytestmark = pytest.mark.slow
OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


def assert_same_study(folder, expected):
    """The same evidence bit for bit, and counters."""
    assert_same(folder, expected)
    found, wanted = (read_database(one).meta["counters"] for one in (folder, expected))
    assert {**found, "seconds": 0} == {**wanted, "seconds": 0}


@pytest.fixture(scope="module")
def there(postgresql, tmp_path_factory, write_tiny, run_command):
    """The tiny study, run to its end with its rows in PostgreSQL; not to be changed."""
    folder = write_tiny(tmp_path_factory.mktemp("there") / "tiny")
    done = run_command("run", folder, "--store", postgresql.new_database())
    assert done.returncode == 0, done.stdout
    return folder


@pytest.fixture
def store(postgresql, tmp_path):
    """An empty store."""
    database.fix_places(tmp_path, Places(store=postgresql.new_database()), "empty", "hash")
    with closing(open_store(tmp_path, create=True)) as store:
        yield store


def start(*words):
    """Start a command, as `run_command` runs one."""
    return subprocess.Popen(
        [sys.executable, "-m", "prunebench", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def wait_for_rows(folder, number, run):
    """Wait until a run has written so many rows; return how many there are."""
    while run.poll() is None:
        try:
            with closing(open_store(folder)) as store:
                rows = len(store.states())
        except UserError:  # not begun, or the server is away
            rows = 0
        if rows >= number:
            return rows
        time.sleep(0.1)
    raise AssertionError(run.communicate()[0])


def test_rows_are_those_of_sqlite(there, finished_tiny):
    assert not (there / "results.db").exists()
    assert_same_study(there, finished_tiny)


def test_every_reading_command_reads_them(there, finished_tiny, tmp_path, command):
    mine, theirs = shutil.copytree(there, tmp_path / "mine"), shutil.copytree(finished_tiny, tmp_path / "theirs")
    for words in (["status"], ["claims", "--json"], ["power"]):
        found, expected = (command(words[0], folder, *words[1:]) for folder in (mine, theirs))
        assert found.code == 0, found.err
        assert found.out == expected.out
    shown = [json.loads(command("show", folder, "7", "--json").out) for folder in (mine, theirs)]
    assert [[one.pop(name) for name in ("seconds", "written")] for one in shown]
    assert shown[0] == shown[1]
    assert command("report", mine).code == 0
    assert json.loads(command("plan", mine, "--json").out)["todo"] == 0
    pruned = tmp_path / "pruned.safetensors"
    assert command("prune", mine, "7", "-o", pruned).code == 0
    assert load_file(pruned)


def test_a_second_run_from_another_machine_names_the_holder_of_the_study(there, tmp_path, write_tiny, command):
    url = json.loads((there / PLACES_FILE).read_text())["store"]
    second = write_tiny(tmp_path / "second")
    with closing(open_store(there)) as holding, holding.lock():
        with holding.transaction() as connection:
            connection.execute(sa.insert(RUNS).values(host="elsewhere", pid=1, started=database.now(), before=196))
        refused = command("run", second, "--store", url)
        status = command("status", there).out
    assert refused.code == 2
    assert len(refused.err.splitlines()) == 1
    assert f"locked by process {os.getpid()} on " in refused.err
    assert "process 1 on elsewhere runs since" in status
    assert "the last run was interrupted" in command("status", there).out
    assert "196 already there" in command("run", second, "--store", url).out


def test_studies_of_one_database_do_not_meet(postgresql, tmp_path, write_tiny, command):
    url = postgresql.new_database()
    for name in ("first", "second"):
        folder = write_tiny(tmp_path / name)
        (folder / "study.yaml").write_text((folder / "study.yaml").read_text().replace("name: tiny", f"name: {name}"))
        done = command("run", folder, "--profile", "one", "--limit", "1", "--store", url)
        assert "1 cells done, 0 failed, 0 skipped, 0 already there, 13 left for another run" in done.out
        assert read_database(folder).meta["name"] == name


def test_a_run_goes_on_through_restarts_of_the_server(postgresql, tmp_path, write_tiny, finished_tiny, record_property):
    folder = write_tiny(tmp_path / "tiny")
    run = start("run", folder, "--store", postgresql.new_database())
    restarts = (1, 40, 80, 120, 160)
    for rows in restarts:
        wait_for_rows(folder, rows, run)
        postgresql.restart()
    said = run.communicate()[0]
    assert run.returncode == 0, said
    assert said.count("connection lost; trying again") >= 3
    assert "Traceback" not in said
    assert_same_study(folder, finished_tiny)
    record_property("times", len(restarts))


def test_a_killed_run_is_resumed(postgresql, tmp_path, write_tiny, run_command, finished_tiny, record_property):
    folder = write_tiny(tmp_path / "tiny")
    words = ["run", folder, "--store", postgresql.new_database()]
    kills = (5, 40, 80, 100, 140)
    for rows in kills:
        run = start(*words)
        before = wait_for_rows(folder, rows, run)
        run.send_signal(signal.SIGKILL)
        run.communicate()
    done = run_command(*words)
    assert done.returncode == 0, done.stdout
    assert int(done.stdout.split(" already there")[0].split()[-1]) >= before - 1  # the last one may be in work
    assert_same(folder, finished_tiny)
    record_property("times", len(kills))


@pytest.mark.parametrize("into", ["sqlite", "postgresql"])
def test_halves_merge_between_the_kinds(postgresql, tmp_path, write_tiny, run_command, finished_tiny, into):
    first, second = (write_tiny(tmp_path / name) for name in ("first", "second"))
    for seed, folder in enumerate((first, second)):
        in_server = (folder == first) == (into == "postgresql")
        place = ["--store", postgresql.new_database()] if in_server else []
        assert run_command("run", folder, "--only", f"train_seed={seed}", *place).returncode == 0
    merged = run_command("run", first, "--merge", second)
    assert "98 cells imported" in merged.stdout
    assert (first / "results.db").exists() == (into == "sqlite")
    assert_same_study(first, finished_tiny)


def test_a_store_is_not_merged_with_itself(there, tmp_path, command):
    other = shutil.copytree(there, tmp_path / "other")
    refused = command("run", other, "--merge", there)
    assert refused.code == 2
    assert "there is nothing to merge" in refused.err


def end_connections(postgresql, store):
    """End the store's connections as a server does that goes away, and wait until they are gone."""
    with psycopg.connect(postgresql.url(store.database.engine.url.database).replace("+psycopg", "")) as connection:
        connection.execute(f"SELECT pg_terminate_backend(pid) {OTHERS}")
        while connection.execute(f"SELECT count(*) {OTHERS}").fetchone() != (0,):
            time.sleep(0.01)
            connection.commit()


@pytest.mark.parametrize("still", [True, False], ids=["held", "released"])
def test_a_run_stops_where_another_took_the_study_meanwhile(postgresql, tmp_path, store, still):
    def work():
        with store.lock():
            store.set_meta("mine", "before")
            end_connections(postgresql, store)
            with closing(open_store(tmp_path)) as other, other.lock():
                if still:
                    store.set_meta("mine", "after")
            store.set_meta("mine", "after")

    with pytest.raises(UserError, match=f"locked by process {os.getpid()} on .* since"):
        work()
    assert store.meta("mine") == "before"


def test_a_run_waits_for_its_own_lost_connection(postgresql, store, caplog):
    ghost = psycopg.connect(postgresql.url(store.database.engine.url.database).replace("+psycopg", ""))
    ghost.execute("SET search_path = prunebench_empty")
    with store.lock():
        ghost.execute(f"SELECT pg_terminate_backend(pid) {OTHERS}")
        ghost.execute("SELECT pg_advisory_lock('meta'::regclass::oid::bigint)")
        timer = threading.Timer(1.5, ghost.close)
        timer.start()
        store.set_meta("mine", "after")
        timer.join()
    assert store.meta("mine") == "after"
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_counters_are_added_once_where_the_answer_to_a_commit_is_lost(store):
    store.register({"study_hash": "h", "name": "n", "claims_hash": None, "study": "{}"}, [])
    store.add_counters("h", {"sorts": 2})
    lost = []

    def lose(connection):
        if not lost:
            lost.append(True)
            connection.connection.driver_connection.commit()
            connection.connection.driver_connection.close()

    with store.lock():
        for _ in range(3):  # at the reading and at the writing transaction
            sa.event.listen(store.database.engine, "commit", lose, once=False)
            store.add_counters("h", {"sorts": 3})
            sa.event.remove(store.database.engine, "commit", lose)
    assert lost
    with store.transaction() as connection:
        assert connection.execute(sa.text("SELECT counters FROM studies")).scalar() == '{"sorts": 11}'


def test_a_server_that_stays_away_is_one_line(postgresql, store, monkeypatch):
    monkeypatch.setattr(database, "PATIENCE", 1.0)
    with store.lock():
        postgresql.stop()
        try:
            with pytest.raises(UserError, match="see that the server runs"):
                store.set_meta("mine", "after")
        finally:
            postgresql.start()


def mistakes(postgresql):
    yield postgresql.url("nowhere"), "make it with createdb"
    yield postgresql.url("postgres", "stranger"), "name a user of the server in the URL"
    yield postgresql.url("postgres", "locked"), "~/.pgpass or PGPASSWORD"
    yield postgresql.url("postgres", "guest"), "GRANT CREATE ON DATABASE"
    yield postgresql.url("postgres") + "&colour=red", "correct what follows the ?"
    yield f"postgresql+psycopg://postgres@/postgres?host={postgresql.folder}/nowhere", "see that the server runs"


def test_mistakes_are_one_line_and_leave_nothing(postgresql, tiny, command, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "wrong-and-secret")
    before = sorted(tiny.iterdir())
    for url, remedy in mistakes(postgresql):
        refused = command("run", tiny, "--store", url)
        assert refused.code == 2
        assert len(refused.err.splitlines()) == 1, refused.err
        assert remedy in refused.err
        assert "wrong-and-secret" not in refused.err + refused.out
        assert sorted(tiny.iterdir()) == before
    monkeypatch.setenv("PGPASSWORD", "right")
    postgresql.sql("GRANT CREATE ON DATABASE postgres TO locked")
    done = command("run", tiny, "--profile", "one", "--limit", "1", "--store", postgresql.url("postgres", "locked"))
    assert done.code == 0, done.err
    assert "right" not in (tiny / PLACES_FILE).read_text()


def test_two_first_runs_at_once_make_one_store(postgresql, tmp_path):
    database.fix_places(tmp_path, Places(store=postgresql.new_database()), "crowd", "hash")
    with closing(open_store(tmp_path)) as store, store.transaction() as connection:
        connection.execute(sa.text("DROP SCHEMA prunebench_crowd CASCADE"))
    code = "import sys; from pathlib import Path; from bench.store.database import open_store\n"
    code += "open_store(Path(sys.argv[1]), create=True).close()"
    crowd = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(4)]
    assert [one.wait() for one in crowd] == [0] * 4


def test_what_lies_there_of_something_else_is_left_alone(postgresql, tmp_path):
    url = postgresql.new_database()
    postgresql.sql("CREATE TABLE meta (thing int)", url.split("/")[3].split("?")[0])
    places = Places(store=f"{url}&options=-csearch_path%3Dpublic")
    with pytest.raises(UserError, match="it is not a prunebench store"):
        database.fix_places(tmp_path, places, "other", "hash")
    assert not (tmp_path / PLACES_FILE).exists()


def test_another_study_of_the_same_name_is_refused(tmp_path, postgresql, write_tiny, run_command):
    url = postgresql.new_database()
    first, same, other = (write_tiny(tmp_path / name) for name in ("first", "same", "other"))
    text = (other / "study.yaml").read_text()
    (other / "study.yaml").write_text(text.replace("sparsities: [0.5, 0.8]", "sparsities: [0.6]"))
    options = "--profile", "one", "--limit", 2, "--store", url
    for folder in (first, same):
        done = run_command("run", folder, *options)
        assert done.returncode == 0, done.stdout
    assert "2 already there" in done.stdout
    refused = run_command("run", other, *options)
    assert refused.returncode == 2
    assert "holds another study named 'tiny': set another `name` in study.yaml" in refused.stdout
    assert not (other / PLACES_FILE).exists()
    (first / "study.yaml").write_text((other / "study.yaml").read_text())  # edited, in its own folder
    assert run_command("run", first, *options[:4]).returncode == 0
