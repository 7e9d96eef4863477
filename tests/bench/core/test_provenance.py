"""Where a number comes from."""

from __future__ import annotations

import subprocess
from importlib.metadata import version

from bench.core.provenance import git_revision, package_versions, provenance


def test_versions_are_the_installed_ones():
    versions = package_versions()
    assert versions["torch"] == version("torch")
    assert versions["prunebench"] == version("prunebench")


def test_git_revision_is_that_of_the_folder(tmp_path):
    assert git_revision(tmp_path) is None

    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *words], check=True, capture_output=True)

    git("init")
    (tmp_path / "f").write_text("1")
    git("add", "f")
    git("commit", "-m", "first")
    revision = git_revision(tmp_path)
    assert len(revision["commit"]) == 40
    assert revision["uncommitted_changes"] is False
    (tmp_path / "f").write_text("2")
    assert git_revision(tmp_path)["uncommitted_changes"] is True


def test_provenance_names_the_device():
    found = provenance("cpu")
    assert found["device"] == "cpu"
    assert found["cores"] >= 1
    assert found["memory_gib"] > 0
