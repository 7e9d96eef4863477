"""Faults other than SIGKILL, on the real thing: after each, one clear line, and a resume gives the undisturbed rows."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from evidence import STUDY, Evidence, Kept, leftovers, write_study
from kill_driver import Run, start
from safetensors.torch import load_file, save_file

from bench.store.schema import SCHEMA_VERSION

pytestmark = pytest.mark.slow

SIGNALS = 20
FLIPS = 40


def one_error(output: str) -> str:
    """Return the one error line that a command ended with."""
    lines = output.splitlines()
    assert sum(line.startswith("error: ") for line in lines) == 1, output
    assert lines[-1].startswith("error: "), output
    return lines[-1]


def wait_for_stage(run: Run) -> None:
    """Return when a run has begun to write into its store."""
    while not run.entries() and run.process.is_alive():
        time.sleep(0.001)


# ---------------------------------------------------------------- signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_sent_twice_ends_a_run_that_loses_nothing(number, finished, tmp_path, record_property):
    folder, random = write_study(tmp_path / "study"), np.random.default_rng(number)
    stopped = announced = 0
    while stopped < SIGNALS:
        before = Kept.of(folder)
        run = start(tmp_path / "scratch", "run", folder)
        wait_for_stage(run)
        run.process.join(float(random.uniform(0, finished.seconds)))
        with contextlib.suppress(ProcessLookupError):
            os.kill(run.process.pid, number)
            time.sleep(float(random.uniform(0, 0.02)))
            os.kill(run.process.pid, number)
        code, output = run.wait(), run.output()
        before.assert_in(Kept.of(folder))
        assert "Traceback" not in output
        if code == 0:
            Evidence.of(folder).assert_equal(finished.evidence)
            shutil.rmtree(folder)
            write_study(folder)
            continue
        assert code in (128 + number, -number), output  # the latter before the run began
        announced += "interrupted; all finished cells are kept" in output.splitlines()[-1]
        stopped += 1
    start(tmp_path / "scratch", "run", folder).wait()
    Evidence.of(folder).assert_equal(finished.evidence)
    assert leftovers(folder) == []
    assert announced > 0
    record_property("fault", f"{number.name}, a second one within 20 ms")
    record_property("times", SIGNALS)
    record_property("outcome", f"exit code {128 + number}, no traceback; resumed, rows equal")


# ---------------------------------------------------------------- several processes


def test_a_second_run_names_the_holder_of_the_study_and_readers_are_not_disturbed(finished, tmp_path, record_property):
    reads = refused = 0
    for number in range(5):
        folder = write_study(tmp_path / f"study{number}")
        first = start(tmp_path / "first", "run", folder)
        wait_for_stage(first)
        while first.process.is_alive():
            second = start(tmp_path / "second", "run", folder)
            readers = [start(tmp_path / name, name, folder) for name in ("status", "report")]
            if second.wait() == 2:
                assert f"locked by process {first.process.pid} on " in one_error(second.output())
                refused += 1
            for reader in readers:
                assert reader.wait() == 0, reader.output()
                reads += 1
        assert first.wait() == 0
        Evidence.of(folder).assert_equal(finished.evidence)
    assert refused > 0
    record_property("fault", "a second run, and readers (status, report), all the while")
    record_property("times", refused + reads)
    record_property("outcome", f"{refused} runs refused with the holder's name, {reads} reads, rows equal")


# ---------------------------------------------------------------- damaged files


def test_bits_flipped_in_a_dense_model_are_found(finished, study, prunebench, record_property):
    (study / "results.db").unlink()
    model = min((study / "artifacts" / "dense").iterdir())
    whole, random, found = model.read_bytes(), np.random.default_rng(0), 0
    for place in random.integers(len(whole), size=FLIPS):
        harmed = bytearray(whole)
        harmed[place] ^= 1 << int(random.integers(8))
        model.write_bytes(harmed)
        code, output = prunebench("run", study)
        assert code == 2, f"byte {place}"
        assert f"{model}" in one_error(output)
        assert "delete it" in output
        found += 1
    model.unlink()
    assert prunebench("run", study)[0] == 0
    Evidence.of(study).assert_equal(finished.evidence)
    record_property("fault", "a bit flipped in a dense model among the artifacts")
    record_property("times", found)
    record_property("outcome", "refused by name; deleted, trained again: rows equal")


def test_a_bit_flipped_in_a_given_checkpoint_is_another_model(study, tmp_path, prunebench, record_property):
    folder = tmp_path / "given"
    folder.mkdir()
    text = STUDY.replace("recipe: {epochs: 1}", "checkpoint: model.safetensors, normalisation: dataset").replace(
        "train_seeds: 2\n", ""
    )
    (folder / "study.yaml").write_text(text)
    given = folder / "model.safetensors"
    save_file(load_file(min((study / "artifacts" / "dense").iterdir())), given)
    whole = given.read_bytes()
    assert prunebench("run", folder)[0] == 0
    before, expected = Kept.of(folder), Evidence.of(folder)
    given.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    code, output = prunebench("run", folder)
    assert code == 0, output
    assert f"{len(before.rows)} cells done, 0 failed, 0 skipped, 0 already there" in output
    assert "digits_cnn: its recipe, code or checkpoint changed since an earlier run: its cells are new" in output
    given.write_bytes(whole)
    assert "0 cells done" in prunebench("run", folder)[1]
    before.assert_in(Kept.of(folder))
    pd.testing.assert_frame_equal(Evidence.of(folder).rows, expected.rows)
    record_property("fault", "a bit flipped in a given checkpoint")
    record_property("times", 1)
    record_property("outcome", "reported; other cells; with the file restored: the same rows")


@pytest.mark.parametrize("kind", ["dense", "alignment", "units"])
def test_a_truncated_artifact_is_refused_by_name_and_made_anew(kind, finished, study, prunebench, record_property):
    harmed = min(path for path in (study / "artifacts" / kind).rglob("*") if path.is_file())
    whole = harmed.read_bytes()
    if kind == "dense":
        (study / "results.db").unlink()  # a finished study has no more use for it
    for size in (0, 1, len(whole) // 2, len(whole) - 1):
        harmed.write_bytes(whole[:size])
        code, output = prunebench("run" if kind == "dense" else "report", study)
        assert code == 2
        assert str(harmed) in one_error(output)
        assert "delete it" in output
    harmed.unlink()
    assert prunebench("run", study)[0] == 0
    Evidence.of(study).assert_equal(finished.evidence)
    record_property("fault", f"an artifact truncated ({kind})")
    record_property("times", 4)
    record_property("outcome", "refused by name; deleted, made anew: equal")


def test_bits_flipped_in_the_store_are_counted_by_what_comes_of_them(
    finished, study, tmp_path, prunebench, record_property
):
    store = study / "results.db"
    whole, random = store.read_bytes(), np.random.default_rng(0)
    outcomes = dict.fromkeys(("refused in one line", "no effect", "a value changed, unnoticed", "a traceback"), 0)
    for place in [*range(0, 100, 5), *random.integers(len(whole), size=FLIPS)]:
        harmed = bytearray(whole)
        harmed[place] ^= 1 << int(random.integers(8))
        store.write_bytes(harmed)
        run = start(tmp_path / "scratch", "run", study)
        code = run.wait()
        if code == 2:
            assert "results.db" in one_error(run.output())
            outcomes["refused in one line"] += 1
            continue
        if code == 1:
            outcomes["a traceback"] += 1
            continue
        assert code == 0, run.output()
        try:
            Evidence.of(study).assert_equal(finished.evidence)
            outcomes["no effect"] += 1
        except AssertionError:
            outcomes["a value changed, unnoticed"] += 1
    store.write_bytes(whole[: len(whole) // 2])
    for command in ("status", "run", "report"):
        code, output = prunebench(command, study)
        assert code == 2
        assert str(store) in one_error(output)
    store.unlink()
    assert prunebench("run", study)[0] == 0
    Evidence.of(study).assert_equal(finished.evidence)
    record_property("fault", "a bit flipped in results.db")
    record_property("times", sum(outcomes.values()))
    record_property("outcome", ", ".join(f"{count} {what}" for what, count in outcomes.items()))


def test_a_store_of_another_schema_is_refused(study, prunebench, record_property):
    for number in ("0", str(SCHEMA_VERSION + 1), "x"):
        connection = sqlite3.connect(study / "results.db")
        connection.execute("UPDATE meta SET value = ? WHERE key = 'schema'", (number,))
        connection.commit()
        connection.close()
        for command in ("run", "status", "report", "claims", "plan"):
            code, output = prunebench(command, study)
            assert code == 2
            assert f"has store schema {number}, this prunebench reads {SCHEMA_VERSION}" in one_error(output)
    record_property("fault", "a store of another schema number")
    record_property("times", 3 * 5)
    record_property("outcome", "refused in one line, by every command")


# ---------------------------------------------------------------- the folder changes under the run


def test_a_store_deleted_in_mid_run_stops_the_run(finished, tmp_path, prunebench, record_property):
    folder = write_study(tmp_path / "study")
    run = start(tmp_path / "run", "run", folder)
    wait_for_stage(run)
    for path in folder.glob("results.db*"):
        path.unlink()
    assert run.wait() == 2, run.output()
    assert "results.db" in one_error(run.output())
    assert prunebench("run", folder)[0] == 0
    Evidence.of(folder).assert_equal(finished.evidence)
    record_property("fault", "results.db deleted in mid-run")
    record_property("times", 1)
    record_property("outcome", "stopped in one line; run again: rows equal")


def test_a_study_edited_in_mid_run_or_between_runs_keeps_what_is_done(finished, tmp_path, prunebench, record_property):
    folder = write_study(tmp_path / "study")
    run = start(tmp_path / "run", "run", folder)
    wait_for_stage(run)
    (folder / "study.yaml").write_text(STUDY.replace("taylor", "wanda"))
    assert run.wait() == 0
    Evidence.of(folder).assert_equal(finished.evidence)
    before = Kept.of(folder)
    code, output = prunebench("run", folder)
    assert code == 0
    new = len(finished.evidence.rows.query("scorer == 'taylor'"))
    assert f"{new} cells done, 0 failed, 0 skipped, {len(before.rows) - new} already there" in output
    before.assert_in(Kept.of(folder))
    (folder / "study.yaml").write_text(STUDY)
    assert "0 cells done" in prunebench("run", folder)[1]
    found = Evidence.of(folder)
    assert found.tables.items() >= finished.evidence.tables.items()  # the other study has its own
    found.assert_equal(finished.evidence, tables=False)
    record_property("fault", "study.yaml edited in mid-run, between runs, and back")
    record_property("times", 3)
    record_property("outcome", "only new cells run, rows equal")


def test_a_read_only_folder_can_be_read_and_refuses_a_run(finished, study, mount, prunebench, record_property):
    place = study.with_name("read-only")
    mount(place, 8192)
    shutil.copytree(study, place, dirs_exist_ok=True)
    subprocess.run(["mount", "-o", "remount,ro", place], check=True)
    for command in ("status", "show 0", "plan"):
        command, *words = command.split()
        assert prunebench(command, place, *words)[0] == 0
    for command in ("run", "report"):
        code, output = prunebench(command, place)
        assert code == 2
        assert "Read-only" in one_error(output) or "permission" in output
    subprocess.run(["mount", "-o", "remount,rw", place], check=True)
    assert "0 cells done" in prunebench("run", place)[1]
    Evidence.of(place).assert_equal(finished.evidence)
    record_property("fault", "a folder on a read-only file system")
    record_property("times", 5)
    record_property("outcome", "read; run and report refused in one line")


def test_a_study_reached_through_a_symbolic_link_is_the_same_study(finished, tmp_path, prunebench, record_property):
    folder, link = write_study(tmp_path / "study"), tmp_path / "link"
    link.symlink_to(folder)
    run = start(tmp_path / "run", "run", link)
    wait_for_stage(run)
    code, output = prunebench("run", folder)
    assert code == 2
    assert f"locked by process {run.process.pid} on " in one_error(output)
    assert run.wait() == 0
    assert "0 cells done" in prunebench("run", folder)[1]
    Evidence.of(folder).assert_equal(finished.evidence)
    record_property("fault", "a study reached through a symbolic link")
    record_property("times", 1)
    record_property("outcome", "one lock, one store: rows equal")


NAMES = ("Größe der Prüfung 1", "100%25 a?b#c [bold] {y}", 'it\'s "q" & <b>')


def test_any_name_of_the_folder_will_do(finished, tmp_path, prunebench, record_property):
    for name in NAMES:
        folder = Path(shutil.copytree(finished.folder, tmp_path / name))
        (folder / "results.db").unlink()
        code, output = prunebench("run", folder)
        assert code == 0, output
        assert output.endswith(f"next: prunebench report {folder}")
        for command in ("status", "report"):
            assert prunebench(command, folder)[0] == 0
        Evidence.of(folder).assert_equal(finished.evidence)
        shutil.rmtree(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["scratch"]  # nothing beside the folder either
    record_property("fault", "a folder's name with spaces, umlauts, quotes, %, ?, #, [ and <")
    record_property("times", len(NAMES))
    record_property("outcome", "rows equal")


# ---------------------------------------------------------------- a full disk


@pytest.mark.parametrize("what", ["store", "artifacts", "report"])
def test_a_full_disk_stops_with_one_line_and_room_lets_it_go_on(
    what, finished, tmp_path, mount, prunebench, record_property
):
    folder = tmp_path / "study"
    mount(folder, 20_000)
    (folder / "study.yaml").write_text(STUDY)
    place = folder / what
    if what != "store":
        mount(place, 200)
    else:
        assert prunebench("run", folder, "--limit", 7)[0] == 0
        place = folder
    before = Kept.of(folder)
    if what == "report":
        assert prunebench("run", folder)[0] == 0
    (ballast := place / "ballast").touch()
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as stream:
        while True:
            stream.write(b"0" * 512)
    code, output = prunebench("report" if what == "report" else "run", folder)
    assert code == 2
    assert any(remedy in one_error(output) for remedy in ("make room", "free some space"))
    ballast.unlink()
    if what != "store":
        subprocess.run(["mount", "-o", "remount,size=20000k", place], check=True)
    assert prunebench("run", folder)[0] == 0
    assert prunebench("report", folder)[0] == 0
    before.assert_in(Kept.of(folder))
    Evidence.of(folder).assert_equal(finished.evidence)
    assert leftovers(folder) == []
    record_property("fault", f"disk full ({what})")
    record_property("times", 1)
    record_property("outcome", "one line, exit code 2; with room: rows equal")


# ---------------------------------------------------------------- the clock


def test_a_clock_that_jumps_back_and_forth_changes_nothing(finished, tmp_path, record_property):
    folder = write_study(tmp_path / "study")
    offset, random = tmp_path / "offset", np.random.default_rng(0)
    offset.write_text("0")
    run = start(tmp_path / "run", "run", folder, clock=offset)
    wait_for_stage(run)
    reads = 0
    while run.process.is_alive():
        offset.write_text(str(int(random.choice([-3600, 0, 86400 * 365]))))
        status = start(tmp_path / "status", "status", folder, "--json", clock=offset)
        assert status.wait() == 0, status.output()
        found = json.loads(status.output())
        assert found["rate"] is None or found["rate"] > 0
        assert found["seconds_left"] is None or found["seconds_left"] >= 0
        reads += 1
    assert run.wait() == 0, run.output()
    Evidence.of(folder).assert_equal(finished.evidence)
    assert reads > 0
    record_property("fault", "the clock jumps: an hour back, a year forth")
    record_property("times", reads)
    record_property("outcome", "rate and time left never negative, rows equal")
