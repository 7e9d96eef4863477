"""Tests of `bench.core.git`."""

from __future__ import annotations

import subprocess

import pytest

from bench.core.git import commit_with, committed_content, first_commit, is_ancestor


@pytest.fixture
def repository(tmp_path):
    """A repository with a folder, and a function that commits all files and returns the commit."""

    def run(*arguments: str) -> str:
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        done = subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit() -> str:
        run("add", "--all")
        run("commit", "--message", "x")
        return run("rev-parse", "HEAD")

    run("init", "--quiet")
    (tmp_path / "study").mkdir()
    return tmp_path / "study", commit


def test_a_file_is_committed_only_while_it_is_unchanged(repository):
    folder, commit = repository
    file = folder / "a.json"
    file.write_bytes(b"1")
    assert commit_with(file) is None
    first = commit()
    assert commit_with(file) == first
    assert committed_content(folder, "a.json", first) == b"1"
    assert committed_content(folder, "b.json", first) is None
    file.write_bytes(b"2")
    assert commit_with(file) is None


def test_the_order_of_commits(repository):
    folder, commit = repository
    (folder / "a.json").write_bytes(b"1")
    first = commit()
    assert first_commit(folder, "b.json") is None
    (folder / "b.json").write_bytes(b"1")
    second = commit()
    (folder / "b.json").write_bytes(b"2")
    commit()
    assert first_commit(folder, "b.json") == second
    assert is_ancestor(folder, first, second)
    assert not is_ancestor(folder, second, first)
    assert not is_ancestor(folder, first, first)


def test_without_a_repository_nothing_is_committed(tmp_path):
    (tmp_path / "a.json").write_bytes(b"1")
    assert commit_with(tmp_path / "a.json") is None
    assert first_commit(tmp_path, "a.json") is None
