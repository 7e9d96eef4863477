"""Two folders run a part of one study each; merged, they are the study run in one."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from dataclasses import replace

import pandas as pd
import pytest
import sqlalchemy as sa

from analysis.evidence.load import load
from bench.core.errors import UserError
from bench.store.database import DENSE, META, STUDIES, open_store
from bench.store.merge import merge_study
from bench.store.reader import read_database
from bench.store.registration import Record
from bench.store.schema import VOLATILE


def study_hash(folder):
    return read_database(folder).meta["study_hash"]


def merge(folder, other):
    store = open_store(folder)
    try:
        return merge_study(folder, store, study_hash(folder), other)
    finally:
        store.close()


@pytest.fixture(scope="module")
def halves(tmp_path_factory, write_tiny, run_command):
    """Two folders with one train seed each; not to be changed."""
    folders = []
    for seed in (0, 1):
        folder = write_tiny(tmp_path_factory.mktemp("halves") / str(seed))
        done = run_command("run", folder, "--only", f"train_seed={seed}")
        assert done.returncode == 0, done.stdout
        folders.append(folder)
    return folders


@pytest.fixture
def two(halves, tmp_path):
    """Copies of the two halves."""
    return [shutil.copytree(folder, tmp_path / folder.name) for folder in halves]


def test_two_halves_are_the_study_run_in_one(two, finished_tiny, run_command):
    first, second = two
    done = run_command("run", first, "--merge", second)
    assert done.returncode == 0, done.stdout
    assert "98 cells imported" in done.stdout
    assert "0 cells done, 0 failed, 0 skipped, 196 already there" in done.stdout
    merged, expected = read_database(first), read_database(finished_tiny)
    pd.testing.assert_frame_equal(
        merged.rows.drop(columns=list(VOLATILE)), expected.rows.drop(columns=list(VOLATILE)), check_exact=True
    )
    pd.testing.assert_frame_equal(merged.checks, expected.checks)
    pd.testing.assert_frame_equal(merged.dense.drop(columns="seconds"), expected.dense.drop(columns="seconds"))
    counted = {name: n for name, n in expected.meta["counters"].items() if name != "seconds"}
    assert {name: n for name, n in merged.meta["counters"].items() if name != "seconds"} == counted
    assert len(list((first / "artifacts").rglob("*.safetensors"))) == 2


def test_merging_twice_adds_nothing(two):
    first, second = two
    assert merge(first, second) == 98
    before = read_database(first)
    assert merge(first, second) == 0
    after = read_database(first)
    pd.testing.assert_frame_equal(after.rows, before.rows)
    assert replace(after, rows=before.rows).meta == before.meta


def test_claims_that_only_one_store_registered_are_not_registered(two):
    first, second = two
    assert read_database(first).meta["claims_hash"]
    store = open_store(second)
    with store.transaction() as connection:
        connection.execute(sa.update(STUDIES).values(claims_hash=None))
    store.close()
    merge(first, second)
    assert read_database(first).meta["claims_hash"] is None


def test_another_study_is_refused(two, tmp_path, write_tiny, run_command):
    other = write_tiny(tmp_path / "other")
    assert run_command("run", other, "--profile", "one", "--limit", "1").returncode == 0
    result = run_command("run", two[0], "--merge", other)
    assert result.returncode == 2
    assert "holds no rows of this study" in result.stdout


def test_other_settings_are_refused(two):
    store = open_store(two[1])
    settings = json.loads(store.meta("settings") or "")
    store.set_meta("settings", json.dumps({**settings, "batch": 7}))
    store.close()
    with pytest.raises(UserError, match=r"other execution settings than this study \(batch 7 there, 512 here\)"):
        merge(*two)


def test_another_dense_model_of_the_same_group_is_refused(two):
    first, second = two
    merge(first, second)
    store = open_store(second)
    with store.transaction() as connection:
        connection.execute(sa.update(DENSE).values(checkpoint="0" * 64))
    store.close()
    with pytest.raises(UserError, match="rows of two models"):
        merge(first, second)


def test_a_folder_without_a_store_is_refused(two, tmp_path):
    with pytest.raises(UserError, match="nothing has been run yet"):
        merge(two[0], tmp_path)


def test_a_group_that_both_began_is_checked_and_aligned_anew(tmp_path, write_tiny, run_command):
    """One folder has the cells of some scorers, the other all: what it takes over comes into its alignment."""
    folders = [write_tiny(tmp_path / name) for name in ("some", "all")]
    for folder, parts in zip(folders, (("--only", "scorer=magnitude"), ()), strict=True):
        assert run_command("run", folder, "--profile", "one", *parts).returncode == 0
    store = open_store(folders[0])
    store.set_meta(next(k for k in _keys(folders[1]) if k.startswith("checked:")), "yes")  # as with cells that failed
    store.close()
    done = run_command("run", folders[0], "--profile", "one", "--merge", folders[1])
    assert done.returncode == 0, done.stdout
    merged, expected = (load(folder) for folder in folders)
    assert set(merged.alignment["scorer"]) == {"magnitude", "exp_magnitude"}
    pd.testing.assert_frame_equal(merged.alignment, expected.alignment)
    pd.testing.assert_frame_equal(merged.checks, expected.checks)


def _keys(folder):
    store = open_store(folder)
    with store.transaction() as connection:
        found = list(connection.execute(sa.select(META.c.key)).scalars())
    store.close()
    return found


def test_several_folders_merge_at_once_and_nothing_else_need_be_run(halves, tmp_path, write_tiny, run_command):
    folder = write_tiny(tmp_path / "all")
    done = run_command("run", folder, "--merge", halves[0], "--merge", halves[1], "--limit", "0")
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("98 cells imported") == 2
    assert "0 cells done, 0 failed, 0 skipped, 196 already there" in done.stdout


def test_a_folder_is_not_merged_with_itself(two, tmp_path):
    (tmp_path / "link").symlink_to(two[0])
    before = read_database(two[0]).meta["counters"]
    for name in (two[0], tmp_path / "link", two[0] / ".." / two[0].name):
        with pytest.raises(UserError, match="there is nothing to merge"):
            merge(two[0], name)
    assert read_database(two[0]).meta["counters"] == before


def test_a_merged_registration_is_as_weak_as_the_weaker_one(two):
    first, second = two
    for folder, commit in ((first, "c"), (second, None)):
        with closing(open_store(folder)) as store:
            store.set_meta("registration", Record(text="x", commit=commit, changes=(str(commit),)).model_dump_json())
    assert merge(first, second) > 0
    joined = read_database(first).meta["registration"]
    assert (joined["commit"], joined["changes"]) == (None, ["c", "None"])


def test_the_registration_of_another_store_is_not_imported(two):
    first, second = two
    with closing(open_store(second)) as store:
        store.set_meta("registration", Record(text="x").model_dump_json())
    assert merge(first, second) > 0
    assert "registration" not in read_database(first).meta
