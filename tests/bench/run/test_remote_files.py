"""Studies whose artifacts or checkpoints lie elsewhere, across processes; and artifacts that a run restores."""

from __future__ import annotations

import json
import shutil
import sys

import pandas as pd
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from safetensors.torch import load_file, save_file
from safetensors.torch import save as torch_save

from analysis.evidence.load import ADDITIONAL, load
from bench.core.errors import UserError
from bench.run.local import InProcessEngine
from bench.store.files import Artifacts, write_file
from bench.store.reader import read_database
from bench.store.schema import VOLATILE
from prunebench.cli import main

STUDY = """\
name: elsewhere
data: [digits]
models: [{name: digits_cnn, recipe: {epochs: 1}}]
train_seeds: 1
granularities: [channel]
scorers: [magnitude, v1]
searches: [equal]
sparsities: [0.5]
"""


def write_study(folder, text=STUDY):
    folder.mkdir()
    (folder / "study.yaml").write_text(text)
    (folder / "claims.yaml").write_text("version: 2\ninclude: [sics]\n")
    return folder


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """A finished study with its artifacts in its folder; not to be changed."""
    folder = write_study(tmp_path_factory.mktemp("local") / "study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["prunebench", "run", str(folder)])
        with pytest.raises(SystemExit) as stop:
            main()
    assert not stop.value.code
    return folder


def evidence(folder):
    return read_database(folder).rows.drop(columns=list(VOLATILE))


def test_artifacts_elsewhere_give_the_same_study(local, tmp_path, run_command, command):
    folder, url = write_study(tmp_path / "study"), f"file://{tmp_path}/team"
    done = run_command("run", folder, "--artifacts", url)
    assert done.returncode == 0, done.stdout
    assert not (folder / "artifacts").exists()
    pd.testing.assert_frame_equal(evidence(folder), evidence(local), check_exact=True)
    here, there = Artifacts.of(local), Artifacts.at(url)
    assert Artifacts.of(folder) == there
    assert {name.split("/")[0] for name in there.names()} == {"dense", *ADDITIONAL}
    assert there.names() == here.names()
    for name in there.names():
        if not name.startswith("dense/"):  # these tell how many seconds training took
            assert there.read(name) == here.read(name), name
    for kind in ADDITIONAL:
        pd.testing.assert_frame_equal(getattr(load(folder), kind), getattr(load(local), kind), check_exact=True)
        assert not getattr(load(folder), kind).empty
    assert "0 cells done" in command("run", folder).out


def test_artifacts_named_by_a_relative_path_are_found_from_everywhere(tmp_path, command, monkeypatch):
    folder = write_study(tmp_path / "study")
    monkeypatch.chdir(tmp_path)
    assert command("run", folder, "--artifacts", "team", "--limit", "1").code == 0
    monkeypatch.chdir(folder)
    assert command("run", folder, "--artifacts", tmp_path / "team").code == 0
    assert Artifacts.of(folder).place == str(tmp_path / "team")
    assert "the study was begun" not in command("status", folder).err


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("/proc/artifacts", "cannot be written"),
        ("ftp://me:hush@host/folder", "must not hold a password"),
        ("ftp://[/folder", "Invalid IPv6 URL; check the address"),
    ],
)
def test_artifacts_that_cannot_be_kept_there_are_refused_before_anything_is_done(place, said, tmp_path, command):
    folder = write_study(tmp_path / "study")
    refused = command("run", folder, "--artifacts", place)
    assert refused.code == 2
    assert said in refused.err
    assert "hush" not in refused.err
    assert sorted(path.name for path in folder.iterdir()) == ["claims.yaml", "study.yaml"]


def test_a_run_that_cannot_write_artifacts_any_more_says_so_before_it_trains(tmp_path, command):
    folder = write_study(tmp_path / "study")
    (folder / "artifacts").write_text("a file where a folder is needed")
    refused = command("run", folder)
    assert "training digits_cnn" not in refused.out + refused.err
    (folder / "artifacts").unlink()
    after = command("run", folder, "--limit", "1")
    assert "training digits_cnn" in after.out + after.err
    assert refused.code == 2
    assert "artifacts" in refused.err
    assert "cannot be written" in refused.err


def test_damaged_artifacts_are_named_and_a_run_restores_them(local, tmp_path, command):
    folder = shutil.copytree(local, tmp_path / "study")
    left_over = folder / "artifacts" / "dense" / ".x.safetensors.0123abcd.tmp"
    left_over.write_bytes(b"of a run that was killed while it wrote")
    paths = [next((folder / "artifacts" / kind).rglob("*.parquet")) for kind in ADDITIONAL]
    whole = [path.read_bytes() for path in paths]
    for path in paths:
        path.write_bytes(path.read_bytes()[:-9])
        result = command("report", folder)
        assert result.code == 2
        assert result.err.startswith(f"error: {path}: cannot be read as Parquet: ")
        assert result.err.endswith("; delete it, and `prunebench run` writes it again\n")
        assert result.err.count("\n") == 1
        path.unlink()
    assert "0 cells done" in command("run", folder).out
    assert [path.read_bytes() for path in paths] == whole
    assert not left_over.exists()


@pytest.fixture
def given(local, tmp_path):
    """A study of a given checkpoint, and that checkpoint."""
    checkpoint = tmp_path / "net-0.safetensors"
    shutil.copy(next((local / "artifacts" / "dense").iterdir()), checkpoint)
    place = f"checkpoint: 'file://{tmp_path}/net-{{seed}}.safetensors', normalisation: dataset"
    return write_study(tmp_path / "given", STUDY.replace("recipe: {epochs: 1}", place)), checkpoint


def test_a_checkpoint_behind_a_url_is_the_network_that_was_trained(given, local, command):
    folder, checkpoint = given
    assert command("run", folder).code == 0
    assert not (folder / "artifacts" / "dense").exists()
    for column in ("accuracy", "mask", "checkpoint"):
        assert evidence(folder)[column].tolist() == evidence(local)[column].tolist()
    before = json.loads(command("plan", folder, "--json").out)
    assert before["todo"] == 0
    checkpoint.write_bytes(torch_save(load_file(checkpoint)))  # other content: other cells
    assert json.loads(command("plan", folder, "--json").out)["todo"] == before["cells"]


def test_a_checkpoint_elsewhere_is_fetched_to_plan_and_to_load(given, tmp_path, command, monkeypatch):
    folder, checkpoint = given
    place = f"memory://{tmp_path}/net-0.safetensors"
    write_file(place, checkpoint.read_bytes())
    study = folder / "study.yaml"
    study.write_text(study.read_text().replace(f"file://{tmp_path}", f"memory://{tmp_path}"))
    fetched = []

    def counting(name, fetch):
        def fetch_counted(self, path, *args, **options):
            fetched.append((name, path))
            return fetch(self, path, *args, **options)

        monkeypatch.setattr(MemoryFileSystem, name, fetch_counted)

    counting("_open", MemoryFileSystem._open)
    counting("cat_file", MemoryFileSystem.cat_file)
    assert command("run", folder).code == 0
    path = f"{tmp_path}/net-0.safetensors"
    assert fetched == [("cat_file", path), ("cat_file", path)]


def test_a_checkpoint_that_changed_since_an_earlier_run_is_reported(given, command):
    folder, file = given
    assert command("run", folder).code == 0
    assert "changed since" not in command("plan", folder).out
    state = load_file(file)
    first = next(iter(state))
    state[first] = state[first] * 1.001
    save_file(state, file)
    message = "digits_cnn: its recipe, code or checkpoint changed since an earlier run: its cells are new"
    assert message in command("plan", folder).out
    assert message in command("run", folder).out
    assert "changed since" not in command("run", folder).out


def test_a_checkpoint_that_changes_during_a_run_is_refused(given, run_with):
    folder, checkpoint = given

    def change_and_make_engine(opened):  # the plan is made, and the run has begun
        checkpoint.write_bytes(torch_save(load_file(checkpoint)))
        return InProcessEngine(opened.registry, print)

    with pytest.raises(UserError, match="checkpoint is not what it was when the run began"):
        run_with(folder, change_and_make_engine)


def test_a_merge_copies_artifacts_to_a_url(local, tmp_path, command):
    folder, url = write_study(tmp_path / "study"), f"file://{tmp_path}/merged"
    assert "0 cells done" in command("run", folder, "--artifacts", url, "--merge", local).out
    here, there = Artifacts.of(local), Artifacts.at(url)
    assert {name: there.read(name) for name in there.names()} == {name: here.read(name) for name in here.names()}
    assert not (folder / "artifacts").exists()


def drop(path):
    path.unlink()


def truncate(path):
    path.write_bytes(path.read_bytes()[:-9])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-9] ^= 4
    path.write_bytes(content)


def other_shapes(path):
    state = load_file(path)
    save_file({**state, "linear.bias": state["linear.bias"][:3].clone()}, path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop, "there is no such file"),
        (truncate, "cannot be read: "),
        (flip, "cannot be read: it was altered"),
        (other_shapes, "linear.bias (3,) instead of (10,)"),
    ],
)
def test_a_bad_checkpoint_behind_a_url_is_one_line(given, command, damage, message):
    folder, checkpoint = given
    damage(checkpoint)
    result = command("run", folder)
    assert result.code == 2
    assert f"file://{checkpoint}: " in result.err
    assert message in result.err
    assert result.err.count("\n") == 1
