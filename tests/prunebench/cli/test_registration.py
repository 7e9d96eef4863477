"""``register``, ``amend`` and ``verify``, and the attacks on a registration: each is refused or shown."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from contextlib import closing, contextmanager

import pytest

from analysis.evidence.load import load, write_parquet
from bench.core.identity import canonical_json
from bench.store.reader import read_database
from prunebench.cli.app import app

STUDY = """\
name: small
data: [digits]
models: [{name: digits_cnn, recipe: {epochs: 1}}]
train_seeds: 2
scorers: [magnitude, random]
sparsities: [0.5, 0.8]
profiles: {one: {train_seeds: 1}}
"""


def git(folder, *arguments):
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def commit(folder):
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "x")


def train_seeds(folder):
    return set(load(folder).rows["train_seed"])


@contextmanager
def database(folder):
    with closing(sqlite3.connect(folder / "results.db")) as connection:
        yield connection
        connection.commit()


@pytest.fixture(scope="module")
def write_small(write_tiny):
    """Write a small study with few claims."""

    def write(folder):
        write_tiny(folder)
        (folder / "study.yaml").write_text(STUDY)
        text = (folder / "claims.yaml").read_text()
        assert "[sics, asr]" in text
        (folder / "claims.yaml").write_text(text.replace("[sics, asr]", "[emp]"))
        return folder

    return write


@pytest.fixture(scope="module")
def finished_registered(tmp_path_factory, write_small):
    """A repository with a study that was registered, committed, run and committed again; not to be changed."""
    folder = write_small(tmp_path_factory.mktemp("registered") / "study")
    (folder / ".gitignore").write_text("results.db*\nartifacts/\n.prunebench.lock\n")
    git(folder, "init", "--quiet")
    app(["register", str(folder), "--seen", "nothing"], standalone_mode=False)
    commit(folder)
    app(["run", str(folder)], standalone_mode=False)
    (folder / "report").mkdir()
    write_parquet(read_database(folder), folder / "report" / "data.parquet")
    commit(folder)
    return folder


@pytest.fixture
def registered(finished_registered, tmp_path):
    """A copy of the registered study that a test may change."""
    return shutil.copytree(finished_registered, tmp_path / "study")


@pytest.fixture
def small(write_small, tmp_path):
    """The small study, not registered."""
    return write_small(tmp_path / "small")


@pytest.fixture
def verified(command):
    """Return what ``verify --json`` prints of a study."""

    def verify(folder, *arguments):
        done = command("verify", folder, "--json", *arguments)
        assert done.code == 0, done.err
        return json.loads(done.out)

    return verify


def change_claims(folder):
    path = folder / "claims.yaml"
    text = path.read_text()
    assert "[emp]" in text
    path.write_text(text.replace("[emp]", "[]"))


def test_a_registered_study_reaches_the_order_of_the_history(registered, verified, command):
    found = verified(registered)
    assert found["level"] == "order claimed by the author's history"
    assert (found["registrations of this folder"], found["cells without a row"]) == (1, 0)
    assert found["changes in the runs"] == found["changes on this machine"] == []
    assert not train_seeds(registered) & {0, 1}
    (registered / "results.db").unlink()  # the report's data alone carry the registration
    assert verified(registered) == found
    printed = command("verify", registered).out
    assert "level: order claimed by the author's history\n" in printed
    assert "registrations of this folder: 1\n" in printed


def test_a_registered_study_resumes_with_the_same_seeds(registered, command):
    with database(registered) as connection:
        connection.execute("DELETE FROM rows WHERE rowid IN (SELECT rowid FROM rows LIMIT 2)")
    before = train_seeds(registered)
    assert "2 cells done" in command("run", registered).out
    assert train_seeds(registered) == before


def test_plan_shows_the_seeds_and_what_has_changed_since_the_registration(registered, command):
    change_claims(registered)
    planned = json.loads(command("plan", registered, "--json").out)
    shown = planned["lines"]["registration"].rpartition("train seeds ")[2]
    assert set(map(int, shown.split(", "))) == train_seeds(registered)
    assert any("changed since the registration: claims.yaml" in line for line in planned["warnings"])


def test_copies_of_a_registered_study_are_merged(registered, tmp_path, command, verified):
    other = shutil.copytree(registered, tmp_path / "other")
    with database(registered) as connection:
        connection.execute("DELETE FROM rows WHERE rowid IN (SELECT rowid FROM rows LIMIT 4)")
    assert "4 cells imported" in command("run", registered, "--merge", other, "--limit", "0").out
    assert verified(registered)["cells without a row"] == 0


def test_given_checkpoints_are_named(registered, small, command, verified):
    [file, *_] = (registered / "artifacts" / "dense").glob("*.safetensors")
    text = STUDY.replace("recipe: {epochs: 1}", f"label: ours, checkpoint: {file}")
    (small / "study.yaml").write_text(text)
    assert command("register", small).code == 0
    assert str(file.parent) not in (small / "registration.json").read_text()
    assert command("run", small, "--limit", "3").code == 0
    found = verified(small)
    assert (found["level"], found["given checkpoints"]) == ("self-attested", ["ours"])
    assert load(small).rows["calibration_draw"].min() > 0


# ---------------------------------------------------------------- attacks


def test_a_reversed_claim_in_a_new_folder_has_other_models(registered, tmp_path, command, verified):
    new = tmp_path / "new"
    new.mkdir()
    for name in ("study.yaml", "claims.yaml"):
        shutil.copy(registered / name, new / name)
    change_claims(new)
    assert command("register", new).code == 0
    done = command("run", new, "--merge", registered, "--limit", "0")
    assert "0 cells imported" in done.out
    assert not train_seeds(new) & train_seeds(registered)


def test_a_reversed_claim_with_the_old_data_is_not_registered(registered, command, verified):
    change_claims(registered)
    done = command("run", registered)
    assert done.code == 2
    assert "changed since the registration: claims.yaml: restore it" in done.err
    found = verified(registered)
    assert (found["level"], found["because"]) == ("not registered", "claims.yaml is not the registered one")


def test_a_hash_that_is_replaced_in_the_store_does_not_fit_the_seeds(
    registered, write_small, tmp_path, command, verified
):
    other = write_small(tmp_path / "other")
    change_claims(other)
    assert command("register", other).code == 0
    forged = json.loads((other / "registration.json").read_text())["claims"]
    change_claims(registered)
    with database(registered) as connection:
        connection.execute("UPDATE studies SET claims_hash = ?", [forged])
        [text] = connection.execute("SELECT value FROM meta WHERE key = 'registration'").fetchone()
        registration = json.loads(json.loads(text)["text"])
        assert registration["claims"] != forged
        record = {**json.loads(text), "text": canonical_json({**registration, "claims": forged})}
        connection.execute("UPDATE meta SET value = ? WHERE key = 'registration'", [json.dumps(record)])
    found = verified(registered)
    assert found["level"] == "not registered"
    assert found["because"] == "the seeds of the rows do not follow from the registration"


def test_an_edited_study_is_refused_until_it_is_restored_or_amended(registered, command, edit_study, verified):
    edit_study(registered, "[0.5, 0.8]", "[0.5]")
    done = command("run", registered)
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "changed since the registration: study.yaml, sparsities: [0.5, 0.8] -> [0.5]: restore it" in done.err
    assert command("amend", registered, "--reason", " ").code == 2
    assert command("amend", registered, "--reason", "0.8 collapses").code == 0
    assert command("run", registered).code == 0
    found = verified(registered)
    [amendment] = found["amendments"]
    assert "after 10 rows: 0.8 collapses (study.yaml, sparsities: [0.5, 0.8] -> [0.5])" in amendment
    assert command("amend", registered, "--reason", "again").code == 2


def test_claims_that_are_amended_after_the_data_are_not_registered(registered, command, verified):
    change_claims(registered)
    assert command("amend", registered, "--reason", "they were wrong").code == 0
    found = verified(registered)
    assert (found["level"], found["because"]) == ("not registered", "the claims were amended after the registration")


def test_changed_code_and_libraries_are_recorded_and_shown(small, command, verified):
    assert command("register", small).code == 0
    path = small / "registration.json"
    registration = json.loads(path.read_text())  # as another version of the package would have written it
    registration["package"]["libraries"]["numpy"] = "1.0"
    registration["package"]["files"]["bench/core/identity.py"] = "0" * 64
    path.write_text(canonical_json(registration))
    done = command("run", small, "--limit", "1")
    assert done.code == 0
    assert "note: changed since the registration: files of the package: bench/core/identity.py" in done.out + done.err
    found = verified(small)
    assert found["level"] == "self-attested"
    assert found["changes in the runs"][0] == "files of the package: bench/core/identity.py"
    assert found["changes in the runs"][1].startswith("numpy 1.0 -> ")


def test_a_changed_accuracy_is_noticed(registered, verified):
    with database(registered) as connection:
        connection.execute("UPDATE rows SET accuracy = 0.5 WHERE cell IN (SELECT cell FROM rows LIMIT 2)")
    found = verified(registered)
    assert found["level"] == "not registered"
    assert found["because"] == "the accuracy is not the share of the correctness bits in 2 rows"


def test_an_edited_registration_is_named(registered, verified):
    path = registered / "registration.json"
    path.write_text(path.read_text().replace('"seen":"nothing"', '"seen":"all"'))
    assert verified(registered)["files that differ from the evidence"] == ["registration.json"]


def test_deleted_rows_are_counted(registered, verified):
    with database(registered) as connection:
        cells = [cell for (cell,) in connection.execute("SELECT cell FROM rows LIMIT 3")]
        connection.executemany("DELETE FROM rows WHERE cell = ?", [(cell,) for cell in cells])
        connection.execute("DELETE FROM plan WHERE cell = ?", cells[:1])
    assert verified(registered)["cells without a row"] == 3


def test_data_that_exist_cannot_be_registered(registered, small, command, verified):
    done = command("register", registered)
    assert done.code == 2
    assert "holds 10 rows already, and only what has no data yet can be registered" in done.err
    assert command("run", small, "--limit", "1").code == 0
    assert "holds 1 rows already" in command("register", small).err
    assert not (small / "registration.json").exists()
    assert (verified(small)["level"], train_seeds(small)) == ("not registered", {0, 1})
    with database(registered) as connection:
        [text] = connection.execute("SELECT value FROM meta WHERE key = 'registration'").fetchone()
    with database(small) as connection:
        connection.execute("INSERT INTO meta (key, value) VALUES ('registration', ?)", [text])
    assert verified(small)["because"] == "the seeds of the rows do not follow from the registration"


def test_repeated_registrations_are_numbered(small, command, verified):
    for seen in ("one", "two"):
        assert command("register", small, "--seen", seen).code == 0
    found = verified(small)
    assert (found["level"], found["registrations of this folder"], found["seen before"]) == ("registered", 2, "two")
    (small / "registrations" / "001.json").unlink()
    done = command("run", small)
    assert done.code == 2
    assert "registration 1 of this folder is missing or altered" in done.err


# ---------------------------------------------------------------- options


def test_pilots_are_registered_by_name_and_hash(registered, small, command, tmp_path):
    assert command("register", small, "--pilot", registered, "--pilot", tmp_path / "absent").code == 2
    assert command("register", small, "--pilot", registered).code == 0
    text = (small / "registration.json").read_text()
    [pilot] = json.loads(text)["pilots"]
    assert pilot["name"] == "study"
    assert len(pilot["data_hash"]) == 64
    assert str(tmp_path) not in text


def test_a_profile_is_registered_by_itself(small, command):
    assert command("register", small, "--profile", "one").code == 0
    done = command("run", small)
    assert done.code == 2
    assert "was registered for a run with --profile one" in done.err


def test_a_study_without_claims_cannot_be_registered(small, command):
    (small / "claims.yaml").unlink()
    done = command("register", small)
    assert done.code == 2
    assert "claims.yaml: there is no such file" in done.err


def test_what_is_not_registered_says_so(small, command, verified):
    found = verified(small)
    assert (found["level"], found["because"]) == ("not registered", "there is no registration.json")
    assert "is not registered; `prunebench register" in command("amend", small, "--reason", "x").err
    assert "there is no study" in command("verify", small / "absent").err
